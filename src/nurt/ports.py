"""What the product asks of the outside world. Adapters implement these; contract suites run over every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from nurt.columnar.types import KeyRows
from nurt.columnar.values import Values
from nurt.delivery.journal import Mapped, Message, Notes, Parked
from nurt.delivery.last_known import Record
from nurt.delivery.rate_limit import Bucket
from nurt.delivery.table_family import TableBatch
from nurt.model.delivery import Answer, Call, Limits, Refusal
from nurt.model.log import Committed, Offsets
from nurt.model.published import PublishedBatch
from nurt.model.raw import RawBatch
from nurt.model.state_write import Change
from nurt.model.stock_published import StockBatch
from nurt.model.units import Day, Millis


class SchemaRegistry(Protocol):
    """Writer schemas by id, and a place to register what we publish."""

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """Return the parsed Avro schema with this id, or None when the registry says that there is none.

        `archive` names the archive that the id was met in, for ids of two archives may mean two things.
        Retries with back-off while the registry is down, and says so; known ids are cached for ever.
        """
        ...

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Return the id of `schema` under `subject`, registering it when new.

        Raises ConfigurationError when the registry finds it incompatible.
        """
        ...


class MessageLog(Protocol):
    """One worker's share of the input: some partitions of some topics (Kafka), or files (an archive)."""

    def committed(self) -> Committed | None:
        """Return what was last committed for this share, or None for a first start."""
        ...

    def start(self, offsets: Offsets | None) -> None:
        """Begin to read at `offsets`; partitions that it does not name begin at their earliest message.

        None: everything from the earliest. Raises OffsetLost when an offset is no longer there.
        """
        ...

    def poll(self, rows_max: int) -> list[RawBatch]:
        """Return what is there now, one batch a topic, at most `rows_max` messages in all; [] when there is nothing."""
        ...

    def offsets(self) -> Offsets:
        """Return the next offset of every partition of this share, as of the last poll."""
        ...

    def exhausted(self) -> bool:
        """Say whether all input has been polled and none can come (an archive, or a log asked to stop at its end)."""
        ...

    def commit(self, committed: Committed) -> None:
        """Record that everything before these offsets is done; the caller has made sure of it."""
        ...

    def lag(self) -> int:
        """Return how many messages are known to wait behind the last poll."""
        ...

    def close(self) -> None:
        """Let go of connections and files; never raises."""
        ...


class Register(Protocol):
    """An append-only list of small JSON records that all workers share: runs, checkpoints, source epochs."""

    def append(self, record: Mapping[str, Any]) -> int:
        """Store one record durably; return its number, larger than every earlier one."""
        ...

    def records(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return every record with its number, oldest first."""
        ...


class ProfileSink(Protocol):
    """Takes published profiles; absorbs repeats and late-comers by revision."""

    def write(self, batch: PublishedBatch) -> None:
        """Store the batch durably before returning; an id's older revision never replaces a newer one."""
        ...

    def close(self) -> None:
        """Let go of connections and files; never raises."""
        ...


class Destination(Protocol):
    """A receiver that takes rows and may refuse them. One value serves several threads at once."""

    limits: Limits
    bucket: str  # whose rate limits it shares, as a name without secrets

    def send(self, call: Call) -> Answer:
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

    def write(self, batch: TableBatch) -> Answer:
        """Store a batch; an older revision never replaces a newer one, and a repeat changes nothing.

        No trouble: all of it is durable and visible. REFUSED: none of it is, and would not be the next time.
        """
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...


class WishReader(Protocol):
    """Says what published messages ask of one destination."""

    def of(self, messages: Sequence[Message]) -> Mapped:
        """Map messages; of one profile the last counts."""
        ...


class DeliveryMemory(Protocol):
    """What one destination's delivery remembers; every write is refused once a newer run delivers to it."""

    destination: str

    def check(self) -> None:
        """Raise Fenced when a newer run delivers to this destination."""
        ...

    def load(self, subjects: Sequence[str]) -> dict[str, Record]:
        """Read records; an empty one for whom nothing is known."""
        ...

    def write(self, notes: Notes) -> None:
        """Write notes, all or none. Raises Fenced when a newer run delivers to this destination."""
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
        """Return parked wishes whose time has come."""
        ...

    def parked(self, subjects: Sequence[str]) -> list[Parked]:
        """Return what of these is parked."""
        ...

    def refusals(self, rows_max: int | None = None) -> list[Refusal]:
        """Return what is in quarantine, the newest first."""
        ...

    def tell(self, **status: str | int | float) -> None:
        """Set some of the status."""
        ...

    def take(self, bucket: str, buckets: Sequence[Bucket]) -> float:
        """Take a call out of all shared buckets; returns how long to wait instead, 0.0 when it was taken."""
        ...

    def pause(self, bucket: str, seconds: float) -> None:
        """Let nobody take from a bucket for a while."""
        ...


class StockSink(Protocol):
    """Takes what is published of stock; absorbs repeats by revision and events by their id."""

    def write(self, batch: StockBatch) -> None:
        """Store the batch durably before returning."""
        ...

    def close(self) -> None:
        """Let go of connections and files; never raises."""
        ...


class DayClock(Protocol):
    """The calendar, as a value that a test can choose: what the flow of profiles calls now."""

    def today(self) -> Day:
        """Return the current day in UTC."""
        ...


class MomentClock(Protocol):
    """The time of day, as a value that a test can choose: what the flow of stock calls now."""

    def now(self) -> Millis:
        """Return the current moment."""
        ...


class Store(Protocol):
    """Keyed state, as one worker sees it: many keys at once, and writes that only the owner of the heads can make.

    Every write carries the new heads of all the worker's places and is refused when a head is not what this
    owner wrote last: a second cluster took over, or the store came back older.
    """

    run: int
    places: Sequence[bytes]

    def next_stamp(self) -> int:
        """Return run << 40 | sequence of the next write; larger than that of every write before."""
        ...

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in order; one round trip.

        Raises Fenced when a head is not what this owner wrote last.
        """
        ...

    def load(self, keys: Sequence[KeyRows]) -> list[Values]:
        """Return the values of blocks of keys, by block; one round trip: `read` for the hot path."""
        ...

    def write(self, change: Change) -> None:
        """Apply a change atomically with new heads; it may be on its way still when this returns.

        Every later call of this store sees it. A write that is refused changes nothing, and that call, or already
        this one, raises Fenced: a head was not what this owner wrote last.
        """
        ...

    def settle(self) -> None:
        """Wait until what was written is done: before anything that depends on it leaves this worker.

        Raises Fenced when it was refused.
        """
        ...

    def lift(self, epoch: int, horizon: int) -> None:
        """Raise all heads to `epoch`, and forget what is owed with a score below `horizon`.

        A head (run, epoch) vouches for all epochs before it.
        """
        ...

    def owed(self) -> dict[bytes, list[bytes]]:
        """Return what is owed, by place of this worker."""
        ...

    def due(self, by: Day | Millis, rows_max: int) -> list[bytes]:
        """Return what the clock changes by now in this worker's places, in the unit in which it was noted."""
        ...

    def floors(self) -> dict[bytes, bytes]:
        """Return table -> encoded truncate floor, over this worker's shards."""
        ...

    def counted(self) -> dict[bytes, dict[str, int]]:
        """Return, by place of this worker, what is counted of -> highest counted offset."""
        ...

    def scan(self, kind: bytes, place: bytes | None = None) -> Iterator[list[bytes]]:
        """Yield the ids under which this worker's places, or one of them, hold keys of one kind, some at a time."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...
