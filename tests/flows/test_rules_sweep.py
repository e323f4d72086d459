"""Rows that vanished while no connector told go on the operator's word, once a full snapshot has not seen them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nurt.app.running import run_here
from nurt.contracts import schemas
from nurt.control.source_epochs import Cause
from nurt.control.source_records import epoch_record
from nurt.flows.profiles import profiles
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.worker import Worker
from nurt.rows import sweeping
from nurt.rows.sweeps import Sweep, SweptTable, ordered_sweeps, possible_sweeps, sweep_record
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic
from tests.flows.book import IDS, Book, go_on, play, sweeps_of, wrong
from tests.flows.test_halted_source import archive, deploy, emails
from tests.oracle.engine import Engine
from tests.oracle.histories import History
from tests.oracle.values import DAY_US, TODAY


def a_connector_was_down() -> tuple[History, History, list[Sweep]]:
    """Return what arrived, the same without any word of the rows that vanished, and the sweeps that mend it."""
    book, day = Book(), TODAY * DAY_US
    for key in ("1", "2", "3"):
        book.put("books", "customer", key, email=f"c{key}@example.com", tax_id="PL5260250274", first_name=f"C{key}")
        book.put("books", "order", key, key, gross=10_000, placed_at=day)
        book.put("books", "invoice", key, key, amount=50_000, due_on=TODAY + 2)
    book.put("shop", "customer", "9", email="c2@example.com", first_name="Shop")
    book.put("books", "order", "24", "2", gross=70_000, placed_at=day)
    down = book.connectors["books"]
    down.capturing = False
    book.delete("books", "customer", "3")
    book.delete("books", "order", "24")
    book.delete("books", "invoice", "1")
    down.capturing = True
    book.snapshot("books")
    book.put("books", "customer", "4", email="c4@example.com")  # newer than the snapshot
    book.put("books", "order", "1", "2", gross=11_000, placed_at=day)
    history = book.history(size=3)
    tables = {(system, *table): rows for system, some in history.truth.items() for table, rows in some.items()}
    seen = [event for event in book.log if event.key in tables.get((event.system, event.kind, event.entity), {})]
    return history, book.history(arrivals=seen), sweeps_of(book.log)


class DyingAtStart(Engine):
    """Dies instead of a write after so many of its next start."""

    writes_at_start: int | None = None

    def _append(self, record: dict[str, Any]) -> int:
        number = super()._append(record)
        if record["kind"] == "begin" and self.writes_at_start is not None:
            self.writes = 0
            self.crash_after_writes(self.writes_at_start)
            self.writes_at_start = None
        return number


class Sweeper:
    """Engines whose workers read the register's sweeps, as a start does."""

    def __init__(self, history: History) -> None:
        self.engine = DyingAtStart(history.systems, history.rules, IDS.ids, TODAY, self._worker)

    def _worker(self, store: Store, keys: Keys, context: FoldContext) -> Worker:
        return Worker(store, keys, context, schemas.load(schemas.PROFILE_VALUE), ordered_sweeps(self.engine.records))

    def order(self, sweeps: list[Sweep]) -> None:
        self.engine._append(sweep_record(sweeps))


def test_rows_that_vanished_while_the_connector_was_down_are_gone_after_the_sweep() -> None:
    history, seen, sweeps = a_connector_was_down()
    sweeper = Sweeper(history)
    engine = play(history, sweeper.engine)
    assert wrong(seen, engine), "nothing told of them"
    engine.kill()
    sweeper.order(sweeps)
    engine.start(2)
    for _ in range(3):
        engine.commit()
    assert not wrong(seen, engine)


@pytest.mark.slow
@pytest.mark.parametrize("writes_an_epoch", [1, 100])
def test_a_crash_at_any_write_of_a_sweep_changes_nothing(writes_an_epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_WRITES_MAX", writes_an_epoch)
    history, seen, sweeps = a_connector_was_down()
    writes = 0
    for crash_at in range(200):
        sweeper = Sweeper(history)
        engine = play(history, sweeper.engine)
        engine.kill()
        sweeper.order(sweeps)
        engine.writes_at_start = crash_at
        if not go_on(engine, epochs=10):
            writes = engine.writes
            break
        assert not wrong(seen, engine), crash_at
    assert writes > 5


def test_a_replay_of_everything_does_not_bring_them_back() -> None:
    history, seen, sweeps = a_connector_was_down()
    sweeper = Sweeper(history)
    sweeper.order(sweeps)
    engine = play(history, sweeper.engine)  # a state that forgot all, and a register that did not
    assert not wrong(seen, engine)
    engine.kill()
    engine.start(1)
    engine.commit()
    assert not wrong(seen, engine)


def test_a_sweep_that_the_state_knows_to_be_done_is_not_done_again() -> None:
    history, _, sweeps = a_connector_was_down()
    sweeper = Sweeper(history)
    engine = play(history, sweeper.engine)
    engine.kill()
    sweeper.order(sweeps)
    engine.start(1)
    for _ in range(4):
        engine.commit()
    engine.kill()
    engine.start(1)
    engine.writes = 0
    engine.commit()
    quiet = engine.writes
    engine.commit()
    assert engine.writes - quiet == quiet, "an epoch like any other"


def epochs(*begun: tuple[str, int, int, int]) -> list[tuple[int, dict[str, object]]]:
    kinds = ("topic", "partition", "offset", "epoch")
    return [(at, {"kind": "source_epoch", **dict(zip(kinds, one, strict=True))}) for at, one in enumerate(begun)]


def tables_of(topic: str) -> list[SweptTable]:
    return [SweptTable("order", topic.split(".")[0], "order", topic)] if "." in topic else []


def test_a_table_can_be_swept_when_its_snapshot_is_complete() -> None:
    first = epochs(("s.a", 0, 5, 1), ("s.b", 0, 7, 1))
    assert possible_sweeps(first, tables_of) == [], "before a first snapshot there is nothing"
    begun = epochs(("s.a", 0, 5, 1), ("s.b", 0, 7, 1), ("s.a", 0, 9, 2), ("s.b", 0, 9, 2), ("foreign", 0, 4, 2))
    assert possible_sweeps(begun, tables_of) == [], "it may go on"
    begun = epochs(*[tuple(record.values())[1:] for _, record in begun], ("s.b", 0, 30, 3))  # type: ignore[arg-type]
    assert [(one.table.topic, one.fences) for one in possible_sweeps(begun, tables_of)] == [
        ("s.a", {0: 2}),
        ("s.b", {0: 2}),
    ], "the connector streams again, so all of its snapshot is written"
    ordered = [*begun, (99, sweep_record(possible_sweeps(begun, tables_of)))]
    assert possible_sweeps(ordered, tables_of) == []
    assert [one.number for one in ordered_sweeps(ordered)] == [99, 99]


def begins(*some: tuple[str, int, int, int, tuple[int, int] | None, bool]) -> list[tuple[int, dict[str, object]]]:
    """Records of (topic, partition, epoch, written_ms, snapshot, partial), in the order in which they were read."""
    return [
        (at, epoch_record((topic, partition, at, epoch), Cause("s", written_ms, snapshot, partial)))
        for at, (topic, partition, epoch, written_ms, snapshot, partial) in enumerate(some)
    ]


FIRST, SECOND = (900, 4), (3, 4)


def fences(records: list[tuple[int, dict[str, object]]]) -> dict[str, Mapping[int, int]]:
    return {one.table.topic: one.fences for one in possible_sweeps(records, tables_of)}


def test_a_snapshot_that_was_interrupted_and_began_again_is_not_complete() -> None:
    interrupted = [("s.a", 0, 1, 10, None, False), ("s.a", 0, 2, 20, FIRST, False)]
    again = [*interrupted, ("s.a", 0, 4, 30, SECOND, False)]
    assert fences(begins(*interrupted)) == fences(begins(*again)) == {}
    assert fences(begins(*again, ("s.b", 0, 1, 40, None, False))) == {"s.a": {0: 4}}, "the second one is"
    at_first = begins(("s.a", 0, 0, 20, FIRST, False), ("s.a", 0, 2, 30, SECOND, False), ("s.a", 0, 3, 40, None, False))
    assert fences(at_first) == {"s.a": {0: 2}}, "rows of the first attempt are swept too"


def test_a_stream_from_before_a_snapshot_that_is_read_late_does_not_complete_it() -> None:
    late = [("s.a", 0, 2, 50, SECOND, False), ("s.b", 0, 1, 40, None, False)]
    assert fences(begins(*late)) == {}
    assert fences(begins(*late, ("s.b", 0, 3, 60, None, False))) == {"s.a": {0: 2}}


def test_snapshots_that_are_mixed_with_each_other_are_never_complete() -> None:
    mixed = ("s.a", 0, 2, 50, SECOND, False), ("s.a", 0, 2, 51, FIRST, True), ("s.a", 0, 3, 60, None, False)
    assert fences(begins(("s.a", 0, 1, 10, None, False), *mixed)) == {}


def test_a_snapshot_that_may_have_been_filtered_is_never_complete() -> None:
    blocking = ("s.a", 0, 2, 50, SECOND, True), ("s.a", 0, 3, 60, None, False)
    assert fences(begins(("s.a", 0, 1, 10, None, False), *blocking)) == {}


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


def test_the_command_counts_first_and_sweeps_on_the_operators_word(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]
) -> None:
    topic = Topic({"id": "int", "email": "string"}, kind="mysql")
    for number in range(4):
        topic.upsert(row={"id": number, "email": f"c{number}@example.com"}, pos=100 + number)
    config = deploy(tmp_path, topic, redis_url)
    run_here(profiles, load_settings(config))
    for number in (0, 2):  # 1 and 3 were deleted while the connector was down
        topic.upsert(
            op="r", row={"id": number, "email": f"c{number}@example.com"}, pos=900, snapshot="true", server_id=0
        )
    topic.upsert(row={"id": 7, "email": "c7@example.com"}, pos=950)
    archive(tmp_path, topic)
    run_here(profiles, load_settings(config))
    assert len(emails(tmp_path)) == 5

    def asked(*more: str) -> object:
        return json.loads(nurt_command("source", "sweep", *more, "--json", "--config", str(config)).out)

    table = {"flow": "profiles", "topic": "s.t", "table": "s/customer", "go": 2, "stay": 3, "unreached": 0}
    assert asked() == {"ordered": False, "tables": [table]}
    run_here(profiles, load_settings(config))
    assert len(emails(tmp_path)) == 5, "nobody said so"
    assert asked("s", "--yes") == {"ordered": True, "tables": [table]}
    run_here(profiles, load_settings(config))
    assert emails(tmp_path) == {"c0@example.com", "c2@example.com", "c7@example.com"}
    assert asked() == {"ordered": False, "tables": []}
    run_here(profiles, load_settings(config), rebuild=True)
    assert emails(tmp_path) == {"c0@example.com", "c2@example.com", "c7@example.com"}
