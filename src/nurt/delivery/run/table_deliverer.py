"""Deliver whole profiles, figures and orders to an analytics store, batch by batch; it keeps the newest revisions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import random

from nurt.delivery.diff import is_old
from nurt.delivery.journal import Message, Notes
from nurt.delivery.last_known import Record
from nurt.delivery.ports import DeliveryMemory, TableSink
from nurt.delivery.retry import backoff_s
from nurt.delivery.run.key_locks import Stopping
from nurt.delivery.run.sender import LOOK_S
from nurt.delivery.table_family import Family, TableBatch
from nurt.model.delivery import Answer, Life, Refusal, Trouble, Wish
from nurt.model.units import Millis

TRIES_SHOWN = 3

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One family's place in the store.

    Attributes:
        tables_of: decodes messages with bodies, and takes who was erased with the last revision told.
    """

    family: Family
    sink: TableSink
    tables_of: Callable[[Sequence[Message], Sequence[tuple[str, int]]], TableBatch]


class TableDeliverer:
    """Delivers for one worker thread.

    Args:
        shelves: by the word of `of`.
        generation: of the last back-fill; what an earlier one was told is told again.
    """

    def __init__(
        self,
        shelves: Mapping[str, Shelf],
        store: DeliveryMemory,
        generation: int,
        *,
        stopping: Callable[[], bool] = lambda: False,
        fault: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._shelves = shelves
        self._store = store
        self._generation = generation
        self._stopping = stopping
        self._fault = fault
        self._told_down = False

    def deliver(self, messages: Sequence[Message], bulk: bool = False) -> None:
        """Store the newest message of each subject. Raises Stopping, Fenced, or what the store raises."""
        fresh, records = self.fresh(messages)
        notes = Notes()
        notes.count("old_news", len(records) - len(fresh))
        self._store.write(notes)
        self._write_all(fresh, records)

    def fresh(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, Record]]:
        """Keep of each subject the newest message, where it was not told; and say what is noted of all of them."""
        newest = {message.subject: message for message in messages}
        records = self._store.load(list(newest))
        fresh = []
        for subject, message in newest.items():
            record = records[subject]
            wish = Wish(subject, message.revision, message.place, Life.ERASED if message.body is None else Life.LIVE)
            if message.body is None and is_old(record, wish):
                continue
            if record.place == message.place and record.generation == self._generation:
                continue
            fresh.append(message)
        return fresh, records

    def _write_all(self, messages: Sequence[Message], records: dict[str, Record]) -> None:
        for of, shelf in self._shelves.items():
            self._write(shelf, [one for one in messages if one.of == of], records)

    def _write(self, shelf: Shelf, messages: Sequence[Message], records: dict[str, Record]) -> None:
        """Write messages; those that are refused together are halved until the guilty one is found."""
        if not messages:
            return
        gone = [(one.subject, records[one.subject].revision) for one in messages if one.body is None]
        batch = shelf.tables_of([one for one in messages if one.body is not None], gone)
        answer = self._answered(shelf.sink, batch)
        if answer.trouble is Trouble.REFUSED and len(messages) > 1:
            middle = len(messages) // 2
            self._write(shelf, messages[:middle], records)
            self._write(shelf, messages[middle:], records)
            return
        self._fault("answered")
        revisions = dict(batch.nested.select("id", "revision").rows()) | dict(batch.erased)
        notes = Notes()
        for one in messages:
            life = Life.ERASED if one.body is None else Life.LIVE
            record = Record(revisions[one.subject], one.place, self._generation, life, of=one.of)
            notes.records[one.subject] = replace(record, revision=max(record.revision, records[one.subject].revision))
        if answer.trouble is Trouble.REFUSED:
            (one,) = messages
            at_ms, revision = Millis(int(time.time() * 1000)), revisions[one.subject]
            name, code, words = self._store.destination, answer.code, answer.words
            what, who = shelf.family.one, one.subject
            refusal = Refusal(name, who, what, "upsert", who, revision, code, words, {}, at_ms)
            notes.refused.append(refusal)
            notes.kept[one.subject] = one
            notes.count("refused")
        else:
            if self._store.refusals(1):
                notes.cured.update(f"{one.subject}:{shelf.family.one}" for one in messages)
                notes.kept.update(dict.fromkeys((one.subject for one in messages), None))
            notes.count("accepted", len(messages))
        self._store.write(notes)
        self._fault("answer noted")

    def _answered(self, sink: TableSink, batch: TableBatch) -> Answer:
        """Ask until the store answers."""
        tries = 0
        while True:
            notes = Notes()
            notes.count("calls")
            self._store.write(notes)
            answer = sink.write(batch)
            if answer.trouble in (None, Trouble.REFUSED):
                if self._told_down:
                    self._store.tell(state="running")
                    self._told_down = False
                return answer
            if tries >= TRIES_SHOWN and not self._told_down:
                self._told_down = True
                self._store.tell(state="waiting: the receiver does not answer")
                _logger.warning("delivering to %s: it does not answer (%s)", self._store.destination, answer.code)
            self._store.tell(last_error=answer.code, last_error_at=int(time.time()))
            until_s = time.monotonic() + max(answer.wait_s or 0.0, backoff_s(tries, random()))
            tries += 1
            while time.monotonic() < until_s:
                if self._stopping():
                    raise Stopping(f"delivering to {self._store.destination}: ended while it waited; start it again")
                time.sleep(min(LOOK_S, max(0.0, until_s - time.monotonic())))

    def retry_parked(self, rows_max: int = 500) -> int:
        """Write again what was asked for anew, and take away what is to be swept; nothing else is ever set aside."""
        self._store.check()
        due = {one.wish.subject: one.wish for one in self._store.due(rows_max)}
        if not due:
            return 0
        records = self._store.load(list(due))
        kept = self._store.kept([one for one, wish in due.items() if wish.life is Life.LIVE])
        swept = [one for one, wish in due.items() if wish.life is Life.SWEPT and wish.place == records[one].place]
        messages = [*kept.values(), *(Message(one, records[one].place, None, None, due[one].of) for one in swept)]
        self._write_all(messages, records)
        self._store.write(Notes(unparked={*due}))  # the others were told meanwhile, or are not known any more
        return len(due)

    def close(self) -> None:
        """Let go of the store's connections; never raises."""
        for shelf in self._shelves.values():
            shelf.sink.close()
