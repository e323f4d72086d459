"""Deliver whole profiles, figures and orders to an analytics store by batches; the store keeps the newest revisions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import random

from nurt.contracts.avro_columns import NotOfContract
from nurt.delivery.diff import is_old
from nurt.delivery.journal import JournalEntry, Message
from nurt.delivery.last_known import LastKnown
from nurt.delivery.ports import DeliveryMemory, TableSink
from nurt.delivery.read.bodies import NO_BODY
from nurt.delivery.retry import backoff_s
from nurt.delivery.run.context import refused_messages
from nurt.delivery.run.key_locks import Stopping
from nurt.delivery.run.sender import LOOK_S, NOT_UNDERSTOOD
from nurt.delivery.table_family import TableBatch, TableFamily
from nurt.model.delivery import CallFailure, CallResult, DesiredState, Lifecycle, Refusal
from nurt.model.units import Millis

TRIES_SHOWN = 3

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TableTarget:
    """Target in the store for one table family.

    Attributes:
        tables_of: decodes messages with bodies, and takes (erased id, its last delivered revision).
    """

    family: TableFamily
    sink: TableSink
    tables_of: Callable[[Sequence[Message], Sequence[tuple[str, int]]], TableBatch]


class TableDeliverer:
    """Deliverer of one worker thread to an analytics store.

    Args:
        targets: by the word of `of`.
        generation: of the last back-fill; what an earlier generation delivered is delivered again.
    """

    def __init__(
        self,
        targets: Mapping[str, TableTarget],
        store: DeliveryMemory,
        generation: int,
        *,
        stopping: Callable[[], bool] = lambda: False,
        fault: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._targets = targets
        self._store = store
        self._generation = generation
        self._stopping = stopping
        self._fault = fault
        self._reported_down = False

    def deliver(self, messages: Sequence[Message], bulk: bool = False) -> None:
        """Store the newest message of each subject. Raises Stopping, Fenced, or what the store raises."""
        if wrong := [one for one in messages if one.flaw]:
            self._store.write(refused_messages(self._store.destination, wrong))
        fresh, last_known = self.fresh(messages)
        entry = JournalEntry()
        entry.count("old_news", len(last_known) - len(fresh))
        self._store.write(entry)
        self._write_all(fresh, last_known)

    def fresh(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, LastKnown]]:
        """Keep each subject's newest message unless it was delivered; return the last known states of all subjects."""
        newest = {message.subject: message for message in messages if not message.flaw}
        last_known = self._store.load(list(newest))
        fresh = []
        for subject, message in newest.items():
            known = last_known[subject]
            desired = DesiredState(
                subject, message.revision, message.place, Lifecycle.ERASED if message.body is None else Lifecycle.LIVE
            )
            if message.body is None and is_old(known, desired):
                continue
            if known.place == message.place and known.generation == self._generation:
                continue
            fresh.append(message)
        return fresh, last_known

    def _write_all(self, messages: Sequence[Message], last_known: dict[str, LastKnown]) -> None:
        for of, target in self._targets.items():
            self._write(target, [one for one in messages if one.of == of], last_known)

    def _write(self, target: TableTarget, messages: Sequence[Message], last_known: dict[str, LastKnown]) -> None:
        """Write messages; messages that are refused together are halved until the bad one is found."""
        if not messages:
            return
        erased = [(one.subject, last_known[one.subject].revision) for one in messages if one.body is None]
        try:
            batch = target.tables_of([one for one in messages if one.body is not None], erased)
        except NotOfContract:
            if len(messages) > 1:
                self._write_halves(target, messages, last_known)
            else:
                wrong = [replace(one, flaw=NO_BODY) for one in messages]
                self._store.write(refused_messages(self._store.destination, wrong))
            return
        result = self._write_until_answered(target.sink, batch)
        if result.failure is CallFailure.REFUSED and len(messages) > 1:
            self._write_halves(target, messages, last_known)
            return
        self._fault("answered")
        revisions = dict(batch.nested.select("id", "revision").rows()) | dict(batch.erased)
        entry = JournalEntry()
        for one in messages:
            lifecycle = Lifecycle.ERASED if one.body is None else Lifecycle.LIVE
            known = LastKnown(revisions[one.subject], one.place, self._generation, lifecycle, of=one.of)
            entry.last_known[one.subject] = replace(
                known, revision=max(known.revision, last_known[one.subject].revision)
            )
        if result.failure is CallFailure.REFUSED:
            (one,) = messages
            at_ms, revision = Millis(int(time.time() * 1000)), revisions[one.subject]
            name, code, words = self._store.destination, result.code, result.words
            what, subject = target.family.one, one.subject
            refusal = Refusal(name, subject, what, "upsert", subject, revision, code, words, {}, at_ms)
            entry.refused.append(refusal)
            entry.kept[one.subject] = one
            entry.count("refused")
        else:
            if self._store.refusals(1):
                entry.resolved.update(f"{one.subject}:{target.family.one}" for one in messages)
                entry.kept.update(dict.fromkeys((one.subject for one in messages), None))
            entry.count("accepted", len(messages))
        self._store.write(entry)
        self._fault("answer noted")

    def _write_halves(self, target: TableTarget, messages: Sequence[Message], last_known: dict[str, LastKnown]) -> None:
        middle = len(messages) // 2
        self._write(target, messages[:middle], last_known)
        self._write(target, messages[middle:], last_known)

    def _write_until_answered(self, sink: TableSink, batch: TableBatch) -> CallResult:
        """Repeat the write until the store answers."""
        tries = 0
        while True:
            entry = JournalEntry()
            entry.count("calls")
            self._store.write(entry)
            result = self._answer(sink, batch)
            if result.failure in (None, CallFailure.REFUSED):
                if self._reported_down:
                    self._store.set_status(state="running")
                    self._reported_down = False
                return result
            if tries >= TRIES_SHOWN and not self._reported_down:
                self._reported_down = True
                self._store.set_status(state="waiting: the receiver does not answer")
                _logger.warning("delivering to %s: it does not answer (%s)", self._store.destination, result.code)
            self._store.set_status(last_error=result.code, last_error_at=int(time.time()))
            until_s = time.monotonic() + max(result.wait_s or 0.0, backoff_s(tries, random()))
            tries += 1
            while time.monotonic() < until_s:
                if self._stopping():
                    raise Stopping(f"delivering to {self._store.destination}: ended while it waited; start it again")
                time.sleep(min(LOOK_S, max(0.0, until_s - time.monotonic())))

    def _answer(self, sink: TableSink, batch: TableBatch) -> CallResult:
        """Write once; an answer outside the protocol counts as no answer, and does not end the run."""
        try:
            return sink.write(batch)
        except NOT_UNDERSTOOD as failed:
            name, kind = self._store.destination, type(failed).__name__
            _logger.warning("delivering to %s: its answer was not understood (%s)", name, kind)
            return CallResult(failure=CallFailure.DOWN, code="answer_not_understood")

    def retry_parked(self, rows_max: int = 500) -> int:
        """Write again what an operator retries, and remove what a sweep parked; nothing else is ever parked here."""
        self._store.check()
        due = {one.desired.subject: one.desired for one in self._store.due(rows_max)}
        if not due:
            return 0
        last_known = self._store.load(list(due))
        kept = self._store.kept([one for one, desired in due.items() if desired.lifecycle is Lifecycle.LIVE])
        swept = [
            one
            for one, desired in due.items()
            if desired.lifecycle is Lifecycle.SWEPT and desired.place == last_known[one].place
        ]
        messages = [*kept.values(), *(Message(one, last_known[one].place, None, None, due[one].of) for one in swept)]
        self._write_all(messages, last_known)
        self._store.write(JournalEntry(unparked={*due}))  # the others were delivered meanwhile, or are unknown now
        return len(due)

    def close(self) -> None:
        """Let go of the store's connections; never raises."""
        for target in self._targets.values():
            target.sink.close()
