"""Deliver wishes to a receiver: what was decided in core is done here, call by call.

`deliver` returns when every wish is settled: accepted, refused and in quarantine, or parked with its rows. Only then
may the offsets of its messages be committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from nurt.delivery.diff import Rules
from nurt.delivery.journal import Mapped, Message, Notes, Parked
from nurt.delivery.mapping import FAILED
from nurt.delivery.order_links import NOT_THERE
from nurt.delivery.ports import DeliveryMemory, Destination, WishReader
from nurt.delivery.run.batch import KIN, RETRY, Batch
from nurt.delivery.run.clock import Pace
from nurt.delivery.run.context import Means
from nurt.delivery.run.key_locks import Lanes
from nurt.delivery.run.sender import Flight
from nurt.model.delivery import PROFILES, Wish, Write

MAPPED_ANEW = (RETRY, KIN, NOT_THERE)
"""Parked wishes that are made of their message again, by the mapping of today, where it was kept."""


class Deliverer:
    """Delivers for one worker thread.

    Args:
        stopping: says whether the run was asked to end.
        fault: called with the name of each step that a crash may come after; for tests.
    """

    def __init__(
        self,
        destination: Destination,
        rules: Rules,
        store: DeliveryMemory,
        wishes: WishReader,
        *,
        lanes: Lanes | None = None,
        stopping: Callable[[], bool] = lambda: False,
        fault: Callable[[str], None] = lambda _step: None,
        pace: Pace | None = None,
    ) -> None:
        self._lanes = lanes or Lanes()
        self._stopping = stopping
        self._store = store
        self._wishes = wishes
        pace = pace or Pace()
        self._flight = Flight(destination, store, self._lanes, stopping, fault, pace)
        self._means = Means(store, rules, destination.limits, wishes, self._flight, pace, fault)

    def deliver(self, messages: Sequence[Message], bulk: bool = False) -> None:
        """Deliver what messages ask for, profiles first. Raises Stopping, Fenced, or what the store raises."""
        for some in _by_kind(messages):
            mapped = self._wishes.of(some)
            newest = {message.subject: message for message in some}
            self._note_unmapped(mapped, newest)
            self.deliver_wishes(mapped.wishes, bulk, newest)

    def retry_parked(self, rows_max: int = 500) -> int:
        """Try parked wishes whose time has come; returns how many there were."""
        self._store.check()
        due = [one.wish for one in self._store.due(rows_max)]
        # apart, for whoever holds orders must not wait for others (see _by_kind)
        return sum(
            self._retry({wish.subject for wish in due if (wish.of == PROFILES) is of_profiles})
            for of_profiles in (True, False)
        )

    def _retry(self, due: set[str]) -> int:
        mine = self._lanes.enter(due)
        try:
            parked = {one.wish.subject: one for one in self._store.parked(sorted(mine))}  # others may be settled by now
            if wishes := self._anew(parked):
                self._settle(wishes, False, {wish.subject: parked[wish.subject] for wish in wishes}, {}, mine)
            return len(parked)
        finally:
            self._lanes.leave(mine)

    def _anew(self, parked: Mapping[str, Parked]) -> list[Wish]:
        """Say what is asked for now; who cannot be mapped is refused again, who is not known any more is forgotten."""
        old = [subject for subject, one in parked.items() if one.code in MAPPED_ANEW]
        kept = self._store.kept(old)
        mapped = self._wishes.of(list(kept.values()))
        self._note_unmapped(mapped, kept)
        wishes = {wish.subject: wish for wish in mapped.wishes}
        lost = {subject for subject in old if subject not in wishes and parked[subject].code != NOT_THERE}
        self._store.write(Notes(unparked=lost))
        rest = [one.wish for subject, one in parked.items() if subject not in wishes and subject not in lost]
        return [*wishes.values(), *rest]

    def deliver_wishes(
        self, wishes: Sequence[Wish], bulk: bool = False, messages: Mapping[str, Message] | None = None
    ) -> None:
        """Deliver wishes, the newest of each subject."""
        mine = self._lanes.enter_all((wish.subject for wish in wishes), self._stopping)
        try:
            self._settle(wishes, bulk, {}, messages or {}, mine)
        finally:
            self._lanes.leave(mine)

    def _settle(
        self,
        wishes: Sequence[Wish],
        bulk: bool,
        again: Mapping[str, Parked],
        messages: Mapping[str, Message],
        mine: set[str],
    ) -> None:
        def enter(subjects: Iterable[str]) -> None:
            mine.update(self._lanes.enter_all({*subjects} - mine, self._stopping))

        Batch(self._means, wishes, bulk, again, messages, enter).settle()

    def plan(self, messages: Sequence[Message]) -> list[Write]:
        """Say what would be written, without writing anything: neither there nor here."""
        wishes = self._wishes.of(messages).wishes
        return Batch(self._means, wishes, False, {}, {}, lambda _subjects: None).plan()

    def _note_unmapped(self, mapped: Mapped, messages: Mapping[str, Message]) -> None:
        notes = Notes()
        for subject, revision, one in mapped.failed:
            code = f"{FAILED}: {', '.join(one.fields)}"
            notes.refused.append(self._means.refusal(subject, one.object, "map", revision, code, None))
            notes.count("refused")
            notes.kept[subject] = messages[subject]
        self._store.write(notes)

    def close(self) -> None:
        """Let go of threads; never raises."""
        self._flight.close()


def _by_kind(messages: Sequence[Message]) -> list[list[Message]]:
    """Part profiles from what belongs to them: whoever holds an order never waits for another one."""
    kinds = [[one for one in messages if (one.of == PROFILES) is of] for of in (True, False)]
    return [some for some in kinds if some]
