"""Which log has a topic's name: what is evidence, what is none, and what of earlier runs is void."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nurt.control.launch import (
    NEVER,
    Deployment,
    begin_record,
    checkpoint_record,
    decide,
    is_lost,
    owes_rebuild,
    register_record,
    run_number,
)
from nurt.control.log_judgement import (
    Finding,
    FirstChange,
    Look,
    begins_with_snapshot,
    cut_places,
    furthest,
    judge,
    restored,
    stands_of,
)
from nurt.control.logs import (
    ANOTHER,
    NO_LOGS,
    TopicLog,
    decode_known,
    encode_known,
    halted_log_record,
    halted_logs,
    known_logs,
    log_record,
    log_word_record,
    log_words,
    next_log,
    read_record,
    read_stands,
    rebuild_record,
)
from nurt.control.source_epochs import Cause
from nurt.control.source_records import epoch_record, known_epochs
from nurt.control.source_survey import Seen, without_order
from nurt.control.source_watch import NewOrder
from nurt.debezium.positions import Family
from nurt.errors import Fenced
from nurt.model.fence import FencingToken
from nurt.model.log import Committed, LogStand, Witness, WitnessNotes, checksum_of
from nurt.rows.counting import ROWS, counted_of, name_of_count
from nurt.rows.sweeps import Sweep, SweptTable, ordered_sweeps, sweep_record

DEPLOYMENT = Deployment(1, "fingerprint", ())
KNOWN = TopicLog(cluster="c", id="one")


class Register:
    """Plays what a control log holds."""

    def __init__(self) -> None:
        self.records: list[tuple[int, dict[str, Any]]] = []

    def add(self, *records: dict[str, Any]) -> None:
        for record in records:
            self.records.append((len(self.records) + 1, record))

    def run(self) -> int:
        self.add({"kind": "start"})
        run = run_number(self.records, len(self.records))
        self.add(begin_record(run, 1, DEPLOYMENT, decide(self.records, [], {"00": FencingToken(run, 0, 0)})))
        return run


@pytest.mark.parametrize(
    ("look", "finding"),
    [
        (Look("c", "one", {0: 10}, {0: True}), Finding.SAME),
        (Look("c", "one", {0: 10}), Finding.SAME),  # retention or compaction took the witness
        (Look("d", "two", {0: 10}, {0: True}), Finding.SAME),  # mirrored, or a restored volume
        (Look("", "", {0: 10}, {0: True}), Finding.SAME),  # a broker without ids
        (Look("", "", {0: 10}), Finding.SAME),
        (Look("c", "one", {0: 10, 1: 4}, {0: True}), Finding.SAME),  # more partitions
        (Look("c", "two", {0: 10}), Finding.ANOTHER),
        (Look("c", "two", {0: 3}), Finding.ANOTHER),
        (Look("c", "two", {0: 10}, {0: False}), Finding.ANOTHER),
        (Look("c", "two", {0: 10, 1: 9}, {0: True, 1: False}), Finding.ANOTHER),
        (Look("c", "one", {0: 3}), Finding.CUT),
        (Look("c", "one", {0: 10}, {0: False}), Finding.CUT),
        (Look("", "", {0: 10}, {0: False}), Finding.CUT),
        (Look("", "", {0: 10}, {0: True}, {0: True}), Finding.SAME),
        (Look("", "", {0: 10}, {}, {0: False}), Finding.ANOTHER),
        (Look("c", "one", {0: 10}, cut={0: 3}), Finding.CUT),  # leader epochs; retention took the witness
        (Look("c", "one", {0: 10}, {0: True}, cut={0: 3}), Finding.CUT),  # an old witness is below the cut
    ],
)
def test_messages_count_more_than_ids_and_no_evidence_is_none(look: Look, finding: Finding) -> None:
    assert judge(KNOWN, look, {0: 5, 1: 2}).finding is finding


def test_a_copy_is_an_older_one_unless_it_goes_as_far_as_nurt_has_read() -> None:
    for look, offsets, finding in (
        (Look("c", "two", {0: 10}), {0: 5}, Finding.SAME),
        (Look("c", "two", {0: 3}), {0: 5}, Finding.CUT),
        (Look("c", "two", {0: 10}, {0: False}), {0: 5}, Finding.CUT),
        (Look("c", "two", {0: 10}), {}, Finding.CUT),  # the group's commits went with the topic
    ):
        assert restored(judge(KNOWN, look, offsets), look, offsets).finding is finding


def test_a_full_snapshot_begins_a_log_where_what_is_not_of_it_came_after_it_began() -> None:
    full, later, earlier = FirstChange(0, 50, True), FirstChange(1, 60, False), FirstChange(1, 40, False)
    assert begins_with_snapshot([full])
    assert begins_with_snapshot([full, later])
    assert not begins_with_snapshot([full, earlier])
    assert not begins_with_snapshot([later])
    assert begins_with_snapshot([later], snapshot_since=50), "another topic of the system shows the snapshot"
    assert begins_with_snapshot([]), "an empty log"


def test_what_earlier_runs_said_of_another_log_is_void_wherever_a_start_died() -> None:
    register = Register()
    assert register.run() == 1
    register.add(checkpoint_record(1, 300, 0, 1, {("t", 0): 40, ("u", 0): 7}))
    register.add(log_record("t", next_log(KNOWN, 2, (0,))))
    commits = [Committed({("t", 0): 47, ("u", 0): 9}, 1, 400)]
    fences: dict[str, FencingToken | None] = {"00": FencingToken(1, 401, 0)}
    for _ in range(3):  # it dies between two of its records, and starts again
        assert decide(register.records, commits, fences).offsets == {("u", 0): 9}
        register.add({"kind": "start"})
    restored: dict[str, FencingToken | None] = {"00": FencingToken(1, 350, 0)}
    assert decide(register.records, commits, restored).offsets == {("u", 0): 7}, "a checkpoint's offsets, too"
    run = register.run()
    again = decide(register.records, [Committed({("t", 0): 3}, run, 5)], {"00": FencingToken(run, 6, 0)})
    assert (again.offsets or {})["t", 0] == 3, "what the run that reads it says is valid"


def test_another_log_has_source_epochs_and_counted_offsets_of_its_own() -> None:
    register = Register()
    register.add(epoch_record(("t", 0, 10, 1), Cause(word=0)), log_record("t", KNOWN))
    register.add(log_record("t", next_log(KNOWN, 2, (0,))), epoch_record(("t", 0, 4, (1 << 20) + 1), Cause(word=0)))
    epochs = known_epochs(register.records)
    assert [int(epochs.epoch_of("t", 0, offsets)[0]) for offsets in ([0], [12])] == [1 << 20, (1 << 20) + 1]
    assert [int(epochs.epoch_of("u", 0, offsets)[0]) for offsets in ([0], [12])] == [0, 0]
    logs = known_logs(register.records)
    stored = {name_of_count(ROWS, "t", 0): 46, name_of_count(ROWS, "t", 0, 1): 3, name_of_count(ROWS, "u", 0): 5}
    assert counted_of(ROWS, stored, logs) == {("t", 0): 3, ("u", 0): 5}


def test_a_note_on_a_log_makes_nothing_void() -> None:
    register = Register()
    register.add(log_record("t", next_log(KNOWN, 2, (0,))), log_record("u", KNOWN))
    before = known_logs(register.records).of("t")
    register.add(log_record("t", replace(before, cluster="mirror")))
    after = known_logs(register.records).of("t")
    assert after == replace(before, cluster="mirror")
    assert decode_known(encode_known(known_logs(register.records))).of("t") == TopicLog(1, 1, "mirror", "one")
    assert decode_known(None) == NO_LOGS


def test_a_word_is_used_once_and_a_log_that_is_well_again_needs_none() -> None:
    register = Register()
    register.add(halted_log_record("t", "why"), halted_log_record("u", "why"))
    assert halted_logs(register.records) == {"t": "why", "u": "why"}
    register.add(log_word_record("t", ANOTHER), log_record("u", KNOWN))
    assert halted_logs(register.records) == {}
    assert log_words(register.records) == {"t": ANOTHER}
    register.add(log_record("t", next_log(KNOWN, 2, ())))
    assert log_words(register.records) == {}


def test_a_register_that_lost_records_counts_on_from_the_states_highest_run() -> None:
    register, fences = Register(), [FencingToken(7, 1, 0), None]
    register.add(register_record("mine", 0, 0, lost=False))
    register.run()
    known = known_logs(register.records)
    assert is_lost([], NO_LOGS, NO_LOGS, fences), "a new register"
    assert is_lost(register.records, known, replace(NO_LOGS, register="mine"), fences), "a cut one"
    assert not is_lost(register.records, known, replace(NO_LOGS, register="mine"), [FencingToken(1, 9, 0)])
    assert not is_lost([], NO_LOGS, NO_LOGS, [None]), "a first start"
    for other in (replace(NO_LOGS, register="another"), NO_LOGS):
        with pytest.raises(Fenced, match="another cluster"):
            is_lost(register.records, known, other, fences)
    register.add(register_record("anew", 7, 1, lost=True))
    assert decide(register.records, [], {"00": FencingToken(7, 1, 0)}).after == NEVER
    assert register.run() == 8
    assert known_logs(register.records).generation("any") == 1


def test_a_rebuild_is_owed_until_a_run_has_begun_it() -> None:
    register = Register()
    register.run()
    register.add({"kind": "start"}, rebuild_record(2, known_logs(register.records), confirmed=False))
    assert owes_rebuild(register.records)
    assert decide(register.records, [Committed({("t", 0): 5}, 1, 2)], {"00": FencingToken(1, 3, 0)}).offsets is None
    register.run()
    assert not owes_rebuild(register.records)
    assert known_logs(register.records).of("t") == TopicLog(1, 1, since=2, record=4)


def test_a_sweep_holds_after_a_rebuild_by_its_snapshots_offset_and_ends_with_its_log() -> None:
    register, table = Register(), SweptTable("customer", "s", "t", "t")
    register.add(epoch_record(("t", 0, 20, 2), Cause(word=0)), sweep_record([Sweep(table, 0, {0: 2})]))
    assert [one.fences for one in ordered_sweeps(register.records)] == [{0: 2}]
    register.add(rebuild_record(2, known_logs(register.records), confirmed=False))
    (held,) = ordered_sweeps(register.records)
    assert (held.fences, held.places, held.since) == ({}, {0: 20}, 1 << 20)
    register.add(log_record("t", next_log(known_logs(register.records).of("t"), 3, ())))
    assert ordered_sweeps(register.records) == []


def seen_at(offsets: list[int], parts: list[int]) -> Seen:
    rows, zeros = len(offsets), np.zeros(len(offsets), dtype=np.int64)
    none = without_order(rows)
    none.numbers[0], none.known[0] = parts, True
    order = replace(none, source="s", family=Family.POSTGRESQL)
    return Seen(zeros, np.array(offsets), np.zeros(rows, dtype=np.int8), order)


def test_fall_backs_that_were_accepted_are_accepted_again_after_a_rebuild_at_their_places_only() -> None:
    register = Register()
    register.add(
        epoch_record(("t", 0, 0, 1), Cause(word=0)),
        epoch_record(("t", 0, 30, 3), Cause(word=5)),
        epoch_record(("t", 0, 50, 5), Cause(word=9)),
    )
    register.add(rebuild_record(2, known_logs(register.records), confirmed=False))
    first, far = 1 << 20, 1 << 40
    epochs = known_epochs(register.records)
    found = [
        epochs.observe("t", seen_at(offsets, parts)).tolist()
        for offsets, parts in (([0, 10], [far, far + 1]), ([30, 40], [5, 6]), ([50], [1]), ([60], [far]))
    ]
    assert found == [[first + 1] * 2, [first + 3] * 2, [first + 5], [first + 5]]
    with pytest.raises(NewOrder):  # another fall-back is not accepted by them
        epochs.observe("t", seen_at([70, 80], [far, 1]))


def test_how_far_a_run_had_read_counts_until_the_topic_is_read_again() -> None:
    register = Register()
    register.add(read_record("t", LogStand(0, 9, 4), 1), read_record("u", LogStand(0, 7, 2), 1))
    known = known_logs(register.records)
    stands = furthest([*read_stands(register.records, known), *stands_of({("t", 0): 5, ("v", 1): 3}, {("t", 0): 4})])
    assert stands == {"t": [LogStand(0, 9, 4)], "u": [LogStand(0, 7, 2)]}, "the furthest place, where leaders are known"
    register.add(log_record("t", replace(KNOWN, cut={0: 2})), log_record("u", next_log(KNOWN, 2, ())))
    assert read_stands(register.records, known_logs(register.records)) == []


def test_a_cut_is_no_later_than_anything_that_shows_it() -> None:
    look = Look("c", "one", {0: 20, 1: 4, 2: 20, 3: 20}, {0: True, 2: False}, cut={0: 6})
    last = {2: Witness(8, 0)}
    assert cut_places([0, 1, 2, 3], look, {0: 9, 1: 9, 2: 9, 3: 9}, last) == {0: 6, 1: 4, 2: 8}


def test_what_is_written_instead_of_lost_messages_is_of_the_newest_epoch_that_those_began() -> None:
    register = Register()
    register.add(
        log_record("t", KNOWN),
        epoch_record(("t", 0, 10, 1), Cause(word=0)),
        epoch_record(("t", 0, 50, 2), Cause(identity=(-1, 700))),
        epoch_record(("t", 0, 60, 3), Cause(word=0)),
        log_record("t", replace(KNOWN, cut={0: 2}, cut_at={0: 45})),
    )
    epochs = known_epochs(register.records)
    assert epochs.epoch_of("t", 0, np.array([5, 20, 44, 45, 55, 99])).tolist() == [0, 1, 1, 3, 3, 3]
    register.add(
        epoch_record(("t", 0, 80, 5), Cause(word=7)), log_record("t", replace(KNOWN, cut={0: 2}, cut_at={0: 45}))
    )
    assert known_epochs(register.records).epoch_of("t", 0, np.array([79, 80])).tolist() == [3, 5], "it counts once"


def test_a_witness_is_the_newest_message_below_an_offset() -> None:
    notes = WitnessNotes()
    assert notes.before(("t", 0), 9) is None
    for offset in (3, 7, 12):
        notes.note(("t", 0), offset, 5, b"key", b"%d" % offset)
    assert notes.before(("t", 0), 3) is None
    assert notes.before(("t", 0), 12) == Witness(7, checksum_of(5, b"key", b"7"))
    assert notes.before(("t", 0), 99) == Witness(12, checksum_of(5, b"key", b"12"))
    assert len({checksum_of(5, *one) for one in ((b"a", b"b"), (b"ab", b""), (b"ab", None), (None, b"ab"))}) == 4
