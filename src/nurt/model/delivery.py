"""Types of deliveries: desired rows at a receiver, writes, calls, and their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from nurt.model.units import Millis

Value = str | int | float | bool | Decimal | date | datetime | None
Fields = dict[str, Value]


PROFILES = "profiles"
"""Default input of a destination."""

LINK_SIGN = "\x1f"
"""Separator in a link's own key, between the keys of the two linked rows."""


class Lifecycle(StrEnum):
    """State of a profile, as a message gives it."""

    LIVE = "live"
    REDIRECT = "redirect"  # merged into a survivor
    ERASED = "erased"
    SWEPT = "swept"  # no message named the profile in the last back-fill, and an operator allowed its removal


class Op(StrEnum):
    """Operation on one row at a receiver."""

    UPSERT = "upsert"
    LINK = "link"  # join two objects of one profile
    DELETE = "delete"  # the receiver's ordinary delete, which may be undone
    MERGE = "merge"  # the receiver's own merge of one row into another
    ERASE = "erase"  # the receiver's privacy call; final


@dataclass(frozen=True, slots=True)
class Row:
    """Desired state of one object of a profile at the receiver, under an external id."""

    object: str
    key: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Desired state from one message: the rows of a live profile, or an archive, merge or erasure.

    Attributes:
        revision: None where a tombstone carries none.
        place: (partition, offset) of the message.
        subject: the profile's id, 32 hex digits; or an order's id, or an id made of the key of a stock figure.
        rows: of a redirect: desired values of archived rows.
        accounts: of a profile its accounts, of an order its account; only where orders name profiles.
    """

    subject: str
    revision: int | None
    place: tuple[int, int]
    lifecycle: Lifecycle
    rows: tuple[Row, ...] = ()
    survivor: str | None = None
    of: str = PROFILES
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ref:
    """Reference from a write to another row of the receiver."""

    object: str
    key: str
    receiver_id: str | None


@dataclass(frozen=True, slots=True)
class Write:
    """Write of one row to the receiver.

    Attributes:
        whole: `fields` has all fields of the row, not only changed ones.
        is_new: nothing was sent before under this key.
        believed: the receiver is believed to hold the row; the write may change it, and must not make it.
        refs: of a link its two ends; of a merge the surviving row; else the rows in `parents` of the object.
    """

    subject: str
    revision: int
    object: str
    op: Op
    key: str
    fields: Fields = field(default_factory=dict)
    receiver_id: str | None = None
    whole: bool = True
    is_new: bool = False
    refs: tuple[Ref, ...] = ()
    believed: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """Writes of one object and kind in one call to the receiver; no key twice."""

    object: str
    op: Op
    writes: tuple[Write, ...]
    bulk: bool = False

    @property
    def believed(self) -> bool:
        """Say whether all its rows are believed to be at the receiver: the call must make none."""
        return self.op is Op.UPSERT and all(write.believed for write in self.writes)


class RowOutcome(StrEnum):
    """Outcome of one row at the receiver."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # permanent: the same row would be refused again
    CONFLICT = "conflict"  # another row is in the way, and may soon be removed
    TRANSIENT = "transient"
    GONE = "gone"  # a row that was believed to be there is not: deleted, merged or archived by others; nothing was made


@dataclass(frozen=True, slots=True)
class RowResult:
    """Result of one row. `words` are the receiver's own and may be personal: they go to quarantine only.

    Attributes:
        made: the receiver says that this write made the row.
    """

    outcome: RowOutcome
    code: str = ""
    words: str = ""
    receiver_id: str | None = None
    made: bool = False


ACCEPTED = RowResult(RowOutcome.ACCEPTED)


class CallFailure(StrEnum):
    """Reason why a whole call gave no row results."""

    DOWN = "down"  # no answer, a broken one, or 5xx
    THROTTLED = "throttled"
    UNAUTHORISED = "unauthorised"
    REFUSED = "refused"  # the batch, without the name of a row


@dataclass(frozen=True, slots=True)
class CallResult:
    """Result of a call: one row result for each write, in order; or a call failure.

    Attributes:
        wait_s: how long the receiver asked to get no calls; with results or a failure.
    """

    row_results: tuple[RowResult, ...] = ()
    failure: CallFailure | None = None
    code: str = ""
    words: str = ""
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limit of at most `calls` in any `seconds`."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a receiver: rows at once, and calls in time."""

    rows_max: int
    bytes_max: int = 4_000_000
    bulk_rows_max: int | None = None  # not None: the receiver has a bulk interface
    bulk_from: int = 200  # fewer rows go through the ordinary interface
    concurrency: int = 4
    rates: tuple[RateLimit, ...] = ()
    whole_rows: bool = False  # the receiver takes whole rows, never single fields
    one_row_ops: frozenset[Op] = frozenset()  # operations that the receiver takes one row at a time


@dataclass(frozen=True, slots=True)
class Refusal:
    """Row in a delivery's quarantine, with the receiver's own words."""

    destination: str
    subject: str
    object: str
    op: str
    key: str
    revision: int
    code: str
    words: str
    fields: dict[str, Any]
    at_ms: Millis

    @property
    def name(self) -> str:
        """Return the refusal's name, one for each row, so that a repeat replaces the refusal."""
        return f"{self.subject}:{self.object}"
