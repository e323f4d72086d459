"""Calls of a worker to the ledger of reservations.

The script (`ledger.lua` of nurt_client) is the only writer of the ledger; `nurt.testing.ledger` is the same script in
Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nurt.model.state_write import Call, StateWrite
from nurt.model.units import Millis

Argument = bytes | str | int

SEEN_MAX_MS = 60_000
"""How long after the worker's last sign of life reservations are made; the script has the same number."""


@dataclass(frozen=True, slots=True)
class Booked:
    """Facts from an order's own rows for its reservations.

    Attributes:
        match_key: of the order.
        done: the order is cancelled or complete, so nothing is held for it.
        known: by sku id: ordered quantity of the order's lines.
    """

    match_key: bytes
    done: bool
    known: Mapping[bytes, int]


def book_call(change: StateWrite, place: bytes, booked: Sequence[Booked]) -> None:
    """Add a call to a write: end reservations that orders have taken over."""
    if not booked:
        return
    arguments: list[Argument] = []
    for one in booked:
        arguments += [one.match_key, int(one.done), len(one.known)]
        for sku, quantity in one.known.items():
            arguments += [sku, quantity]
    change.calls.append(Call(place, "book", tuple(arguments)))


def sweep_call(change: StateWrite, place: bytes, now_ms: Millis | None = None) -> None:
    """Add a call to a write: end expired reservations."""
    change.calls.append(Call(place, "sweep", (), now_ms))


def open_call(change: StateWrite, place: bytes, now_ms: Millis | None = None) -> None:
    """Allow reservations."""
    change.calls.append(Call(place, "open", (), now_ms))
