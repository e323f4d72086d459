from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow.dataset
import pytest

from nurt.adapters.analytics.parquet import ParquetSink
from nurt.contracts.profile_tables import TABLES
from nurt.errors import ConfigurationError, StateTooNew
from tests.contracts.published import batch, id_of, rich


def revisions(folder: Path, table: str = "profiles") -> list[int]:
    return sorted(pyarrow.dataset.dataset(folder / table).to_table()["revision"].to_pylist())


def test_a_folder_opens_as_a_dataset_and_shows_no_file_of_ours(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    sink.write(batch(*(rich(number, 1) for number in range(50))))
    sink.close()
    assert len(revisions(tmp_path)) == 50
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("_")} == set(TABLES)
    assert all(path.suffix == ".parquet" for table in TABLES for path in (tmp_path / table).iterdir())


def test_readers_see_a_batch_when_it_is_folded_in_by_number(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path, rows_max=3)
    sink.write(batch(rich(1, 1), rich(2, 1)))
    assert revisions(tmp_path) == []
    sink.write(batch(rich(3, 1)))
    assert revisions(tmp_path) == [1, 1, 1]


def test_readers_see_a_batch_when_it_is_folded_in_by_size_or_age(tmp_path: Path) -> None:
    ParquetSink(tmp_path / "a", bytes_max=1).write(batch(rich(1, 1)))
    assert revisions(tmp_path / "a") == [1]
    sink = ParquetSink(tmp_path / "b", seconds_max=0)
    sink.write(batch(rich(1, 1)))
    assert revisions(tmp_path / "b") == [1]


def test_an_empty_batch_folds_in_what_has_waited_long_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = ParquetSink(tmp_path, seconds_max=1000)
    sink.write(batch(rich(1, 1)))
    sink.write(batch())
    assert revisions(tmp_path) == []
    monkeypatch.setattr(sink, "_seconds_max", 0.0)
    sink.write(batch())
    assert revisions(tmp_path) == [1]


def test_what_was_written_but_not_folded_in_is_there_after_a_crash(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    sink.write(batch(rich(1, 1)))
    sink.write(batch(rich(2, 1)))
    crash(sink)
    ParquetSink(tmp_path).close()
    assert revisions(tmp_path) == [1, 1]


@pytest.mark.parametrize("cut", [1, 9, 500])
def test_a_torn_frame_in_the_journal_is_dropped_and_those_before_it_are_kept(tmp_path: Path, cut: int) -> None:
    sink = ParquetSink(tmp_path)
    sink.write(batch(rich(1, 1)))
    journal = tmp_path / "_nurt" / "journal"
    good = journal.read_bytes()
    sink.write(batch(rich(2, 1)))
    whole = journal.read_bytes()
    crash(sink)
    journal.write_bytes(whole[: len(good) + cut])
    sink = ParquetSink(tmp_path)
    assert revisions(tmp_path) == [1]
    sink.write(batch(rich(2, 1)))
    sink.close()
    assert revisions(tmp_path) == [1, 1]


def test_a_journal_filled_with_noughts_by_a_power_cut_is_empty(tmp_path: Path) -> None:
    ParquetSink(tmp_path).close()
    (tmp_path / "_nurt" / "journal").write_bytes(b"\0" * 4096)
    ParquetSink(tmp_path).close()
    assert revisions(tmp_path) == []


@pytest.mark.parametrize("survivor", sorted(TABLES))
def test_a_crash_between_two_files_is_completed_at_the_next_start(tmp_path: Path, survivor: str) -> None:
    """Put together what a crash leaves: one table new, the others old, the journal whole."""
    sink = ParquetSink(tmp_path, buckets=1)
    sink.write(batch(rich(1, 1)))
    sink.close()
    old = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    sink = ParquetSink(tmp_path)
    sink.write(batch(rich(1, 2)))
    journal = (tmp_path / "_nurt" / "journal").read_bytes()
    sink.close()
    new = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    for path, content in old.items():
        if path.parent.name != survivor:
            path.write_bytes(content)
    (tmp_path / "_nurt" / "journal").write_bytes(journal)
    ParquetSink(tmp_path).close()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == new


def test_the_number_of_buckets_is_settled_when_the_folder_is_made(tmp_path: Path) -> None:
    for buckets in (4, 9):
        sink = ParquetSink(tmp_path, buckets=buckets)
        sink.write(batch(*(rich(number, buckets) for number in range(60))))
        sink.close()
    assert len(list((tmp_path / "profiles").iterdir())) == 4
    assert revisions(tmp_path) == [9] * 60


@pytest.mark.slow
def test_a_reader_at_any_moment_sees_each_profile_once_and_whole(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path, buckets=3, rows_max=1)
    sink.write(batch(*(rich(number, 1) for number in range(30))))
    done = threading.Event()

    def read() -> list[list[str]]:
        seen: list[list[str]] = []
        while not done.is_set():
            seen.append(sorted(pyarrow.dataset.dataset(tmp_path / "profiles").to_table()["id"].to_pylist()))
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for revision in range(2, 12):
            sink.write(batch(*(rich(number, revision) for number in range(30))))
        done.set()
        seen = reading.result()
    sink.close()
    assert len(seen) > 1
    assert all(ids == sorted({id_of(number).hex() for number in range(30)}) for ids in seen)


@pytest.mark.slow
def test_tables_join_on_id_and_revision_without_leaving_anything_over(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path, rows_max=7)
    for revision in range(1, 6):
        sink.write(batch(*(rich(number, revision) for number in range(revision, 25))))
    sink.close()
    names = {name: f"read_parquet('{tmp_path}/{name}/*.parquet', union_by_name = true)" for name in TABLES}
    for name in names.keys() - {"profiles"}:
        left = duckdb.sql(f"FROM {names[name]} AS rows ANTI JOIN {names['profiles']} AS profiles USING (id, revision)")
        assert left.fetchall() == []


def test_a_second_sink_is_refused_while_the_first_is_open(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    with pytest.raises(ConfigurationError, match="another sink"):
        ParquetSink(tmp_path)
    sink.close()
    ParquetSink(tmp_path).close()


def test_a_folder_of_a_later_nurt_is_left_alone(tmp_path: Path) -> None:
    ParquetSink(tmp_path).close()
    (tmp_path / "_nurt" / "layout.json").write_text('{"version": 99, "buckets": 4}')
    with pytest.raises(StateTooNew, match="99"):
        ParquetSink(tmp_path)


def crash(sink: ParquetSink) -> None:
    """Let go of the files as a killed process does."""
    sink._journal.close()
    sink._lock.close()
