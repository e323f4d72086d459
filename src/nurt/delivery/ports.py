"""What a delivery asks of a receiver, of an analytics store and of its memory; tests hold every adapter to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from nurt.delivery.journal import JournalEntry, MappedBatch, Message, Parked
from nurt.delivery.last_known import LastKnown
from nurt.delivery.rate_limit import Bucket
from nurt.delivery.table_family import TableBatch
from nurt.model.delivery import Call, CallResult, Limits, Refusal


class Destination(Protocol):
    """A receiver that takes rows and may refuse them. One value serves several threads at once."""

    limits: Limits
    bucket: str  # whose rate limits it shares, as a name without secrets

    def send(self, call: Call) -> CallResult:
        """Make one call. Trouble is a value; an exception is a mistake in nurt, or an answer that nobody agreed on.

        Repeating a call that was accepted changes nothing at the receiver, and is accepted again.
        """
        ...

    def obey(self, spend: Callable[[], None]) -> None:
        """Be told what each request beyond a call's first has to ask: it waits until the rates allow one more."""
        ...

    def refresh(self) -> None:
        """Forget tokens, and read secrets anew where they lie in files."""
        ...

    def verify(self) -> list[str]:
        """Compare the mapping with the receiver's own description of itself; returns what does not fit."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...


class TableSink(Protocol):
    """A family's place in an analytics store, which keeps the newest revision of every row."""

    def write(self, batch: TableBatch) -> CallResult:
        """Store a batch; an older revision never replaces a newer one, and a repeat changes nothing.

        No call failure: all of it is durable and visible. REFUSED: none of it is, and would not be the next time.
        """
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...


class DesiredStateReader(Protocol):
    """Says what published messages ask of one destination."""

    def read(self, messages: Sequence[Message]) -> MappedBatch:
        """Map messages; of one profile the last counts."""
        ...


class DeliveryMemory(Protocol):
    """What one destination's delivery remembers; every write is refused once a newer run delivers to it."""

    destination: str

    def check(self) -> None:
        """Raise Fenced when a newer run delivers to this destination."""
        ...

    def load(self, subjects: Sequence[str]) -> dict[str, LastKnown]:
        """Read records; an empty one for whom nothing is known."""
        ...

    def write(self, entry: JournalEntry) -> None:
        """Write a journal entry, all or none. Raises Fenced when a newer run delivers to this destination."""
        ...

    def owners(self, names: Sequence[str]) -> dict[str, str | None]:
        """Say which profile wrote a shared row last, by the row's name."""
        ...

    def parked_among(self, subjects: Iterable[str]) -> set[str]:
        """Say which of these are parked."""
        ...

    def claims(self, accounts: Sequence[str]) -> dict[str, set[str]]:
        """Say which profiles claim accounts; for a moment two may."""
        ...

    def children(self, accounts: Iterable[str]) -> set[str]:
        """Say which orders are listed under accounts."""
        ...

    def kept(self, subjects: Sequence[str]) -> dict[str, Message]:
        """Return the messages that were kept."""
        ...

    def due(self, rows_max: int) -> list[Parked]:
        """Return parked desired states whose time has come."""
        ...

    def parked(self, subjects: Sequence[str]) -> list[Parked]:
        """Return what of these is parked."""
        ...

    def refusals(self, rows_max: int | None = None) -> list[Refusal]:
        """Return what is in quarantine, the newest first."""
        ...

    def set_status(self, **status: str | int | float) -> None:
        """Set some of the status."""
        ...

    def take(self, bucket: str, buckets: Sequence[Bucket]) -> float:
        """Take a call out of all shared buckets; returns how long to wait instead, 0.0 when it was taken."""
        ...

    def pause(self, bucket: str, seconds: float) -> None:
        """Let nobody take from a bucket for a while."""
        ...
