"""What every analytics sink does with published profiles, whatever order, repeat, crash or restart they come in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from nurt.adapters.analytics.duckdb import DuckdbSink
from nurt.adapters.analytics.parquet import ParquetSink
from nurt.contracts.profile_tables import TABLES
from nurt.model.published import PublishedBatch
from nurt.ports.sinks import ProfileSink
from tests.contracts.published import Profile, batch, flat, id_of, profile, redirect, rich


@dataclass
class Kind:
    """A sink, and how an analyst reads what it stores."""

    name: str
    path: Path

    def open(self) -> ProfileSink:
        return DuckdbSink(self.path) if self.name == "duckdb" else ParquetSink(self.path, buckets=3)

    def query(self, *queries: str) -> list[list[dict[str, Any]]]:
        if self.name == "duckdb":
            connection = duckdb.connect(str(self.path), read_only=True)
        else:
            connection = duckdb.connect()
            for table in TABLES:
                files = f"read_parquet('{self.path}/{table}/*.parquet', union_by_name = true)"
                connection.execute(f"CREATE VIEW {table} AS FROM {files}")
        with connection:
            return [connection.execute(query).pl().to_dicts() for query in queries]

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        return dict(zip(TABLES, self.query(*(f"FROM {table}" for table in TABLES)), strict=True))


@pytest.fixture(params=["duckdb", "parquet"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    return Kind(request.param, tmp_path / "profiles.db")


@pytest.fixture
def stored(kind: Kind) -> Callable[..., None]:
    """Write batches with a sink that is then closed."""

    def write(*batches: PublishedBatch) -> None:
        sink = kind.open()
        for published in batches:
            sink.write(published)
        sink.close()

    return write


def ordered(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


def check(kind: Kind, profiles: list[Profile]) -> None:
    expected = [flat(entry) for entry in profiles]
    for table, rows in kind.rows().items():
        assert ordered(rows) == ordered([row for tables in expected for row in tables[table]]), table


def test_every_field_of_a_profile_is_found_in_the_tables(kind: Kind, stored: Callable[..., None]) -> None:
    profiles = [rich(number, 1) for number in range(40)] + [profile(99, 1)]
    stored(batch(*profiles))
    check(kind, profiles)


def test_a_new_sink_has_every_table_empty(kind: Kind, stored: Callable[..., None]) -> None:
    stored()
    check(kind, [])
    described = kind.query(*(f"DESCRIBE {table}" for table in TABLES))
    assert [[row["column_name"] for row in rows] for rows in described] == [list(names) for names in TABLES.values()]


def test_money_is_decimal_and_days_are_dates(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 1)))
    orders, profiles = (
        {row["column_name"]: row["column_type"] for row in rows}
        for rows in kind.query("DESCRIBE profile_orders", "DESCRIBE profiles")
    )
    assert (orders["gross"], orders["first_on"], orders["order_count"]) == ("DECIMAL(18,4)", "DATE", "BIGINT")
    assert (profiles["gross"], profiles["birth_date"], profiles["revision"]) == ("DECIMAL(18,4)", "DATE", "BIGINT")


def test_a_newer_revision_replaces_the_whole_profile(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 1), rich(2, 1)), batch(rich(1, 2)))
    check(kind, [rich(1, 2), rich(2, 1)])


def test_an_older_revision_changes_nothing(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 5)), batch(rich(1, 4), rich(2, 1)))
    check(kind, [rich(1, 5), rich(2, 1)])


def test_a_repeat_changes_nothing(kind: Kind, stored: Callable[..., None]) -> None:
    published = batch(rich(1, 5), (2, 3), redirect(3, 4, 1))
    stored(published, published)
    stored(published)
    check(kind, [rich(1, 5), redirect(3, 4, 1)])


def test_an_equal_revision_with_other_content_changes_nothing(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 5)), batch(profile(1, 5)))
    stored(batch(profile(1, 5), (1, 5)))
    check(kind, [rich(1, 5)])


def test_of_one_id_in_a_batch_the_newest_revision_counts_in_any_order(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 2), rich(1, 7), rich(1, 3), (2, 9), rich(2, 8)))
    check(kind, [rich(1, 7)])


def test_a_redirect_keeps_its_row_and_loses_everything_else(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 1), rich(2, 1)), batch(redirect(1, 2, to=2)))
    check(kind, [redirect(1, 2, to=2), rich(2, 1)])
    ((row,),) = kind.query(f"SELECT state, redirect_to FROM profiles WHERE id = '{id_of(1).hex()}'")
    assert row == {"state": "redirect", "redirect_to": id_of(2).hex()}


def test_what_a_redirect_should_not_have_is_not_stored(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch({**rich(1, 1), "state": "redirect", "redirect_to": id_of(2).hex()}))
    assert [len(rows) for rows in kind.rows().values()] == [1] + [0] * (len(TABLES) - 1)


def test_a_redirect_may_come_to_life_again(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(redirect(1, 2, to=2)), batch(rich(1, 3)))
    check(kind, [rich(1, 3)])


def test_a_tombstone_leaves_nothing_of_the_profile(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 1), rich(2, 1)), batch((1, 2)))
    check(kind, [rich(2, 1)])


@pytest.mark.parametrize("reopened", [False, True])
def test_an_erased_profile_is_not_brought_back_by_an_older_message(
    kind: Kind, stored: Callable[..., None], reopened: bool
) -> None:
    batches = [batch(rich(1, 1)), batch((1, 5), (2, 5)), batch(rich(1, 4), rich(2, 4))]
    if reopened:
        for published in batches:
            stored(published)
    else:
        stored(*batches)
    check(kind, [])


def test_an_erased_profile_comes_back_with_a_newer_revision(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch((1, 5)))
    stored(batch(rich(1, 6)))
    stored(batch((1, 5)))
    check(kind, [rich(1, 6)])


def test_an_older_tombstone_erases_nothing(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(rich(1, 5)), batch((1, 4)))
    check(kind, [rich(1, 5)])


def test_revisions_use_all_their_bits(kind: Kind, stored: Callable[..., None]) -> None:
    big = (8_000_000 << 40) + 1
    stored(batch(rich(1, big)), batch(rich(1, big - 1)))
    check(kind, [rich(1, big)])


def test_an_empty_batch_is_fine(kind: Kind, stored: Callable[..., None]) -> None:
    stored(batch(), batch(rich(1, 1)), batch())
    check(kind, [rich(1, 1)])


def test_closing_twice_is_fine(kind: Kind) -> None:
    sink = kind.open()
    sink.write(batch(rich(1, 1)))
    sink.close()
    sink.close()
    check(kind, [rich(1, 1)])


@pytest.mark.parametrize("seed", range(3))
def test_any_history_with_restarts_ends_in_the_newest_revision_of_each_profile(kind: Kind, seed: int) -> None:
    random = Random(seed)
    newest: dict[int, tuple[int, Profile | None]] = {}
    sink = kind.open()
    for _ in range(12):
        entries: list[Profile | tuple[int, int]] = []
        for _ in range(random.randint(0, 12)):
            number, revision = random.randint(0, 15), random.randint(1, 30)
            entry: Profile | tuple[int, int] = [  # the content follows from the revision, as it does in life
                (number, revision),
                redirect(number, revision, to=number + 1),
                rich(number, revision),
                rich(number, revision),
            ][(number + revision) % 4]
            entries.append(entry)
            if revision > newest.get(number, (0, None))[0]:
                newest[number] = revision, None if isinstance(entry, tuple) else entry
        sink.write(batch(*entries))
        if random.random() < 0.3:
            sink.close()
            sink = kind.open()
    sink.close()
    check(kind, [entry for _, entry in newest.values() if entry])


WRITING = """
import sys
from pathlib import Path
from nurt.adapters.analytics.duckdb import DuckdbSink
from nurt.adapters.analytics.parquet import ParquetSink
from tests.contracts.published import batch, rich
name, path, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
sink = DuckdbSink(path) if name == "duckdb" else ParquetSink(path, buckets=3, rows_max=60)
for revision in range(first, 10_000):
    sink.write(batch(*(rich(number, revision) for number in range(20)), (100 + revision % 5, revision)))
    print(revision, flush=True)
"""


def test_a_sink_killed_in_the_middle_has_what_it_said_and_nothing_by_halves(kind: Kind) -> None:
    told = 0
    for kill in range(3):
        command = [sys.executable, "-c", WRITING, kind.name, str(kind.path), str(told + 1)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert child.stdout is not None
        for line in child.stdout:
            told = int(line)
            if told % 10 == 7 + kill:
                break
        child.kill()
        told = max([told, *map(int, child.stdout.read().split(b"\n")[:-1])])
        child.wait(timeout=60)

        kind.open().close()
        revisions = {row["revision"] for row in kind.rows()["profiles"]}
        assert len(revisions) == 1
        (revision,) = revisions
        assert revision >= told
        check(kind, [rich(number, revision) for number in range(20)])
        told = revision
