"""The ledger's script, and how its values are read."""

from __future__ import annotations

from pathlib import Path

EXPIRES_S = 900
"""How long a reservation holds when nobody says otherwise."""
LEDGER_SCRIPT = Path(__file__).with_name("ledger.lua").read_bytes()


def read_held(value: bytes | None) -> dict[str, int]:
    """Read what reservations hold of a sku, by route, in ten-thousandths."""
    rows = (line.split("\t") for line in (value or b"").decode().splitlines())
    return {route: int(quantity) for route, quantity in rows}
