"""The newest event of a row wins: one event after another, by the oracle's rules for places."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tests.oracle.final_row import Position
from tests.oracle.places import highest_after, is_old_news


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands."""

    source_epoch: int
    position: Position
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Newest:
    """What a row holds, and where the event stands that said so.

    Attributes:
        highest: what `highest_after` says of the row.
    """

    place: Place
    columns: Mapping[str, Any]
    highest: Position | None = None


def newest(
    before: Newest | None, place: Place, columns: Mapping[str, Any], held: Collection[str] = ()
) -> Newest | None:
    """Return what a row holds after one more event; None when the event is old news.

    Args:
        held: columns of which the event says nothing: they stay as they were.
    """
    highest = None
    if before is not None:
        if is_old_news(place, before.place, before.highest):
            return None
        highest = highest_after(place, before.place, before.highest)
    kept = {name: None if before is None else before.columns.get(name) for name in held}
    return Newest(place, {**columns, **kept}, highest)
