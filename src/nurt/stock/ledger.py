"""What a worker tells the ledger of reservations.

The script (`ledger.lua` of nurt_client) is the only writer of the ledger; `nurt.testing.ledger` is its meaning in
Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nurt.model.state_write import Call, StateWrite
from nurt.model.units import Millis

Argument = bytes | str | int

SEEN_MAX_MS = 60_000
"""How long after the worker was last seen reservations are still made; the script has it, too."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What an order's own rows say to its reservations.

    Attributes:
        match_key: of the order.
        done: it is cancelled or complete: nothing is held for it any more.
        known: by sku id: how much its lines order.
    """

    match_key: bytes
    done: bool
    known: Mapping[bytes, int]


def book_call(change: StateWrite, place: bytes, booked: Sequence[Booked]) -> None:
    """Let a write end the reservations that are now the orders' own."""
    if not booked:
        return
    arguments: list[Argument] = []
    for one in booked:
        arguments += [one.match_key, int(one.done), len(one.known)]
        for sku, quantity in one.known.items():
            arguments += [sku, quantity]
    change.calls.append(Call(place, "book", tuple(arguments)))


def sweep_call(change: StateWrite, place: bytes, now_ms: Millis | None = None) -> None:
    """Let a write end reservations that have expired."""
    change.calls.append(Call(place, "sweep", (), now_ms))


def open_call(change: StateWrite, place: bytes, now_ms: Millis | None = None) -> None:
    """Let reservations begin."""
    change.calls.append(Call(place, "open", (), now_ms))
