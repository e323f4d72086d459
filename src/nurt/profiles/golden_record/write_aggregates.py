"""Write a profile's aggregates as Avro: orders, products, categories, invoices. For kernels.

Source: schemas/nurt.profiles-value.
"""

from __future__ import annotations

import numba

from nurt.avro.encode_loop import put_avro_decimal
from nurt.avro.primitives import put_nothing, put_optional_long, put_string
from nurt.columnar.memory import poke_byte
from nurt.columnar.types import Int64s
from nurt.columnar.varint import poke_zigzag
from nurt.profiles.golden_record.aggregates import (
    AVERAGE,
    CANCELLED,
    COUNT,
    FIRST_ON,
    GIVEN_BACK,
    GROSS,
    IN_WINDOWS,
    LAST_ON,
    LINE_WIDTH,
    LONG_AGO,
    NEVER,
    OPEN,
    OPEN_AMOUNT,
    OPEN_COUNT,
    OVERDUE_AMOUNT,
    OVERDUE_COUNT,
    OWED,
    PAID,
    QUANTITY,
    RETURNED,
)


@numba.njit(nogil=True, cache=True)
def put_orders(to: int, lines: Int64s, count: int) -> int:
    """Write lines of order aggregates.

    to     scalar           int64  address to write at
    lines  (l, LINE_WIDTH)  int64  see `sum_orders`; amounts in ten-thousandths, days since 1970-01-01
    count  scalar           int64  how many lines there are
    Returns the address behind the written bytes.
    """
    if count == 0:
        return put_nothing(to, 1)
    to = poke_zigzag(to, count)
    for at in range(count):
        to = put_string(to, lines[at, 0], lines[at, 1])
        to = put_string(to, lines[at, 2], lines[at, 3])
        to = poke_zigzag(to, lines[at, COUNT])
        to = put_avro_decimal(to, lines[at, GROSS])
        to = _put_known(to, lines[at, AVERAGE]) if lines[at, COUNT] > 0 else put_nothing(to, 1)
        to = put_optional_long(to, lines[at, FIRST_ON] != NEVER, lines[at, FIRST_ON])
        to = put_optional_long(to, lines[at, LAST_ON] != LONG_AGO, lines[at, LAST_ON])
        to = poke_zigzag(to, lines[at, CANCELLED])
        to = poke_zigzag(to, lines[at, RETURNED])
        to = poke_zigzag(to, lines[at, OPEN])
        for k in range(IN_WINDOWS, LINE_WIDTH, 2):
            to = poke_zigzag(to, lines[at, k])
            to = put_avro_decimal(to, lines[at, k + 1])
        to = _put_known(to, lines[at, GIVEN_BACK])
        to = _put_known(to, lines[at, GROSS] - lines[at, GIVEN_BACK])
        to = _put_known(to, lines[at, PAID])
        to = _put_known(to, lines[at, OWED])
    return put_nothing(to, 1)


@numba.njit(nogil=True, cache=True)
def _put_known(to: int, amount: int) -> int:
    """Write an amount where the schema also knows null."""
    poke_byte(to, 2)
    return put_avro_decimal(to + 1, amount)


@numba.njit(nogil=True, cache=True)
def put_most_bought(to: int, lines: Int64s, count: int) -> int:
    """Write lines of quantities (ten-thousandths of a piece), as `put_orders`."""
    if count == 0:
        return put_nothing(to, 1)
    to = poke_zigzag(to, count)
    for at in range(count):
        to = put_string(to, lines[at, 0], lines[at, 1])
        to = put_avro_decimal(to, lines[at, QUANTITY])
    return put_nothing(to, 1)


@numba.njit(nogil=True, cache=True)
def put_invoices(to: int, lines: Int64s, count: int) -> int:
    """Write lines of invoice aggregates (amounts in ten-thousandths), as `put_orders`."""
    if count == 0:
        return put_nothing(to, 1)
    to = poke_zigzag(to, count)
    for at in range(count):
        to = put_string(to, lines[at, 0], lines[at, 1])
        to = poke_zigzag(to, lines[at, OPEN_COUNT])
        to = put_avro_decimal(to, lines[at, OPEN_AMOUNT])
        to = poke_zigzag(to, lines[at, OVERDUE_COUNT])
        to = put_avro_decimal(to, lines[at, OVERDUE_AMOUNT])
    return put_nothing(to, 1)
