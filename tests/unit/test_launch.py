"""Where a run begins: the offsets that its state can vouch for, and never later ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nurt.control.launch import (
    CHECKPOINTS_KEPT,
    NEVER,
    Deployment,
    LaunchDecision,
    begin_record,
    check_deployment,
    checkpoint_record,
    decide,
    earlier_workers,
    run_number,
)
from nurt.control.source_records import known_epochs
from nurt.errors import ConfigurationError
from nurt.model.fence import FencingToken, pending_score
from nurt.model.log import Committed

DEPLOYMENT = Deployment(2, "fingerprint", ("eu",))
PLACES = ("00", "01", "r:eu")
T = ("topic", 0)
U = ("topic", 1)


class Cluster:
    """Plays a deployment's life: what the register, the commits and the heads hold."""

    def __init__(self) -> None:
        self.records: list[tuple[int, dict[str, Any]]] = []
        self.commits: dict[int, Committed] = {}  # by share
        self.heads: dict[str, FencingToken | None] = dict.fromkeys(PLACES)
        self.run = 0

    def append(self, record: dict[str, Any]) -> int:
        self.records.append((len(self.records), record))
        return len(self.records) - 1

    def decide(self, rebuild: bool = False) -> LaunchDecision:
        return decide(self.records, self.commits.values(), self.heads, rebuild)

    def begin(self, rebuild: bool = False) -> LaunchDecision:
        """Number a run and write down what it decided."""
        self.run = run_number(self.records, self.append({"kind": "start"}))
        decision = self.decide(rebuild)
        self.append(begin_record(self.run, 1, DEPLOYMENT, decision))
        return decision

    def start(self, rebuild: bool = False) -> LaunchDecision:
        """Begin a run, take the heads, and commit where it begins, as every share does."""
        decision = self.begin(rebuild)
        self.heads = dict.fromkeys(PLACES, FencingToken(self.run, 0, 0))
        self.commit(decision.offsets or {}, 0)
        return decision

    def commit(self, offsets: dict[tuple[str, int], int], epoch: int, share: int = 0) -> None:
        self.commits[share] = Committed(offsets, self.run, epoch)

    def work(self, until: int, at: int) -> None:
        """Do epochs up to one, and commit it with all heads above it."""
        self.heads = dict.fromkeys(PLACES, FencingToken(self.run, until + 1, until * 7))
        self.commit({T: at}, until)

    def checkpoint(self, epoch: int, at: int, part: int = 0, parts: int = 1) -> None:
        place = (T, U)[part]
        self.append(checkpoint_record(self.run, epoch, part, parts, {place: at}))


def test_the_first_start_reads_everything() -> None:
    decision = Cluster().begin()
    assert (decision.offsets, decision.rewound, decision.after) == (None, False, NEVER)


def test_a_clean_restart_goes_on_where_it_was_committed() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(40, 1_000)
    decision = cluster.start()
    assert (decision.offsets, decision.rewound, decision.after) == ({T: 1_000}, False, (1, 40))


def test_leader_epochs_go_with_the_offsets_to_commits_beginnings_and_checkpoints() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 301, 7))
    cluster.commits[0] = Committed({T: 50}, 1, 299, leaders={T: 4})
    cluster.append(checkpoint_record(1, 250, 0, 2, {T: 40}, {T: 3}))
    cluster.append(checkpoint_record(1, 250, 1, 2, {U: 8}, {U: 1}))
    assert cluster.begin().leaders == {T: 4}
    cluster.commits.clear()
    assert cluster.begin().leaders == {T: 4}, "the group's commits are gone"
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 260, 7))
    rewound = cluster.decide()
    assert (rewound.offsets, rewound.leaders) == ({T: 40, U: 8}, {T: 3, U: 1})
    for _, record in cluster.records:
        record.pop("leaders", None)  # as earlier versions wrote
    assert cluster.decide().leaders == {}


def test_a_run_that_did_nothing_hands_on_where_it_began() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(40, 1_000)
    for _ in range(3):
        decision = cluster.start()
        assert (decision.offsets, decision.rewound) == ({T: 1_000}, False)


def test_a_first_run_that_died_at_once_has_lost_nothing_and_says_so() -> None:
    cluster = Cluster()
    cluster.start()
    decision = cluster.start()
    assert (decision.offsets, decision.rewound) == ({}, False)


def test_a_crash_between_the_decision_and_the_claim_rewinds_nothing() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(40, 1_000)
    cluster.begin()  # and dies before it has claimed a head
    decision = cluster.start()
    assert (decision.offsets, decision.rewound) == ({T: 1_000}, False)


def test_what_a_zombie_commits_after_its_successor_began_is_not_believed() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(40, 1_000)
    cluster.start()
    cluster.commits = {0: Committed({T: 9_999}, 1, 77)}
    assert cluster.decide().offsets == {T: 1_000}


def test_shares_that_committed_different_epochs_are_all_believed_when_heads_are_above_the_last() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 51, 9))
    cluster.commit({T: 500}, 50)
    cluster.commit({U: 20}, 12, share=1)
    assert cluster.decide().offsets == {T: 500, U: 20}


@pytest.mark.parametrize("place", PLACES)
def test_one_head_that_does_not_vouch_for_the_commit_rewinds_all(place: str) -> None:
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(10, 100)
    cluster.work(40, 1_000)
    cluster.heads[place] = FencingToken(1, 40, 3)  # vouches for epochs before 40
    decision = cluster.decide()
    assert (decision.offsets, decision.rewound, decision.after) == ({T: 100}, True, (1, 10))


def test_older_state_rewinds_to_the_newest_checkpoint_that_it_has_done() -> None:
    cluster = Cluster()
    cluster.start()
    for epoch in (300, 600, 900):
        cluster.checkpoint(epoch, epoch * 10)
    cluster.work(1_000, 10_000)
    for head, offsets in (((1, 901), {T: 9_000}), ((1, 900), {T: 6_000}), ((1, 601), {T: 6_000}), ((1, 300), None)):
        cluster.heads = dict.fromkeys(PLACES, FencingToken(*head, 5))
        assert cluster.decide().offsets == offsets, head


def test_state_that_went_back_behind_a_run_rewinds_to_where_earlier_runs_stood() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(300, 3_000)
    cluster.work(400, 4_000)
    old = dict(cluster.heads)
    cluster.start()
    cluster.checkpoint(300, 7_000)
    cluster.work(500, 9_000)
    cluster.heads = old
    assert cluster.decide().offsets == {T: 4_000}, "(1, 401) has done all that run 2 began with"
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 400, 1))
    assert cluster.decide().offsets == {T: 3_000}


def test_a_crash_after_a_rewind_does_not_believe_what_the_rewind_made_void() -> None:
    """(run, epoch) is not monotone: a rewound run's head is larger than checkpoints that its state has not done."""
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(300, 3_000)
    cluster.checkpoint(600, 6_000)
    cluster.work(700, 7_000)
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 301, 1))
    assert cluster.start().offsets == {T: 3_000}
    cluster.heads = dict.fromkeys(PLACES, FencingToken(2, 5, 10))  # and dies while it catches up
    assert cluster.decide().offsets == {T: 3_000}
    cluster.commits = {}  # even when the commit at its begin is lost
    assert cluster.decide().offsets == {T: 3_000}


def test_state_saved_in_a_rewound_run_goes_back_to_its_own_past() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(300, 3_000)
    cluster.checkpoint(600, 6_000)
    cluster.work(700, 7_000)
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 301, 1))
    cluster.start()
    saved = dict.fromkeys(PLACES, FencingToken(2, 5, 10))
    cluster.checkpoint(300, 8_000)
    cluster.work(400, 8_500)
    cluster.heads = dict(saved)
    decision = cluster.start()
    assert (decision.offsets, decision.rewound) == ({T: 3_000}, True)
    cluster.heads = dict(saved)
    assert cluster.decide().offsets == {T: 3_000}, "the same when it is restored once more"


def test_a_checkpoint_counts_when_all_its_parts_are_there() -> None:
    cluster = Cluster()
    cluster.start()
    for part, at in ((0, 10), (1, 11)):
        cluster.checkpoint(300, at, part, 2)
    cluster.checkpoint(600, 20, 0, 2)  # the other worker died
    cluster.work(700, 30)
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 650, 1))
    assert cluster.decide().offsets == {T: 10, U: 11}


def test_parts_of_a_dead_runs_checkpoint_do_not_complete_one_of_its_successor() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(300, 10, 0, 2)
    cluster.start()
    cluster.records.append((99, checkpoint_record(1, 300, 1, 2, {U: 11})))  # a zombie's
    cluster.checkpoint(300, 40, 0, 2)
    cluster.work(400, 50)
    cluster.heads = dict.fromkeys(PLACES, FencingToken(2, 350, 1))
    assert cluster.decide().offsets in (None, {}), "no checkpoint is whole"


def test_a_new_realm_has_no_head_yet_and_rewinds_nothing() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(40, 1_000)
    cluster.heads["r:us"] = None
    decision = cluster.decide()
    assert (decision.offsets, decision.rewound) == ({T: 1_000}, False)


@pytest.mark.parametrize("lost", [PLACES, ("01",)])
def test_lost_heads_rebuild_from_the_beginning(lost: tuple[str, ...]) -> None:
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(10, 100)
    cluster.work(40, 1_000)
    cluster.heads |= dict.fromkeys(lost)
    decision = cluster.start()
    assert (decision.offsets, decision.rewound, decision.kept) == (None, True, ())
    cluster.heads = dict.fromkeys(PLACES, FencingToken(2, 3, 4))  # and dies on the way
    assert not cluster.decide().offsets, "what the checkpoints of old said is void"


def test_a_rebuild_that_was_asked_for_forgets_commits_and_checkpoints() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(10, 100)
    cluster.work(40, 1_000)
    assert cluster.start(rebuild=True).offsets is None
    cluster.commits = {0: Committed({T: 1_000}, 1, 40)}  # an old commit, should the one at the begin be lost
    decision = cluster.decide()
    assert (decision.offsets, decision.kept) == (None, ())


def test_crashes_at_start_do_not_push_checkpoints_out() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.checkpoint(300, 3_000)
    cluster.work(400, 4_000)
    for _ in range(3 * CHECKPOINTS_KEPT):
        cluster.start()
    cluster.heads = dict.fromkeys(PLACES, FencingToken(1, 350, 1))
    decision = cluster.decide()
    assert (decision.offsets, decision.horizon) == ({T: 3_000}, 0)


def test_nothing_is_forgotten_that_a_rewind_could_still_need() -> None:
    cluster = Cluster()
    cluster.start()
    for number in range(1, CHECKPOINTS_KEPT + 5):
        cluster.checkpoint(300 * number, 3_000 * number)
    cluster.work(300 * (CHECKPOINTS_KEPT + 5), 99_999)
    decision = cluster.decide()
    assert len(decision.kept) == CHECKPOINTS_KEPT
    oldest = decision.kept[0]
    assert decision.horizon == pending_score(*oldest)
    cluster.heads = dict.fromkeys(PLACES, FencingToken(oldest[0], oldest[1] + 1, 1))
    assert cluster.decide().offsets == {T: 10 * oldest[1]}, "the horizon can be rewound to"
    cluster.heads = dict.fromkeys(PLACES, FencingToken(*oldest, 1))
    assert cluster.decide().offsets is None, "what is older is rebuilt"


def test_runs_are_numbered_by_their_start_records_alone() -> None:
    cluster = Cluster()
    first, second = cluster.append({"kind": "start"}), cluster.append({"kind": "start"})
    cluster.append({"kind": "source_epoch", "topic": "t", "partition": 0, "offset": 9, "epoch": 1})
    assert (run_number(cluster.records, first), run_number(cluster.records, second)) == (1, 2)
    assert known_epochs(cluster.records).epoch_of("t", 0, np.array([8, 9])).tolist() == [0, 1]


def test_the_most_workers_of_any_run_are_remembered_to_be_fenced() -> None:
    decision = LaunchDecision(None, NEVER, False, (), 0, "")
    records = [(at, begin_record(at, workers, DEPLOYMENT, decision)) for at, workers in enumerate((1, 4, 2))]
    assert earlier_workers(records) == 4
    assert earlier_workers([]) == 0


@pytest.mark.parametrize("changed", [replace(DEPLOYMENT, shards=4), replace(DEPLOYMENT, secret="another")])
def test_state_of_another_secret_or_number_of_shards_is_refused(changed: Deployment) -> None:
    cluster = Cluster()
    cluster.start()
    check_deployment(cluster.records, DEPLOYMENT)
    with pytest.raises(ConfigurationError, match="is another"):
        check_deployment(cluster.records, changed)
    check_deployment([], changed)
