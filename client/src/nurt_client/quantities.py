"""Quantities: whole ten-thousandths in Redis, decimals in a shop."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from nurt_client.errors import ConfigurationError

UNIT = 10_000
"""Quantities are kept in ten-thousandths, as every amount."""

Quantity = int | Decimal | str


def to_units(quantity: Quantity) -> int:
    """Turn what a line orders into ten-thousandths.

    Raises ConfigurationError when it is no number above zero, or has more than four decimals.
    """
    try:
        units = Decimal(quantity) * UNIT
        whole = int(units)
    except (InvalidOperation, ValueError, OverflowError):
        raise ConfigurationError(
            "reserving for an order: a quantity that is no number (expected as 2 or 0.5); correct it"
        ) from None
    if units != whole:
        raise ConfigurationError("reserving for an order: a quantity with more than four decimals; round it")
    if whole <= 0:
        raise ConfigurationError("reserving for an order: a quantity that is not above zero; leave it out")
    return whole


def to_decimal(units: int) -> Decimal:
    """Turn ten-thousandths into a decimal, for people."""
    pieces = Decimal(units) / UNIT
    return pieces.quantize(Decimal(1)) if pieces == pieces.to_integral_value() else pieces
