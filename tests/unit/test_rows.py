"""Rows keep their newest event, by a rule that the oracle for places reads off one pair at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.values import Values
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT, UPSERT, entity_columns
from nurt.rows.fold import fold_rows
from nurt.rows.layouts import LEFT, ROW, ROW_LAYOUTS, ROW_TABLES, TS
from nurt.rows.positions import TruncateWatermark, at_or_before
from nurt.rows.read_frames import Incoming, read_frames
from nurt.state.table import OWNER
from tests.oracle.final_row import Position
from tests.oracle.newest_event import Newest, Place, newest
from tests.oracle.places import is_truncated

KIND = "order_line"
SKU_BIT = 0
parts = st.sampled_from([None, 0, 1, 2])
places = st.builds(
    Place,
    st.sampled_from([0, 0, 1]),
    st.one_of(
        st.tuples(parts, parts, st.just(0), parts),
        st.tuples(st.none(), st.none(), st.integers(2, 4), st.sampled_from([-1, 1, 2, 3, 4, 5, 6])),  # a key's place
    ),
    st.sampled_from([0, 1]),
    st.integers(0, 9),
)
events = st.lists(
    st.tuples(
        st.integers(0, 2),  # row
        places,
        st.sampled_from([UPSERT, UPSERT, DELETE]),
        st.sampled_from([None, "A", "B"]),  # sku
        st.sampled_from([None, b"p" * 16, b"q" * 16, b"r" * 16]),  # parent
        st.sampled_from([0, 0, 1 << SKU_BIT, 1 << UNAVAILABLE_PARENT_BIT]),
    ),
    min_size=1,
    max_size=12,
)


def events_of(some: list[Any], owners: list[int] | None = None) -> Incoming:
    """Make events of owners, which are the rows unless told."""
    incoming = read_frames(ROW_LAYOUTS[KIND], [frame_of(some)])
    return incoming.of(np.array(owners or [row for row, *_ in some], dtype=np.int64))


def frame_of(some: list[Any]) -> pl.DataFrame:
    rows = []
    for row, place, op, sku, parent, held in some:
        p0, p1, p2, p3 = place.position
        gone = op == DELETE
        rows.append(
            {
                "row": bytes([row]) * 16, "system": "s", "entity": KIND, "key": str(row), "op": op, "snapshot": 0,
                "source_epoch": place.source_epoch, "p0": p0, "p1": p1, "p2": p2, "p3": p3,
                "partition": place.partition, "offset": place.offset, "ts_ms": 0, "moved_to": None,
                "unavailable": 0 if gone else held,
                "sku": None if gone or held >> SKU_BIT & 1 else sku,
                "parent_kind": "order" if parent and not gone and not held >> UNAVAILABLE_PARENT_BIT & 1 else None,
                "parent": None if gone or held >> UNAVAILABLE_PARENT_BIT & 1 else parent,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=entity_columns(KIND))


class Naive:
    """One row, an event at a time, and every parent that it was at."""

    def __init__(self) -> None:
        self.row: Newest | None = None
        self.been: set[bytes] = set()

    def take(self, place: Place, op: int, sku: str | None, parent: bytes | None, held: int) -> bool:
        says_nothing_of = [
            name for name, bit in (("sku", SKU_BIT), ("parent", UNAVAILABLE_PARENT_BIT)) if held >> bit & 1
        ]
        gone = op == DELETE
        says = {"op": op, "sku": None if gone else sku, "parent": None if gone else parent}
        after = newest(self.row, place, says, () if gone else says_nothing_of)
        if after is None:
            return False
        self.row = after
        if after.columns["parent"] is not None:
            self.been.add(after.columns["parent"])
        return True


@given(events, st.integers(0, 12))
def test_batches_of_events_leave_what_one_event_at_a_time_leaves(some: list[Any], cut: int) -> None:
    naive = [Naive() for _ in range(3)]
    expected = [naive[row].take(place, op, sku, parent, held) for row, place, op, sku, parent, held in some]
    accepted: list[bool] = []
    values: list[bytes | None] = [None] * 3
    for part in (some[:cut], some[cut:]):
        if part:
            # only rows that the batch concerns are read, as the stage does
            owners = sorted({row for row, *_ in part})
            incoming = events_of(part, [owners.index(row) for row, *_ in part])
            folded = fold_rows(KIND, incoming, Values.of([values[owner] for owner in owners]))
            accepted += folded.accepted.tolist()
            state = ROW_TABLES[KIND].pack(folded.frame(), len(owners))
            packed = zip(folded.values().plain(), folded.changed.tolist(), strict=True)
            for owner, whole, (value, changed) in zip(owners, state, packed, strict=True):
                assert (value is not None) == changed
                if changed:
                    values[owner] = value
                assert whole == values[owner], "what is not stored has not changed"
    assert accepted == expected
    state = ROW_TABLES[KIND].unpack(values)
    for number, one in enumerate(naive):
        mine = state.filter(pl.col(OWNER) == number)
        rows = mine.filter(pl.col("part") == ROW).to_dicts()
        assert len(rows) == (one.row is not None)
        if one.row is None:
            continue
        row = rows[0]
        place = Place(
            row["source_epoch"], (row["p0"], row["p1"], row["p2"], row["p3"]), row["partition"], row["offset"]
        )
        highest = (row["h0"], row["h1"], row["h2"], row["h3"])
        assert highest == (one.row.highest or (None,) * 4)
        assert (place, {name: row[name] for name in ("op", "sku", "parent")}) == (one.row.place, one.row.columns)
        left = mine.filter(pl.col("part") == LEFT)["parent"].to_list()
        assert sorted(left) == sorted(one.been - {one.row.columns["parent"]}), (
            "every parent that it was at, once, but where it is"
        )


@given(st.lists(places, min_size=1, max_size=8), places)
def test_a_truncate_takes_what_stands_at_or_before_it(some: list[Place], truncate: Place) -> None:
    events = events_of([(0, place, UPSERT, None, None, 0) for place in some])
    floor = TruncateWatermark(truncate.source_epoch, truncate.position, truncate.partition, truncate.offset)
    assert at_or_before(events.rows, floor).tolist() == [is_truncated(place, truncate) for place in some]


def test_a_truncate_takes_a_snapshots_row_that_stands_where_it_begins() -> None:
    begins_at = (None, 116_032_512, 0, 0)  # PostgreSQL: the snapshot's end of the log; no transaction came before
    read, streamed = Place(0, begins_at, 0, 0), Place(1, begins_at, 0, 0)
    events = events_of([(0, place, UPSERT, None, None, 0) for place in (read, streamed)])
    assert at_or_before(events.rows, TruncateWatermark(1, begins_at, 2, 0)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("position", "offset", "ts_ms", "is_taken", "why"),
    [
        (1, 30, 900, True, "it is before, and all agree"),
        (9, 50, 1100, False, "it is behind, and all agree"),
        (1, 50, 1100, False, "another log: written later, and later at the source"),
        (9, 30, 900, True, "an earlier log: written before, and earlier at the source"),
        (1, 50, 900, True, "a connector repeats it"),
        (1, 30, 1100, True, "the clock was ahead"),
        (9, 50, 900, False, "the clock was set back"),
        (1, 50, 1000, True, "a clock of whole seconds tells nothing"),
        (1, 50, 0, True, "no clock"),
        (9, 30, 0, False, "no clock"),
        (None, 30, 900, True, "no position: written before, and earlier at the source"),
        (None, 50, 900, False, "nothing tells"),
    ],
)
@pytest.mark.parametrize("partition", [0, 7], ids=["known", "added later"])
def test_between_partitions_two_of_position_writing_and_clock_decide_what_a_truncate_takes(
    position: int | None, offset: int, ts_ms: int, is_taken: bool, why: str, partition: int
) -> None:
    if partition == 7 and offset < 40:
        return  # a partition that came later has nothing from before
    place = Place(1, (position, 0 if position else None, None, None), partition, offset)
    events = events_of([(0, place, UPSERT, None, None, 0)])
    events.rows.numbers[:, TS] = ts_ms
    truncate = TruncateWatermark(5, (5, 0, 0, 0), 2, 20, 0, 1000, (40, 0, 21))
    assert at_or_before(events.rows, truncate).tolist() == [is_taken], why


def test_a_truncate_that_an_earlier_version_kept_is_compared_by_positions() -> None:
    events = events_of([(0, Place(1, (1, 0, 0, 0), 0, 50), UPSERT, None, None, 0)])
    assert at_or_before(events.rows, TruncateWatermark(5, (5, 0, 0, 0), 2, 20)).tolist() == [True]


UNKNOWN = (None, None, None, None)


def _fold(*batches: list[Any]) -> list[list[bool]]:
    value: list[bytes | None] = [None]
    accepted = []
    for batch in batches:
        folded = fold_rows(KIND, events_of(batch), Values.of(value))
        accepted.append(folded.accepted.tolist())
        value = folded.values().plain() if folded.changed[0] else value
    return accepted


def _event(position: Position, offset: int, sku: str, epoch: int = 1) -> Any:
    return 0, Place(epoch, position, 0, offset), UPSERT, sku, None, 0


def test_a_lone_redelivery_from_before_is_old_news_though_the_newest_event_has_no_position() -> None:
    new, unplaced = _event((90, 100, 0, 0), 5, "new"), _event(UNKNOWN, 6, "read again")
    again, newer = _event((90, 95, 0, 0), 7, "from before"), _event((100, 110, 0, 0), 8, "newer")
    assert _fold([new], [unplaced], [again], [newer], [again]) == [[True], [True], [False], [True], [False]]
    assert _fold([new, unplaced, again, newer, again]) == [[True, True, False, True, False]]


def test_a_redelivery_of_the_highest_itself_is_news_behind_an_event_without_a_position() -> None:
    new, unplaced = _event((90, 100, 0, 0), 5, "new"), _event(UNKNOWN, 6, "read again")
    assert _fold([new], [unplaced], [_event((90, 100, 0, 0), 7, "new")]) == [[True], [True], [True]]


def test_a_new_source_epoch_forgets_the_highest_position() -> None:
    old, read = _event((90, 100, 0, 0), 5, "old"), _event(UNKNOWN, 6, "snapshot", epoch=2)
    assert _fold([old], [read], [_event((1, 2, 0, 0), 7, "restored", epoch=2)]) == [[True], [True], [True]]


def test_a_row_that_keeps_what_nobody_knows_says_so() -> None:
    held = 1 << SKU_BIT
    value: list[bytes | None] = [None]

    def fold(*events: Any) -> list[int] | None:
        folded = fold_rows(KIND, events_of(list(events)), Values.of(value))
        value[0] = folded.values().one(0) if folded.changed[0] else value[0]
        return None if folded.missing is None else folded.missing.tolist()

    def event(offset: int, op: int, keeps: int = 0) -> Any:
        return 0, Place(1, (1, offset, 0, 0), 0, offset), op, "A", None, keeps

    assert fold(event(1, UPSERT, held)) == [held], "the first that is heard of it"
    assert fold(event(1, UPSERT, held)) is None, "a replay has nothing new to say"
    assert fold(event(2, UPSERT)) is None
    assert fold(event(3, UPSERT, held)) is None, "it keeps what it has"
    assert fold(event(4, DELETE), event(5, UPSERT, held)) == [held], "it was deleted by flag and came back"
    assert fold(event(6, UPSERT, held), event(7, UPSERT)) is None, "it came in the same batch"
    assert fold(event(8, UPSERT, held), event(9, DELETE)) is None, "who is gone lacks nothing"
