"""Claims about what a comparison of two trees says of its figures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.compare import turns
from benchmarks.compare_report import compared, report

QUIET = [100.0, 101.0, 99.0]
NOISY = [100.0, 110.0, 90.0]


@pytest.mark.parametrize(
    ("figure", "again", "new", "verdict"),
    [
        ("cpu_us", QUIET, [102.0, 103.0, 101.0], "ok"),
        ("cpu_us", QUIET, [105.0, 106.0, 104.0], "LOOK"),
        ("cpu_us", NOISY, [105.0, 106.0, 104.0], "spread"),
        ("cpu_us", QUIET, [50.0, 50.0, 50.0], "ok"),
        ("messages_s", QUIET, [98.0, 99.0, 97.0], "ok"),
        ("messages_s", QUIET, [95.0, 96.0, 94.0], "LOOK"),
        ("messages_s", NOISY, [95.0, 96.0, 94.0], "spread"),
        ("messages_s", QUIET, [200.0, 200.0, 200.0], "ok"),
        ("p99_ms", QUIET, [114.0, 114.0, 114.0], "ok"),
        ("p99_ms", QUIET, [116.0, 116.0, 116.0], "LOOK"),
        ("check s", [100.0, 100.0, 100.0], [101.0, 101.0, 101.0], "LOOK"),
    ],
)
def test_new_is_held_to_its_limit_or_to_what_old_differs_from_itself(
    figure: str, again: list[float], new: list[float], verdict: str
) -> None:
    assert compared(figure, [100.0, 100.0, 100.0], again, new)["verdict"] == verdict


def test_ratios_are_those_of_one_round() -> None:
    row = compared("cpu_us", [10.0, 20.0, 40.0], [11.0, 20.0, 40.0], [12.0, 22.0, 40.0])
    assert row["new_old"] == pytest.approx(1.1)
    assert row["new_old_spread"] == pytest.approx([1.0, 1.2])
    assert row["again_old_spread"] == pytest.approx([1.0, 1.1])


def test_a_report_has_a_row_for_every_figure() -> None:
    figures = [{"cpu_us": 10.0, "messages_s": 1000.0}, {"cpu_us": 12.0, "messages_s": 900.0}]
    lines, seen = report({"mixed x1": {"old": figures, "again": figures, "new": figures}})
    assert set(seen["mixed x1"]) == {"cpu_us", "messages_s"}
    assert sum("cpu_us" in line for line in lines) == 1


def test_every_round_has_all_three_and_begins_with_another() -> None:
    def of(number: int) -> Iterator[str]:
        return (name for turn, name in turns(4) if turn == number)

    assert [next(of(number)) for number in range(3)] == ["old", "again", "new"]
    assert all(sorted(of(number)) == ["again", "new", "old"] for number in range(4))
