"""What a delivery speaks of: rows that a receiver should hold, writes, calls, and what came of them."""

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
"""What a destination is told unless it says otherwise."""

LINK_SIGN = "\x1f"
"""Stands between the keys of the two rows that a link joins: its own key."""


class Lifecycle(StrEnum):
    """What has become of a profile."""

    LIVE = "live"
    REDIRECT = "redirect"  # merged into a survivor
    ERASED = "erased"
    SWEPT = "swept"  # no message told it in the last back-fill, and an operator said that it may go


class Op(StrEnum):
    """What a receiver can be asked to do with one row."""

    UPSERT = "upsert"
    LINK = "link"  # join two objects of one profile
    DELETE = "delete"  # the receiver's ordinary one, from which it may be restored
    MERGE = "merge"  # the receiver's own merge of one row into another
    ERASE = "erase"  # the receiver's privacy call; final


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a profile as the receiver should hold it, under an external id."""

    object: str
    key: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What one message asks for: the rows of a live profile, or what shall be archived, merged or erased.

    Attributes:
        revision: None where a tombstone carries none.
        place: (partition, offset) of the message.
        subject: the profile's id, 32 hex digits; or an order's, or made of the key of a figure of stock.
        rows: of a redirect: what archived rows shall hold.
        accounts: of a profile its accounts, of an order the one that it belongs to; where orders name profiles.
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
    """Another row of the receiver that a write speaks of."""

    object: str
    key: str
    receiver_id: str | None


@dataclass(frozen=True, slots=True)
class Write:
    """One row's way to the receiver.

    Attributes:
        whole: the fields are all that the row has, not only those that changed.
        is_new: nothing was ever sent under this key.
        refs: of a link its two ends; of a merge the row that stays; else the rows that `parents` of its object name.
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


@dataclass(frozen=True, slots=True)
class Call:
    """Writes of one object and kind that go to the receiver together; no key twice."""

    object: str
    op: Op
    writes: tuple[Write, ...]
    bulk: bool = False


class RowOutcome(StrEnum):
    """What the receiver said of one row."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # for good: the same row would be refused again
    CONFLICT = "conflict"  # another row stands in the way, which may be about to go
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class RowResult:
    """What the receiver said of one row. `words` are its own and may be personal: they go to quarantine only."""

    outcome: RowOutcome
    code: str = ""
    words: str = ""
    receiver_id: str | None = None


ACCEPTED = RowResult(RowOutcome.ACCEPTED)


class CallFailure(StrEnum):
    """Why a call as a whole gave no row results."""

    DOWN = "down"  # no answer, a broken one, or 5xx
    THROTTLED = "throttled"
    UNAUTHORISED = "unauthorised"
    REFUSED = "refused"  # the batch, without saying which row


@dataclass(frozen=True, slots=True)
class CallResult:
    """What came of a call: a row result a write, in order; or call failure.

    Attributes:
        wait_s: how long the receiver asked to be left alone, in any case.
    """

    row_results: tuple[RowResult, ...] = ()
    failure: CallFailure | None = None
    code: str = ""
    words: str = ""
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` in any `seconds`."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a receiver takes at once, and how often."""

    rows_max: int
    bytes_max: int = 4_000_000
    bulk_rows_max: int | None = None  # it has a bulk interface
    bulk_from: int = 200  # rows at once below which the ordinary one is taken
    concurrency: int = 4
    rates: tuple[RateLimit, ...] = ()
    whole_rows: bool = False  # it takes rows whole, never some fields
    one_row_ops: frozenset[Op] = frozenset()  # which it takes one row at a time


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row in a delivery's quarantine, with the receiver's own words."""

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
        """Name it: one for each row, so that a repeat replaces it."""
        return f"{self.subject}:{self.object}"
