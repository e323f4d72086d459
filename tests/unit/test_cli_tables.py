"""Tables on terminals of any width: what is a name, a number or a word is never broken."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nurt.cli import frame
from nurt.cli.commands import check, stats
from nurt.cli.frame import table_of
from nurt.cli.sampling import TopicSample
from nurt.inspect.counters import Count

LONG = "server1.very_long_schema.some_really_long_table_name"
WORDS = "value_out_of_range: field gross: a decimal with more than 4 decimals that are not zero, from grand_total"


def _lines(width: int, *table: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table_of(*table), crop=False)  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture(params=[60, 80])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(frame.stdout, "width", request.param)
    return int(request.param)


def test_stats_shows_a_long_topic_whole_with_its_numbers_in_their_columns(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    stats.print_counts([Count(LONG, "folded", "", 1_234), Count("erp.stock", "not_ours", "heartbeat", 7)])
    lines = capsys.readouterr().out.splitlines()
    assert LONG in lines
    assert lines[lines.index(LONG) + 1].split() == ["1,234", "1,234"]
    assert max(map(len, lines)) <= width


def test_what_waits_has_a_table_of_its_own_and_is_no_topic(capsys: pytest.CaptureFixture[str]) -> None:
    stats.print_counts([Count("erp.lines", "folded", "", 9), Count("", "waiting", "order_line of order", 1_234)])
    ended, waits = capsys.readouterr().out.split("Wait for what they belong to")
    assert "1,234" not in ended and "erp.lines" in ended
    assert waits.split()[-3:] == ["order_line", "order", "1,234"]


def test_check_shows_a_long_topic_and_a_long_reason_whole(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    sampled = TopicSample(LONG, "order_line of my_magento", "mapping.yaml", 3, 500, 498, 0, 2, WORDS)
    check._print({"state": "answers"}, [sampled], [])
    lines = capsys.readouterr().out.splitlines()
    assert LONG in lines
    assert " ".join(" ".join(lines).split()).count(WORDS) == 1
    assert max(map(len, lines)) <= width


def test_a_table_that_fits_has_a_line_a_row() -> None:
    rows = [(LONG, 5, "heartbeat"), ("erp", 1_000, WORDS)]
    lines = _lines(200, "", ("topic", "tried>", "why"), rows)
    assert [line.split()[0] for line in lines] == ["topic", LONG, "erp"]
    assert lines[1].index("5") + 1 == lines[2].index("1,000") + 5


def test_what_comes_from_databases_is_no_markup() -> None:
    assert _lines(80, "", ("topic", "n>"), [("[bold]shop[/bold]", 1)])[1].startswith("[bold]shop[/bold]")


NAMES = st.text("abcdef._", min_size=1, max_size=90)
PROSE = st.lists(st.text("ghijk", min_size=1, max_size=30), max_size=20).map(" ".join)


@given(st.lists(st.tuples(NAMES, PROSE, st.integers(0, 10**9), PROSE), min_size=1, max_size=5), st.integers(50, 200))
def test_no_name_no_number_and_no_word_is_broken_at_any_width(
    rows: list[tuple[str, str, int, str]], width: int
) -> None:
    lines = _lines(width, "", ("topic", "what", "number>", "why"), rows)
    said = [word for line in lines for word in line.split()]
    progress = [
        word for row in rows for cell in row for word in (f"{cell:,}" if isinstance(cell, int) else cell).split()
    ]
    assert sorted(said) == sorted(["topic", "what", "number", "why", *progress])
