"""Source epochs: numbered alike however the log is cut, and after every restart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from nurt.control.source_epochs import Begin, SourceEpochs
from nurt.control.source_records import accepted_record, epoch_record, halted_record, known_epochs, sights_record
from nurt.control.source_survey import FALL_BACK_MAX, Seen, without_order
from nurt.control.source_watch import NewOrder, Notice, NoticeKind, Place, Restart, SourceWatch
from nurt.debezium.positions import Family
from nurt.model.entity_frame import FULL_SNAPSHOT, INCREMENTAL_SNAPSHOT, STREAMED
from nurt.model.raw import REQUEUED_HEADER
from tests.envelopes import Topic, entry

KINDS = {"s": STREAMED, "F": FULL_SNAPSHOT, "i": INCREMENTAL_SNAPSHOT}


def seen(
    kinds: str,
    start: int = 0,
    partition: int = 0,
    parts: Sequence[int | tuple[int, ...]] = (),
    servers: Sequence[int] = (),
    source_ms: Sequence[int] = (),
    written_ms: Sequence[int] = (),
    family: Family = Family.MYSQL,
    excused: Sequence[int] = (),
) -> Seen:
    """Rows of one partition; s: streamed, F: full snapshot, i: incremental. A first part below 0 is not known."""
    rows = len(kinds)
    order = without_order(rows)
    for row, position in enumerate(parts):
        for part, number in enumerate(position if isinstance(position, tuple) else (position, 0, 0, 0)):
            order.numbers[part, row], order.known[part, row] = number, number >= 0
    for array, values in ((order.servers, servers), (order.source_ms, source_ms), (order.written_ms, written_ms)):
        array[: len(values)] = values
    return Seen(
        np.full(rows, partition, dtype=np.int64),
        np.arange(start, start + rows, dtype=np.int64),
        np.array([KINDS[letter] for letter in kinds], dtype=np.int8),
        replace(order, source="shop", family=family, is_excused=lambda row: row in excused),
    )


def numbers(epochs: SourceEpochs, kinds: str, start: int = 0, partition: int = 0) -> list[int]:
    return epochs.observe("t", seen(kinds, start, partition)).tolist()


def test_a_snapshot_after_streamed_rows_begins_an_epoch() -> None:
    epochs = SourceEpochs()
    assert numbers(epochs, "FFssFsi") == [0, 0, 1, 1, 2, 3, 3]
    assert epochs.begun() == [("t", 0, 2, 1), ("t", 0, 4, 2), ("t", 0, 5, 3)]
    assert epochs.begun() == []


def test_a_topic_that_begins_with_streamed_rows_is_in_a_stream() -> None:
    epochs = SourceEpochs()
    assert numbers(epochs, "ss") == [1, 1]
    assert epochs.begun() == [("t", 0, 0, 1)]


def test_incremental_snapshots_belong_to_the_stream() -> None:
    assert numbers(SourceEpochs(), "siFis") == [1, 1, 2, 3, 3]


def test_partitions_and_topics_have_epochs_of_their_own() -> None:
    epochs = SourceEpochs()
    kinds = np.array([FULL_SNAPSHOT, STREAMED, STREAMED, STREAMED], np.int8)
    mixed = Seen(np.array([3, 0, 3, 0]), np.array([7, 1, 8, 2]), kinds, without_order(4))
    assert epochs.observe("t", mixed).tolist() == [0, 1, 1, 1]
    assert sorted(epochs.begun()) == [("t", 0, 1, 1), ("t", 3, 8, 1)]
    assert epochs.observe("u", seen("F")).tolist() == [0]


def test_a_restart_in_the_middle_of_a_stream_knows_that_a_snapshot_is_a_new_one() -> None:
    first = SourceEpochs()
    numbers(first, "FFss")
    again = SourceEpochs(first.begun())
    assert numbers(again, "FF", start=4) == [2, 2]


def test_a_restart_in_the_middle_of_a_snapshot_begins_no_epoch() -> None:
    first = SourceEpochs()
    numbers(first, "ssFF")
    again = SourceEpochs(first.begun())
    assert numbers(again, "FF", start=4) == [2, 2]
    assert again.begun() == []


def test_a_replay_of_old_rows_gets_their_old_epochs() -> None:
    first = SourceEpochs()
    whole = numbers(first, "FFssFss")
    again = SourceEpochs(first.begun())
    assert numbers(again, "FFssFss") == whole
    assert again.begun() == []


kinds = st.text(alphabet="sFi", max_size=30)
cuts = st.lists(st.integers(0, 30), max_size=4).map(sorted)


@given(kinds, cuts, st.booleans())
def test_however_the_log_is_cut_and_restarted_the_numbers_agree(rows: str, at: list[int], restarted: bool) -> None:
    whole = numbers(SourceEpochs(), rows)
    register: list[Begin] = []
    epochs = SourceEpochs()
    found: list[int] = []
    bounds = [0, *[min(cut, len(rows)) for cut in at], len(rows)]
    for start, end in pairwise(bounds):
        if restarted:
            epochs = SourceEpochs(register)
        found += numbers(epochs, rows[start:end], start)
        register += epochs.begun()
    assert found == whole
    assert SourceEpochs(register[::-1]).epoch_of("t", 0, np.arange(len(rows))).tolist() == whole


@given(kinds, st.integers(0, 30), st.integers(0, 30))
def test_a_rewind_numbers_as_the_first_time(rows: str, crash: int, rewind: int) -> None:
    crash = min(crash, len(rows))
    rewind = min(rewind, crash)
    first = SourceEpochs()
    whole = numbers(SourceEpochs(), rows)
    numbers(first, rows[:crash])
    again = SourceEpochs(first.begun())
    assert numbers(again, rows[rewind:], rewind) == whole[rewind:]


# Snapshots behind snapshots


def observed(epochs: SourceEpochs, rows: Seen, topic: str = "t") -> list[int]:
    return epochs.observe(topic, rows).tolist()


def kept(epochs: SourceEpochs, log: list[tuple[int, dict[str, Any]]], heights: dict[Place, int] | None = None) -> None:
    """Write down what an epoch's owner writes down."""
    records = [epoch_record(begin, epochs.cause_of(begin)) for begin in epochs.begun()]
    if sights := epochs.sights():
        records.append(sights_record(sights))
    log += [(len(log) + at, json.loads(json.dumps(record))) for at, record in enumerate(records)]
    (heights if heights is not None else {}).update(epochs.heights())


@pytest.mark.parametrize("family", [Family.MYSQL, Family.POSTGRESQL, Family.SQLSERVER])
@pytest.mark.parametrize("second", [(3, 4), (900, 7), (901, 4)], ids=["lower", "higher pos", "higher"])
def test_a_full_snapshot_behind_another_begins_an_epoch(family: Family, second: tuple[int, int]) -> None:
    def at(first: int, pos: int) -> tuple[int, ...]:
        return {
            Family.MYSQL: (first, pos, 0, 0),
            Family.POSTGRESQL: (-1, 1000 * first + pos, 0, 0),
            Family.SQLSERVER: (first, pos, -1, 0),
        }[family]

    rows = seen("FFFFss", parts=[at(900, 4)] * 2 + [at(*second)] * 2 + [(999, 0, 0, 0)] * 2, family=family)
    epochs = SourceEpochs()
    assert observed(epochs, rows) == [0, 0, 2, 2, 3, 3]


def test_which_snapshot_a_partition_is_in_survives_a_restart() -> None:
    for cut in range(1, 6):
        whole = seen("FFFFss", parts=[(900, 4, 0, 0)] * 2 + [(3, 4, 0, 0)] * 2 + [(3, 9, 0, 0)] * 2)
        log: list[tuple[int, dict[str, Any]]] = []
        first = SourceEpochs()
        found = observed(first, part_of(whole, 0, cut))
        kept(first, log)
        assert found + observed(known_epochs(log), part_of(whole, cut, 6)) == [0, 0, 2, 2, 3, 3], cut


def test_snapshots_of_two_connectors_that_take_turns_begin_one_epoch_each() -> None:
    one, other = (-1, 100, 0, 0), (-1, 7000, 0, 0)
    rows = seen("F" * 9 + "s", parts=[one, other] * 4 + [one, (9000, 9000, 0, 0)], family=Family.POSTGRESQL)
    epochs = SourceEpochs()
    assert observed(epochs, rows) == [0, *[2] * 8, 3]
    causes = [(begin[3], epochs.cause_of(begin).is_partial) for begin in epochs.begun()]
    assert causes == [(0, False), (2, False), (2, True), (3, False)], "and none of them can be swept"


def test_a_register_without_identities_takes_the_first_one_for_the_one_that_it_knows() -> None:
    log = [(0, {"kind": "source_epoch", "topic": "t", "partition": 0, "offset": 5, "epoch": 2})]
    epochs = known_epochs(log)
    assert observed(epochs, seen("FF", 6, parts=[(9, 4, 0, 0)] * 2)) == [2, 2]
    kept(epochs, log)
    assert observed(known_epochs(log), seen("F", 8, parts=[(3, 4, 0, 0)])) == [4]


def test_a_partition_that_the_snapshot_wrote_nothing_to_begins_behind_it() -> None:
    log: list[tuple[int, dict[str, Any]]] = []
    epochs = SourceEpochs()
    assert observed(epochs, seen("ss", parts=[900, 901], written_ms=[10, 20])) == [1, 1]
    assert observed(epochs, seen("F", parts=[(3, 4, 0, 0)], written_ms=[50]), "u") == [0]
    kept(epochs, log, heights := {})
    behind = seen("sss", 2, parts=[901, 4, 5], written_ms=[40, 60, 70])
    assert observed(epochs, behind) == [1, 3, 3]
    assert observed(known_epochs(log, heights), behind) == [1, 3, 3], "another run knows it too"
    assert observed(epochs, seen("s", 5, parts=[6], written_ms=[80])) == [3], "it begins once"


def test_a_partition_that_has_passed_the_snapshot_needs_no_other_epoch() -> None:
    epochs = SourceEpochs()
    assert observed(epochs, seen("ss", parts=[10, 12], written_ms=[10, 60])) == [1, 1]
    observed(epochs, seen("F", parts=[(11, 4, 0, 0)], written_ms=[50]), "u")
    assert observed(epochs, seen("ss", 2, parts=[11, 13], written_ms=[70, 80])) == [1, 1], "and a repeat is a repeat"


def test_a_snapshot_that_another_worker_reads_is_asked_for_before_anything_halts() -> None:
    told: list[Restart] = []
    epochs = SourceEpochs(watch=SourceWatch(learn=lambda: told))
    observed(epochs, seen("s", parts=[900], written_ms=[10]))
    fallen = seen("s", 1, parts=[4], written_ms=[60])
    with pytest.raises(NewOrder):
        epochs.observe("t", fallen)
    told.append(Restart("shop", 50, identity=(3, 4)))
    assert observed(epochs, fallen) == [3]


def test_a_snapshot_in_another_partition_of_the_batch_is_known_first() -> None:
    epochs = SourceEpochs()
    observed(epochs, seen("s", parts=[900], written_ms=[10]))
    quiet, read = (
        seen("s", 1, parts=[4], written_ms=[60]),
        seen("F", partition=1, parts=[(3, 4, 0, 0)], written_ms=[50]),
    )
    assert observed(epochs, joined(quiet, read)) == [3, 0]


@pytest.mark.parametrize(
    ("family", "position", "server"),
    [
        (Family.POSTGRESQL, (100, 100, 0, 0), 0),
        (Family.MYSQL, (9, 4, 0, 0), 7),
        (Family.SQLSERVER, (9, 4, 8, 0), 0),
    ],
)
def test_a_blocking_snapshot_is_partial_and_no_new_order_of_other_partitions(
    family: Family, position: tuple[int, ...], server: int
) -> None:
    epochs = SourceEpochs()
    observed(epochs, seen("s", parts=[90], written_ms=[10], family=family), "u")
    blocking = seen("sFs", parts=[90, position, 91], servers=[7, server, 7], written_ms=[20, 30, 40], family=family)
    assert observed(epochs, blocking) == [1, 2, 3]
    assert [epochs.cause_of(begin).is_partial for begin in epochs.begun()] == [False, False, True, False]
    assert observed(epochs, seen("s", 1, parts=[92], written_ms=[50], family=family), "u") == [1]


# Notices


def watched(rows: Seen, epochs: SourceEpochs | None = None) -> Notice | None:
    try:
        (epochs or SourceEpochs()).observe("t", rows)
    except NewOrder as found:
        return found.notice
    return None


def test_a_log_that_falls_back_far_is_noticed() -> None:
    notice = watched(seen("sssss", parts=[9, 12, 1, 2, 3]))
    assert notice is not None
    assert (notice.kind, notice.topic, notice.partition, notice.offset) == (NoticeKind.FELL_BACK, "t", 0, 2)


def test_a_log_that_falls_back_a_little_is_noticed_by_the_sources_clock() -> None:
    notice = watched(seen("sss", parts=[(9, 7, 0, 0), (9, 8, 0, 0), (9, 7, 5, 0)], source_ms=[10, 20, 21]))
    assert notice is not None
    assert (notice.kind, notice.offset) == (NoticeKind.FELL_BACK, 2)


MANY = [(9, 7, 0, 0), (9, 8, 0, 0), (9, 7, 0, 0), (9, 8, 0, 0), (9, 9, 0, 0)]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (seen("sssss", parts=MANY, source_ms=[10, 20, 10, 20, 30]), "a connector repeats after a crash"),
        (seen("sssss", parts=MANY, source_ms=[10, 2, 10, 2, 3]), "the clock was set back"),
        (seen("sssss", parts=MANY, source_ms=[10, 9020, 10, 9020, 30]), "the clock was ahead for a moment"),
        (seen("sssss", parts=MANY, source_ms=[1000, 1000, 1000, 1000, 1000]), "a clock of whole seconds"),
        (seen("sssss", parts=MANY), "no clock"),
        (seen("ssi", parts=[9, 12, 10], source_ms=[10, 20, 30]), "an incremental snapshot reads now"),
        (seen("sis", parts=[9, 10, 9], source_ms=[10, 30, 10]), "a connector repeats what it wrote before its read"),
        (seen("sisi", parts=[9, 12, 13, 12], source_ms=[10, 30, 20, 40]), "it reads again; the source's clock lags"),
        (seen("sss", parts=[9, 12, 1], source_ms=[10, 20, 30], excused=[2]), "nurt put it there again"),
        (seen("sss", parts=[9, -1, 9], source_ms=[10, 20, 30]), "a first transaction has half a position"),
        (
            seen("sss", parts=[(5, 90, 0, 0), (7, 60, 0, 0), (7, 95, 0, 0)], source_ms=[1, 2, 3]),
            "a long transaction has a lower lsn than its neighbour's commit",
        ),
        (seen("sss", parts=[9, 12, 12 - FALL_BACK_MAX[Family.MYSQL]]), "a repeat reaches back to an earlier file"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_harmless_passes(rows: Seen, why: str) -> None:
    assert watched(rows) is None, why
    epochs = SourceEpochs()
    for at in range(len(rows.offsets)):
        epochs.observe("t", part_of(rows, at, at + 1))


def test_the_height_of_an_order_is_exact_after_a_restart() -> None:
    log: list[tuple[int, dict[str, Any]]] = []
    first = SourceEpochs()
    for at in range(5):
        observed(first, seen("s", at, parts=[(9, 10 + at, 0, 0)], source_ms=[100 + at], written_ms=[at + 1]))
        kept(first, log, heights := {})
    assert watched(seen("s", 5, parts=[(9, 13, 0, 0)], source_ms=[104]), known_epochs(log, heights)) is None
    notice = watched(seen("s", 5, parts=[(9, 13, 0, 0)], source_ms=[105]), known_epochs(log, heights))
    assert notice is not None
    replay = known_epochs(log, heights)
    assert watched(seen("sss", 2, parts=[(9, 12, 0, 0), (9, 13, 0, 0), (9, 14, 0, 0)]), replay) is None


def test_a_fall_back_that_a_snapshot_explains_is_not_noticed() -> None:
    rows = seen("ssFFs", parts=[9, 12, (1, 4, 0, 0), (1, 4, 0, 0), (1, 9, 0, 0)], servers=[1, 1, 0, 0, 2])
    assert watched(rows) is None


def test_several_servers_in_one_log_are_folded_where_positions_go_on() -> None:
    epochs = SourceEpochs()
    servers = [5, 0, 6, 5, 7, 6, *range(10, 24)]
    assert observed(epochs, seen("s" * 20, parts=list(range(20)), servers=servers)) == [1] * 20
    (sight,) = epochs.sights()
    assert sight.servers == (5, 6, 7, *range(10, 24))


def test_a_row_behind_an_incremental_snapshot_is_noticed() -> None:
    notice = watched(seen("Fis", parts=[(9, 4, 0, 0), (9, 8, 0, 0), (9, 7, 0, 0)], source_ms=[5, 20, 30]))
    assert notice is not None
    assert (notice.kind, notice.offset) == (NoticeKind.FELL_BACK, 2)


def test_an_incremental_snapshot_behind_a_new_order_is_of_it() -> None:
    epochs = known_epochs(a_word(halted_ms=50))
    assert observed(epochs, seen("sis", 10, parts=[9, 7, 8], written_ms=[40, 60, 70])) == [1, 3, 3]
    epochs = SourceEpochs()
    observed(epochs, seen("s", parts=[900], written_ms=[10]))
    observed(epochs, seen("F", parts=[(3, 4, 0, 0)], written_ms=[50]), "u")
    assert observed(epochs, seen("ii", 1, parts=[901, 4], written_ms=[40, 60])) == [1, 3]


def test_an_incremental_snapshot_that_nothing_explains_leaves_the_order_to_streamed_rows() -> None:
    epochs = SourceEpochs()
    rows = seen("sis", parts=[900, 4, 5], written_ms=[10, 60, 70], source_ms=[10, 60, 70])
    observed(epochs, part_of(rows, 0, 2))
    observed(epochs, seen("F", parts=[(3, 4, 0, 0)], written_ms=[50]), "u")
    assert observed(epochs, part_of(rows, 2, 3)) == [3], "it has not passed the snapshot's moment"


def test_a_fall_of_one_byte_by_a_server_never_seen_before_is_noticed() -> None:
    notice = watched(seen("sss", parts=[(9, 7, 0, 0), (9, 8, 0, 0), (9, 7, 0, 0)], servers=[5, 5, 6]))
    assert notice is not None
    assert (notice.kind, notice.offset) == (NoticeKind.SERVER_CHANGED, 2)


def test_a_server_that_an_earlier_run_saw_is_known() -> None:
    log: list[tuple[int, dict[str, Any]]] = []
    first = SourceEpochs()
    observed(first, seen("ss", parts=[(9, 7, 0, 0), (9, 8, 0, 0)], servers=[5, 6]))
    kept(first, log, heights := {})
    repeats = seen("s", 2, parts=[(9, 7, 0, 0)], servers=[5])
    assert watched(repeats, known_epochs(log, heights)) is None


def test_the_translator_reports_what_its_sources_do() -> None:
    topic = Topic({"id": "int"}, kind="mysql")
    for server, file in ((1, "binlog.000009"), (1, "binlog.000010"), (2, "binlog.000001")):
        topic.upsert(row={"id": 1}, server_id=server, file=file)
    topic.translator(entry()).translate(topic.batch)  # who only tries messages is not stopped
    translator = topic.translator(entry(), epochs=SourceEpochs())
    with pytest.raises(NewOrder) as found:
        translator.translate(topic.batch)
    notice = found.value.notice
    assert (notice.kind, notice.source, notice.offset) == (NoticeKind.SERVER_CHANGED, "s", 2)


def test_a_requeued_message_may_be_as_old_as_it_likes() -> None:
    topic = Topic({"id": "int"}, kind="mysql")
    for file in ("binlog.000009", "binlog.000001", "binlog.000009"):
        topic.upsert(row={"id": 1}, file=file)
    topic.batch.headers[1] = [(REQUEUED_HEADER, b"s.t:0:0")]
    translated = topic.translator(entry(), epochs=SourceEpochs()).translate(topic.batch)
    assert translated.entities[0].frame["source_epoch"].to_list() == [1, 1, 1]


# The operator's word


def a_word(halted_ms: int = 0) -> list[tuple[int, dict[str, Any]]]:
    begin = {"kind": "source_epoch", "topic": "t", "partition": 0, "offset": 0, "epoch": 1}
    notice = Notice(NoticeKind.FELL_BACK, "shop", "t", 0, 12, "", halted_ms)
    return [(0, begin), (6, halted_record(notice)), (7, accepted_record("shop"))]


def test_a_word_begins_one_epoch_of_the_same_phase_where_the_log_falls_back() -> None:
    epochs = known_epochs(a_word())
    assert observed(epochs, seen("sssss", 10, parts=[9, 12, 1, 2, 3])) == [1, 1, 3, 3, 3]
    (begin,) = epochs.begun()
    assert (begin, epochs.cause_of(begin).word) == (("t", 0, 12, 3), 7)
    notice = watched(seen("sss", 15, parts=[1, 20, 2]), epochs)
    assert notice is not None
    assert notice.offset == 17, "a word is good for one epoch"


def two_words() -> list[tuple[int, dict[str, Any]]]:
    notice = Notice(NoticeKind.FELL_BACK, "shop", "t", 1, 30, "", 100)
    return [*a_word(halted_ms=50), (8, halted_record(notice)), (9, accepted_record("shop"))]


def test_a_partition_that_falls_twice_uses_each_word_once() -> None:
    epochs = known_epochs(two_words())
    rows = seen("ssss", 0, 2, parts=[9, 8, 8, 7], written_ms=[10, 40, 70, 90], source_ms=[1, 2, 3, 4])
    assert observed(epochs, rows) == [1, 3, 3, 5]
    assert [epochs.cause_of(begin).word for begin in epochs.begun()] == [0, 7, 9]


def test_a_partition_that_was_quiet_while_two_words_were_given_uses_up_both() -> None:
    epochs = known_epochs(two_words())
    assert observed(epochs, seen("ss", 0, 2, parts=[9, 8], written_ms=[10, 110], source_ms=[1, 2])) == [1, 3]
    with pytest.raises(NewOrder):
        epochs.observe("t", seen("s", 2, 2, parts=[7], written_ms=[120], source_ms=[3]))


def test_after_a_word_a_repeat_is_still_a_repeat() -> None:
    rows = seen("ssss", parts=[9, 10, 9, 8], source_ms=[10, 20, 10, 30])
    assert observed(known_epochs(a_word()), rows) == [1, 1, 1, 3]


def test_a_word_holds_in_each_partition_from_when_it_was_needed() -> None:
    epochs = known_epochs(a_word(halted_ms=50))
    assert observed(epochs, seen("sss", 10, parts=[9, 8, 8], written_ms=[40, 60, 70], source_ms=[1, 1, 1])) == [1, 3, 3]
    rows = seen("sss", 0, 1, parts=[9, 8, 7], written_ms=[40, 60, 70], source_ms=[5, 5, 4])
    assert observed(epochs, rows) == [1, 3, 3]


def test_one_word_is_enough_for_servers_that_take_turns() -> None:
    log = a_word()
    epochs = known_epochs(log)
    parts, servers = [900, 3, 901, 4, 902, 5], [1, 2, 1, 2, 1, 2]
    assert observed(epochs, seen("ssssss", 10, parts=parts, servers=servers)) == [1, 3, 3, 5, 5, 7]
    kept(epochs, log, heights := {})
    again = known_epochs(log, heights)
    assert observed(again, seen("ss", 16, parts=[903, 6], servers=[1, 2])) == [7, 9]


def part_of(rows: Seen, start: int, end: int) -> Seen:
    """Cut rows."""
    order = rows.order
    cut = replace(
        order,
        numbers=np.ascontiguousarray(order.numbers[:, start:end]),
        known=np.ascontiguousarray(order.known[:, start:end]),
        source_ms=order.source_ms[start:end],
        written_ms=order.written_ms[start:end],
        servers=order.servers[start:end],
        is_excused=lambda row: order.is_excused(row + start),
    )
    return Seen(rows.partitions[start:end], rows.offsets[start:end], rows.snapshot[start:end], cut)


def joined(one: Seen, other: Seen) -> Seen:
    """Put rows of two partitions behind each other."""
    first, second = one.order, other.order
    order = replace(
        first,
        numbers=np.hstack((first.numbers, second.numbers)),
        known=np.hstack((first.known, second.known)),
        source_ms=np.concatenate((first.source_ms, second.source_ms)),
        written_ms=np.concatenate((first.written_ms, second.written_ms)),
        servers=np.concatenate((first.servers, second.servers)),
    )
    names = ("partitions", "offsets", "snapshot")
    return Seen(*[np.concatenate((getattr(one, name), getattr(other, name))) for name in names], order)


def test_the_translator_numbers_rows_and_truncates() -> None:
    topic = Topic({"id": "int"})
    topic.upsert(op="r", row={"id": 1}, snapshot="first", sequence='[null,"5"]')
    topic.raw(None, topic.envelope("t", None, None, sequence='["6","7"]'))
    topic.upsert(row={"id": 1}, sequence='["6","8"]')
    topic.upsert(op="r", row={"id": 1}, snapshot="true", sequence='[null,"2"]')
    translator = topic.translator(entry(), epochs=SourceEpochs())
    translated = translator.translate(topic.batch)
    assert translated.entities[0].frame["source_epoch"].to_list() == [0, 1, 2]
    assert translated.truncated[0].source_epoch == 1
    assert translator.epochs.begun() == [("s.t", 0, 0, 0), ("s.t", 0, 1, 1), ("s.t", 0, 3, 2)]
