"""The message accounting invariant: every message counts once, however often crashes let it be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.control.counted_offsets import CountedOffsets, Passed
from nurt.control.source_epochs import Begin, SourceEpochs
from nurt.inspect.counters import OUTCOMES
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import Counts
from nurt.model.keys import Keys
from nurt.model.raw import RawBatch
from nurt.model.state_write import StateWrite
from nurt.normalise.context import FoldContext
from nurt.profiles.from_rows import ProfileEmitter
from nurt.rows.counting import MISSING, NOT_OURS, counted_of
from nurt.rows.stage import RowsStage
from nurt.runtime.routing import WorkerRoutes
from nurt.testing.memory_store import Memory, MemoryStore
from nurt.translate.translator import Translator
from tests.corpus_messages import IDS, MAPPING, Schemas, batches, lines, schemas, select
from tests.corpus_messages import _mapping as mapping_of
from tests.flows.book import Book, a_hard_life, new_engine, play, play_rest
from tests.hypothesis_profiles import examples

KEYS = Keys("t", 4)
SYSTEMS = ("pg", "my", "erp")


class Killed(Exception):
    """A worker died instead of writing."""


class Deployment:
    """The rows of the corpus as runs with any number of workers fold them; it knows nothing but what is stored."""

    def __init__(self, folder: str, store: type[MemoryStore] = MemoryStore) -> None:
        self.folder, self.memory, self.store = folder, Memory(), store
        self.begun: list[Begin] = []
        self.runs = 0

    def run(self, messages: Sequence[RawBatch], workers: int, writes: int | None = None) -> None:
        """Read everything, again if need be, to the end or until so many writes have been done."""
        self.runs += 1
        self.memory.claim(self.runs, [KEYS.shard_place(shard) for shard in range(4)])
        left = [writes]

        def die() -> None:
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

        routes = WorkerRoutes(4, workers)
        context = FoldContext(IDS, dict.fromkeys(SYSTEMS, "eu"), dict.fromkeys(SYSTEMS, 1), {}, {}, {}, {})
        stages = [
            RowsStage(
                self.store(self.memory, self.runs, routes.places(worker, (), KEYS), die), KEYS, ProfileEmitter(context)
            )
            for worker in range(workers)
        ]
        passed = counted_of(NOT_OURS, self.memory.counted.get(KEYS.shard_place(0), {}))
        translator = Translator(
            mapping_of(MAPPING), Schemas(schemas(self.folder)), IDS, SourceEpochs(self.begun), Passed(passed)
        )
        for batch in messages:
            translated = translator.translate(batch)
            self.begun += translator.epochs.begun()
            for worker, part in routes.split_translated(translated, 0):
                stages[worker].fold([part])


def in_pieces(folder: str, size: int) -> list[RawBatch]:
    return [
        select(batch, range(at, min(at + size, len(batch))))
        for batch in batches(folder).values()
        for at in range(0, len(batch), size)
    ]


runs = st.tuples(st.integers(1, 40), st.integers(1, 4), st.integers(0, 60))  # messages a batch, workers, writes


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None)
@given(st.sampled_from(["postgres", "mariadb"]), st.lists(runs, max_size=3), st.integers(1, 4))
def test_every_message_of_the_corpus_counts_once_whatever_crashes(
    folder: str, crashes: list[tuple[int, int, int]], workers: int
) -> None:
    undisturbed, other = Deployment(folder), Deployment(folder)
    undisturbed.run(in_pieces(folder, 1_000), 1)
    assert ended(undisturbed.memory.counts) == len(lines(folder))
    for size, some, writes in crashes:
        with suppress(Killed):
            other.run(in_pieces(folder, size), some, writes)
    other.run(in_pieces(folder, 7), workers)
    assert read_once(other.memory.counts) == read_once(undisturbed.memory.counts)


def ended(counts: Counts) -> int:
    """Add up where messages ended; other counts are of the same messages once more, or of rows."""
    return sum(messages for (_, outcome, _), messages in counts.items() if outcome in OUTCOMES)


def read_once(counts: Counts) -> Counter[tuple[str, str, str]]:
    """Add up rows folded in and old news: a row that a crash kept behind its table's truncate is old news by then."""
    found: Counter[tuple[str, str, str]] = Counter()
    for (topic, outcome, reason), messages in counts.items():
        if outcome not in OUTCOMES:
            continue
        is_row = outcome in ("folded", "old_news") and not reason
        found[topic, "rows" if is_row else outcome, reason] += messages
    return found


class Unmarked(MemoryStore):
    """Counts without noting what it counted."""

    def write(self, change: StateWrite) -> None:
        super().write(replace(change, counted={}))


def test_without_marks_a_replay_counts_again() -> None:
    deployment = Deployment("postgres", Unmarked)
    deployment.run(in_pieces("postgres", 20), 1)
    deployment.run(in_pieces("postgres", 20), 1)
    assert ended(deployment.memory.counts) == 2 * len(lines("postgres"))


def test_a_crash_at_any_write_of_a_hard_life_counts_nothing_twice() -> None:
    history = a_hard_life().history(size=3)
    undisturbed = play(history, new_engine(history))
    assert ended(undisturbed.memory.counts) == len(history.arrivals)
    for crash_at in range(0, undisturbed.writes, 3):
        counts = play(history, new_engine(history), crash_at).memory.counts
        assert _not_zero(counts) == _not_zero(undisturbed.memory.counts), crash_at


def _not_zero(counts: Counts) -> Counts:
    return {place: number for place, number in counts.items() if number}


def test_marks_rise_by_shard_and_partition() -> None:
    marks, none = CountedOffsets(2), np.zeros(0, dtype=np.int64)
    marks.load(1, {("t", 3): 10})
    offsets, shards = np.array([9, 10, 11]), np.array([1, 1, 1])
    fresh, risen = marks.count("t", np.array([3, 3, 3]), offsets, shards)
    assert (fresh.tolist(), risen) == ([False, False, True], [(1, 3, 11)])
    fresh, risen = marks.count("t", np.array([3, 0, 3]), offsets, np.array([0, 1, 1]))
    assert (fresh.tolist(), sorted(risen)) == ([True, True, False], [(0, 3, 9), (1, 0, 10)])
    assert marks.count("t", none, none, none)[1] == []


def test_what_a_run_before_passed_is_forgotten_once_it_is_passed_again() -> None:
    passed = Passed({("t", 1): 5})
    assert passed.fresh("t", [1, 0, 1], [5, 4, 6]) is not None
    assert passed.fresh("t", [1], [1]) is None, "partitions only go forward, so nothing is compared any more"
    assert passed.fresh("other", [1], [1]) is None


def test_a_row_that_lacks_a_large_value_is_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com", first_name="Ann")
    book.rekey("shop", "customer", "1", "2")
    events = list(book.log)
    moved = next(at for at, event in enumerate(events) if event.key == "2" and event.stored is not None)
    bit = list(ENTITIES["customer"].fields).index("first_name")
    stored = events[moved].stored
    assert stored is not None
    without = replace(stored, fields={**stored.fields, "first_name": None})
    events[moved] = replace(events[moved], stored=without, held=1 << bit, moved_from=None)  # nobody names the old key
    history = book.history(arrivals=events)
    engine = play(history, new_engine(history))
    engine.kill()
    engine.committed = None
    play_rest(history, engine, engine.start(2))
    lacking = {place: messages for place, messages in engine.memory.counts.items() if place[1] == MISSING}
    assert lacking == {("shop.customer", MISSING, "value_not_sent"): 1}
    (said,) = [record.getMessage() for record in caplog.records if "REPLICA IDENTITY FULL" in record.getMessage()]
    assert "has no first_name" in said
    assert "Ann" not in said and "ann@" not in said
