"""Law: whatever databases and connectors went through, profiles equal those of the final rows alone.

Histories are messages of genuine form here, so that decoding, source epochs and positions are a part of the law. `make
histories` plays a thousand of them.
"""

from __future__ import annotations

import os

import pytest

from nurt.control import source_epochs
from nurt.control.source_epochs import SourceEpochs
from nurt.control.source_watch import SourceWatch
from nurt.simulate.connector.messages import batches_of
from nurt.simulate.connector.schemas import SchemaBook
from nurt.testing.histories.history import arrivals, messages
from nurt.testing.histories.random import Wildness, random_history
from tests.hypothesis_profiles import examples
from tests.oracle.wire import Operated, Written, batch_messages, compared, published

HISTORIES = int(os.environ.get("NURT_HISTORIES", "100"))
A_TEST = 20
"""Seeds of one test: many are slow to name, and one failure should name a few."""


@pytest.mark.parametrize("first", range(0, examples(HISTORIES), A_TEST))
def test_messages_of_a_history_give_what_its_final_rows_give(first: int) -> None:
    for seed in range(first, first + min(A_TEST, examples(HISTORIES))):
        history, of_stream, of_batch = random_history(seed, 40), SchemaBook(), SchemaBook()
        sent = arrivals(messages(history, of_stream, partitions=3), seed)
        stream = published(batches_of(sent, 1 + seed % 90), of_stream, seed, 1 + seed % 3)
        batch = published(batches_of(batch_messages(history, of_batch)), of_batch)
        assert not compared(batch, stream), f"seed {seed}"


SERVERS = ((101,), (101, 102, 103))
WILD = Wildness(moves=True)


def moved(seed: int) -> tuple[list[str], int, int]:
    """Play a history with moves; return what differs, how often the operator was asked, and how often it moved."""
    history, of_stream, of_batch = random_history(seed, 60, WILD), SchemaBook(), SchemaBook()
    sent = messages(history, of_stream, partitions=3, servers=SERVERS[seed % 2])
    deployment = Operated(of_stream, seed, 1 + seed % 3)
    stream = deployment.published(batches_of(arrivals(sent, seed), 1 + seed % 90))
    batch = published(batches_of(batch_messages(history, of_batch)), of_batch)
    moves = sum(step.kind in ("move", "fail_over") for step in history.steps)
    return compared(batch, stream), deployment.stops, moves


@pytest.mark.parametrize("first", range(0, examples(HISTORIES), A_TEST))
def test_moves_to_other_servers_give_what_final_rows_give_and_ask_once_at_most(first: int) -> None:
    for seed in range(first, first + min(A_TEST, examples(HISTORIES))):
        wrong, stops, moves = moved(seed)
        assert not wrong, f"seed {seed}"
        assert stops <= moves, f"seed {seed}"


@pytest.mark.parametrize("first", range(0, examples(HISTORIES), A_TEST))
def test_what_is_harmless_asks_nobody(first: int) -> None:
    for seed in range(first, first + min(A_TEST, examples(HISTORIES))):
        book = SchemaBook()
        sent = arrivals(messages(random_history(seed, 40), book, partitions=3, servers=(101, 102)), seed)
        deployment = Operated(book, seed, 1)
        deployment.published(batches_of(sent, 1 + seed % 90))
        assert not deployment.stops, f"seed {seed}"


def _nothing(*_: object) -> None:
    return None


SEEDS = (123, *range(100))
"""Histories to miss a rule in; the first one has a snapshot behind another."""

RULES_OFF = {
    "a snapshot has an identity": (source_epochs, "_identity"),
    "a snapshot is known to partitions that it wrote nothing to": (SourceWatch, "restart"),
    "a row behind the highest is evidence": (SourceWatch, "_evidence"),
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES_OFF)
def test_a_rule_that_is_switched_off_is_missed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*RULES_OFF[rule], _nothing)
    missed = (wrong or stops > moves for wrong, stops, moves in map(moved, SEEDS))
    assert any(missed)


@pytest.mark.slow
def test_truncates_that_know_positions_alone_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Written, "offsets_at", lambda *_: ())
    assert any(wrong for wrong, _, _ in map(moved, range(100)))


@pytest.mark.slow
def test_heights_that_a_restart_forgets_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SourceEpochs, "heights", lambda _: {})
    assert any(wrong or stops > moves for wrong, stops, moves in map(moved, range(100)))
