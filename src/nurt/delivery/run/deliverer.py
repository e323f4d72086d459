"""Deliver desired states to a receiver: this module does what `nurt.delivery` decides, call by call.

`deliver` returns when every desired state is settled: accepted, refused and in quarantine, or parked with its rows.
Only then may the offsets of its messages be committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from nurt.contracts.avro_columns import NotOfContract
from nurt.delivery.diff import DeliveryRules
from nurt.delivery.journal import JournalEntry, MappedBatch, Message, Parked
from nurt.delivery.mapping import FAILED
from nurt.delivery.order_links import PARENT_MISSING
from nurt.delivery.ports import DeliveryMemory, DesiredStateReader, Destination
from nurt.delivery.read.bodies import NO_BODY
from nurt.delivery.run.batch import PROFILE_CHANGED, RETRY, DeliveryBatch
from nurt.delivery.run.clock import DeliveryClock
from nurt.delivery.run.context import DeliveryContext, refused_messages
from nurt.delivery.run.key_locks import KeyLocks
from nurt.delivery.run.sender import Sender
from nurt.model.delivery import PROFILES, DesiredState, Write

MAPPED_AGAIN = (RETRY, PROFILE_CHANGED, PARENT_MISSING)
"""Reasons of parked desired states that are mapped again, with today's mapping, where their message was kept."""


class Deliverer:
    """Deliverer of one worker thread.

    Args:
        stopping: says whether the run was asked to end.
        fault: called with the name of each step after which a crash may come; for tests.
    """

    def __init__(
        self,
        destination: Destination,
        rules: DeliveryRules,
        store: DeliveryMemory,
        state_reader: DesiredStateReader,
        *,
        key_locks: KeyLocks | None = None,
        stopping: Callable[[], bool] = lambda: False,
        fault: Callable[[str], None] = lambda _step: None,
        clock: DeliveryClock | None = None,
    ) -> None:
        self._key_locks = key_locks or KeyLocks()
        self._stopping = stopping
        self._store = store
        self._state_reader = state_reader
        clock = clock or DeliveryClock()
        self._sender = Sender(destination, store, self._key_locks, stopping, fault, clock)
        self._context = DeliveryContext(store, rules, destination.limits, state_reader, self._sender, clock, fault)

    def deliver(self, messages: Sequence[Message], bulk: bool = False) -> None:
        """Deliver what messages ask for, profiles first. Raises Stopping, Fenced, or what the store raises."""
        for some in _by_kind(self._refuse_foreign(messages)):
            mapped = self._read(some)
            newest = {message.subject: message for message in some}
            self._refuse_unmapped(mapped, newest)
            self.deliver_states(mapped.desired_states, bulk, newest)

    def _refuse_foreign(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Put what nurt did not write into quarantine; return the others."""
        if wrong := [one for one in messages if one.flaw]:
            self._store.write(refused_messages(self._store.destination, wrong))
        return [one for one in messages if not one.flaw] if wrong else messages

    def _read(self, messages: Sequence[Message]) -> MappedBatch:
        """Map messages; a batch that cannot be read is halved until the bad message is found, which is refused."""
        try:
            return self._state_reader.read(messages)
        except NotOfContract:
            if len(messages) == 1:
                self._refuse_foreign([replace(one, flaw=NO_BODY) for one in messages])
                return MappedBatch([], [])
        middle = len(messages) // 2
        first, second = self._read(messages[:middle]), self._read(messages[middle:])
        return MappedBatch([*first.desired_states, *second.desired_states], [*first.failed, *second.failed])

    def retry_parked(self, rows_max: int = 500) -> int:
        """Try parked desired states that are due; return how many there were."""
        self._store.check()
        due = [one.desired for one in self._store.due(rows_max)]
        # apart: a worker that has locked orders must not wait for other subjects (see _by_kind)
        return sum(
            self._retry({desired.subject for desired in due if (desired.of == PROFILES) is of_profiles})
            for of_profiles in (True, False)
        )

    def _retry(self, due: set[str]) -> int:
        mine = self._key_locks.enter(due)
        try:
            parked = {
                one.desired.subject: one for one in self._store.parked(sorted(mine))
            }  # other workers may have settled some by now
            if desired_states := self._map_again(parked):
                self._settle(
                    desired_states,
                    False,
                    {desired.subject: parked[desired.subject] for desired in desired_states},
                    {},
                    mine,
                )
            return len(parked)
        finally:
            self._key_locks.leave(mine)

    def _map_again(self, parked: Mapping[str, Parked]) -> list[DesiredState]:
        """Map kept messages again; what cannot be mapped is refused again, an unknown subject is forgotten."""
        old = [subject for subject, one in parked.items() if one.code in MAPPED_AGAIN]
        kept = self._store.kept(old)
        mapped = self._read(list(kept.values()))
        self._refuse_unmapped(mapped, kept)
        desired_states = {desired.subject: desired for desired in mapped.desired_states}
        lost = {subject for subject in old if subject not in desired_states and parked[subject].code != PARENT_MISSING}
        self._store.write(JournalEntry(unparked=lost))
        rest = [one.desired for subject, one in parked.items() if subject not in desired_states and subject not in lost]
        return [*desired_states.values(), *rest]

    def deliver_states(
        self, desired_states: Sequence[DesiredState], bulk: bool = False, messages: Mapping[str, Message] | None = None
    ) -> None:
        """Deliver desired states, the newest of each subject."""
        mine = self._key_locks.enter_all((desired.subject for desired in desired_states), self._stopping)
        try:
            self._settle(desired_states, bulk, {}, messages or {}, mine)
        finally:
            self._key_locks.leave(mine)

    def _settle(
        self,
        desired_states: Sequence[DesiredState],
        bulk: bool,
        parked: Mapping[str, Parked],
        messages: Mapping[str, Message],
        mine: set[str],
    ) -> None:
        def enter(subjects: Iterable[str]) -> None:
            mine.update(self._key_locks.enter_all({*subjects} - mine, self._stopping))

        DeliveryBatch(self._context, desired_states, bulk, parked, messages, enter).settle()

    def plan(self, messages: Sequence[Message]) -> list[Write]:
        """Say what would be written, without writing anything: neither there nor here."""
        desired_states = self._state_reader.read([one for one in messages if not one.flaw]).desired_states
        return DeliveryBatch(self._context, desired_states, False, {}, {}, lambda _subjects: None).plan()

    def _refuse_unmapped(self, mapped: MappedBatch, messages: Mapping[str, Message]) -> None:
        entry = JournalEntry()
        for subject, revision, one in mapped.failed:
            code = f"{FAILED}: {', '.join(one.fields)}"
            entry.refused.append(self._context.refusal(subject, one.object, "map", revision, code, None))
            entry.count("refused")
            entry.kept[subject] = messages[subject]
        self._store.write(entry)

    def close(self) -> None:
        """Let go of threads; never raises."""
        self._sender.close()


def _by_kind(messages: Sequence[Message]) -> list[list[Message]]:
    """Split profiles from their orders: a worker that has locked an order never waits for another subject."""
    kinds = [[one for one in messages if (one.of == PROFILES) is of] for of in (True, False)]
    return [some for some in kinds if some]
