"""What a delivery asks of a receiver, of an analytics store and of its memory; tests check it for every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from nurt.delivery.journal import JournalEntry, MappedBatch, Message, Parked
from nurt.delivery.last_known import LastKnown
from nurt.delivery.rate_limit import Bucket
from nurt.delivery.table_family import TableBatch
from nurt.model.delivery import Call, CallResult, Limits, Refusal


class Destination(Protocol):
    """Receiver that takes rows and may refuse them. One value serves several threads at once."""

    limits: Limits
    bucket: str  # name of the rate limits that it shares, without secrets

    def send(self, call: Call) -> CallResult:
        """Make one call. A call failure is a value; an exception is a mistake in nurt or a breach of protocol.

        Repeating a call that was accepted changes nothing at the receiver, and is accepted again.
        """
        ...

    def obey(self, spend: Callable[[], None]) -> None:
        """Take a function that waits until the rates allow one more request; later requests of a call call it."""
        ...

    def refresh(self) -> None:
        """Forget tokens, and read secrets again where these are in files."""
        ...

    def verify(self) -> list[str]:
        """Compare the mapping with the receiver's description of its own objects; return what does not fit."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...


class TableSink(Protocol):
    """Place of a table family in an analytics store; it keeps the newest revision of every row."""

    def write(self, batch: TableBatch) -> CallResult:
        """Store a batch; an older revision never replaces a newer one, and a repeat changes nothing.

        No call failure: the whole batch is durable and visible. REFUSED: nothing is, and the next try would fail too.
        """
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...


class DesiredStateReader(Protocol):
    """Reader of published messages as desired states at one destination."""

    def read(self, messages: Sequence[Message]) -> MappedBatch:
        """Map messages; of one profile the last message counts."""
        ...


class DeliveryMemory(Protocol):
    """Memory of one destination's delivery; every write is refused once a newer run delivers there."""

    destination: str

    def check(self) -> None:
        """Raise Fenced when a newer run delivers to this destination."""
        ...

    def load(self, subjects: Sequence[str]) -> dict[str, LastKnown]:
        """Read last known states; an empty one where nothing is known."""
        ...

    def write(self, entry: JournalEntry) -> None:
        """Write a journal entry, all or none. Raises Fenced when a newer run delivers to this destination."""
        ...

    def owners(self, names: Sequence[str]) -> dict[str, str | None]:
        """Return the profile that wrote a shared row last, by the row's name."""
        ...

    def parked_among(self, subjects: Iterable[str]) -> set[str]:
        """Return which of these subjects are parked."""
        ...

    def claims(self, accounts: Sequence[str]) -> dict[str, set[str]]:
        """Return the profiles that claim accounts; for a moment two profiles may claim one."""
        ...

    def children(self, accounts: Iterable[str]) -> set[str]:
        """Return the orders that are listed under accounts."""
        ...

    def kept(self, subjects: Sequence[str]) -> dict[str, Message]:
        """Return the messages that were kept."""
        ...

    def due(self, rows_max: int) -> list[Parked]:
        """Return parked desired states that are due."""
        ...

    def parked(self, subjects: Sequence[str]) -> list[Parked]:
        """Return the parked desired states of these subjects."""
        ...

    def refusals(self, rows_max: int | None = None) -> list[Refusal]:
        """Return refusals in quarantine, the newest first."""
        ...

    def set_status(self, **status: str | int | float) -> None:
        """Set some values of the status."""
        ...

    def take(self, bucket: str, buckets: Sequence[Bucket]) -> float:
        """Take a call out of all shared buckets; return 0.0 when it was taken, else how long to wait."""
        ...

    def pause(self, bucket: str, seconds: float) -> None:
        """Close a bucket for a while: no worker can take from it."""
        ...
