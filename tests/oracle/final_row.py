"""The rows that the source tables hold at the end, as the oracle takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Position = tuple[int | None, int | None, int | None, int | None]

Normalise = Callable[[str, str, str | None], str | None]
"""(identifier kind, value, country of the row or else of its system) -> normalised value, or None: is no identifier."""


class Named(Protocol):
    """Makes ids out of texts (`nurt.columnar.ids.Ids`)."""

    def one(self, text: str) -> bytes:
        """Return the 16-byte id of a text."""
        ...


class SystemLike(Protocol):
    """What the oracle reads of a source system's description."""

    @property
    def realm(self) -> str: ...
    @property
    def country(self) -> str | None: ...
    @property
    def market(self) -> str | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def priority(self) -> int: ...


@dataclass(frozen=True, slots=True)
class System:
    """One source system of a history."""

    name: str
    realm: str = "default"
    country: str | None = None
    market: str | None = None
    currency: str | None = None
    priority: int = 100


@dataclass(frozen=True, slots=True)
class FinalRow:
    """A row that exists when the input has ended, and where the event stood that made it what it is."""

    kind: str
    row: bytes
    system: str
    entity: str
    key: str
    fields: Mapping[str, Any] = field(default_factory=dict)  # canonical name -> value; absent and None are null
    parent_kind: str | None = None
    parent_entity: str | None = None
    parent_key: str | None = None
    position: Position = (None, None, None, None)
    offset: int = 0
    ts_ms: int = 0
    identifiers: str | None = None  # `kind U+001F value` joined by U+001E

    def position_text(self) -> str:
        """Write the position as provenance shows it: `p0:p1:p2:p3@offset`, empty where a part is null."""
        position = self.position
        if position[:2] == (None, None) and position[3]:  # the place of a key is no position
            position = (None, None, None, None)
        return ":".join("" if part is None else str(part) for part in position) + f"@{self.offset}"


def normalise_plainly(kind: str, value: str, country: str | None) -> str | None:
    """Normalise values that histories use: trim, and lower an email; what is no identifier is None."""
    text = value.strip()
    if kind == "email":
        name, at, host = text.lower().partition("@")
        return text.lower() if at and name and "." in host else None
    if kind == "phone":
        return text if text.startswith("+") and text[1:].isdigit() and len(text) > 8 else None
    if kind == "tax_id":
        return text if len(text) > 8 else None
    return text or None
