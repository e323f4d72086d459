"""Source epochs: numbered alike however the log is cut, and after every restart."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from nurt.control.source_epochs import Begin, Seen, SourceEpochs, WatchedRows
from nurt.control.source_watch import FALL_BACK_MAX, NoticeKind, SourceWatch
from nurt.debezium.positions import Family
from nurt.model.entity_frame import FULL_SNAPSHOT, INCREMENTAL_SNAPSHOT, STREAMED
from nurt.model.raw import REQUEUED_HEADER
from tests.envelopes import Topic, entry


def seen(kinds: str, start: int = 0, partition: int = 0) -> Seen:
    """Rows of one partition; s: streamed, F: full snapshot, i: incremental."""
    kind = {"s": STREAMED, "F": FULL_SNAPSHOT, "i": INCREMENTAL_SNAPSHOT}
    return Seen(
        np.full(len(kinds), partition, dtype=np.int64),
        np.arange(start, start + len(kinds), dtype=np.int64),
        np.array([kind[letter] for letter in kinds], dtype=np.int8),
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
    mixed = Seen(
        np.array([3, 0, 3, 0]), np.array([7, 1, 8, 2]), np.array([FULL_SNAPSHOT, STREAMED, STREAMED, STREAMED], np.int8)
    )
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


# Notices


MINE = WatchedRows("t", Family.MYSQL, "shop")


def watched(parts: list[int], servers: list[int] | None = None, kinds: str = "", start: int = 0) -> SourceEpochs:
    epochs = SourceEpochs()
    rows = seen(kinds or "s" * len(parts), start)
    known = np.array([part >= 0 for part in parts])
    epochs.watch(rows, MINE, np.array(parts), known, None if servers is None else np.array(servers))
    return epochs


def test_a_log_that_falls_back_far_is_noticed_once() -> None:
    (notice,) = watched([9, 12, 1, 2, 3]).notices()
    assert (notice.kind, notice.topic, notice.partition, notice.offset) == (NoticeKind.FELL_BACK, "t", 0, 2)


def test_a_connector_that_repeats_a_little_is_not() -> None:
    assert watched([9, 12, 12 - FALL_BACK_MAX[Family.MYSQL], 12]).notices() == []


def test_a_fall_back_that_a_snapshot_explains_is_not_noticed() -> None:
    epochs = watched([9, 12], servers=[1, 1])
    epochs.watch(seen("FF", 2), MINE, np.array([1, 1]), np.array([True, True]), np.array([0, 0]))
    epochs.watch(seen("s", 4), MINE, np.array([1]), np.array([True]), np.array([2]))
    assert epochs.notices() == []


def test_an_unknown_position_is_no_fall_back() -> None:
    assert watched([9, -1, 9]).notices() == []


def test_a_server_never_seen_before_is_noticed() -> None:
    epochs = watched([1, 1, 1, 1], servers=[5, 0, 6, 5])
    (notice,) = epochs.notices()
    assert (notice.kind, notice.offset) == (NoticeKind.SERVER_CHANGED, 2)
    assert epochs.notices() == []


def test_the_translator_reports_what_its_sources_do() -> None:
    topic = Topic({"id": "int"}, kind="mysql")
    for server, file in ((1, "binlog.000009"), (1, "binlog.000010"), (2, "binlog.000001")):
        topic.upsert(row={"id": 1}, server_id=server, file=file)
    translator = topic.translator(entry())
    translator.translate(topic.batch)
    (notice,) = translator.epochs.notices()
    assert (notice.kind, notice.source, notice.offset) == (NoticeKind.SERVER_CHANGED, "s", 2)


def test_a_requeued_message_may_be_as_old_as_it_likes() -> None:
    topic = Topic({"id": "int"}, kind="mysql")
    for file in ("binlog.000009", "binlog.000001", "binlog.000009"):
        topic.upsert(row={"id": 1}, file=file)
    topic.batch.headers[1] = [(REQUEUED_HEADER, b"s.t:0:0")]
    translator = topic.translator(entry())
    translator.translate(topic.batch)
    assert translator.epochs.notices() == []


# The operator's word


def test_a_word_begins_one_epoch_of_the_same_phase_where_the_log_falls_back() -> None:
    epochs = SourceEpochs([("t", 0, 0, 1)], SourceWatch(words={"shop": 7}))
    parts = np.array([9, 12, 1, 2, 3])
    epochs.watch(seen("sssss", 10), MINE, parts, parts > 0, None)
    assert numbers(epochs, "sssss", 10) == [1, 1, 3, 3, 3]
    (begin,) = epochs.begun()
    assert (begin, epochs.word_of(begin)) == (("t", 0, 12, 3), 7)
    assert epochs.notices() == []
    again = np.array([1, 20, 2])
    epochs.watch(seen("sss", 15), MINE, again, again > 0, None)
    assert [notice.offset for notice in epochs.notices()] == [17], "a word is good for one epoch"


def test_after_a_word_even_a_small_fall_back_begins_the_epoch() -> None:
    epochs = SourceEpochs([("t", 0, 0, 1)], SourceWatch(words={"shop": 7}))
    parts = np.array([9, 8])
    epochs.watch(seen("ss"), MINE, parts, parts > 0, None)
    assert numbers(epochs, "ss") == [1, 3]


def test_what_an_earlier_run_saw_is_what_a_log_falls_back_from() -> None:
    first = watched([9, 12])
    (sight,) = first.sights()
    assert (sight.highest, sight.offset) == (12, 1)
    later = SourceEpochs([], SourceWatch([sight]))
    parts = np.array([9, 12, 1])
    later.watch(seen("sss"), MINE, parts, parts > 0, None)
    assert [notice.offset for notice in later.notices()] == [2], "the replay of what was watched is none"


def test_the_register_hears_of_a_highest_position_only_now_and_then() -> None:
    epochs = watched([9])
    assert len(epochs.sights()) == 1
    for start, part in ((1, 10), (2, 11), (3, 12)):
        epochs.watch(seen("s", start), MINE, np.array([part]), np.array([True]), None)
    (sight,) = epochs.sights()
    assert (sight.highest, sight.offset) == (12, 3)


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
    assert translator.epochs.begun() == [("s.t", 0, 1, 1), ("s.t", 0, 3, 2)]
