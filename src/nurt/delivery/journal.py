"""What goes in and out of a delivery's steps: messages read, rows mapped, and journal entries."""

from __future__ import annotations

from dataclasses import dataclass, field

from nurt.delivery.last_known import LastKnown
from nurt.delivery.mapping import MappingFailure
from nurt.model.delivery import PROFILES, DesiredState, Refusal


@dataclass(frozen=True, slots=True)
class Message:
    """Published profile, order or figure: id in hex, its place on the topic, and its body; None: a tombstone.

    `revision` is set where a tombstone has one. `flaw` says why a message is none of nurt's own (anybody may write to a
    topic): such a message is refused, whatever else it says, and its subject is its place.
    """

    subject: str
    place: tuple[int, int]
    revision: int | None
    body: bytes | None
    of: str = PROFILES
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class MappedBatch:
    """Desired states, and rows that could not be mapped: (profile, revision, object and its fields)."""

    desired_states: list[DesiredState]
    failed: list[tuple[str, int, MappingFailure]]


@dataclass(frozen=True, slots=True)
class Parked:
    """Desired state that waits for another try."""

    desired: DesiredState
    times: int
    code: str


@dataclass(slots=True)
class JournalEntry:
    """Changes that are written together: last known states, parked (seconds), unparked, refusals, resolved, owners.

    Attributes:
        kept: messages that may be mapped again later; None: no longer kept.
        claims: (account, profile): true when the profile has the account, false when it has it no longer.
        listed: (account, order): true when the order belongs to the account, false when it no longer does.
    """

    last_known: dict[str, LastKnown] = field(default_factory=dict)
    parked: dict[str, tuple[Parked, float]] = field(default_factory=dict)
    unparked: set[str] = field(default_factory=set)
    refused: list[Refusal] = field(default_factory=list)
    resolved: set[str] = field(default_factory=set)
    owners: dict[str, str | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Message | None] = field(default_factory=dict)
    claims: dict[tuple[str, str], bool] = field(default_factory=dict)
    listed: dict[tuple[str, str], bool] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        """Add to a counter."""
        self.counts[what] = self.counts.get(what, 0) + number

    def __bool__(self) -> bool:
        some = (self.last_known, self.parked, self.unparked, self.refused, self.resolved, self.owners, self.counts)
        return any((*some, self.kept, self.claims, self.listed))
