"""Make canonical fields straight from raw columns, for the pairs of meaning and field that nearly every mapping has.

Hot path. An operation of polars costs some tenths of a millisecond however few rows there are; these loops
cost microseconds. Their results equal those of `debezium.semantics` and `mapping.convert`; a row that they cannot
convert is marked odd, and the general path converts it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from nurt.avro.raw_column import RawColumn, unpack_bits
from nurt.columnar.digits import DECIMAL_BYTES_MAX, decimal_size, poke_decimal
from nurt.columnar.memory import load_byte, peek_byte, poke_byte, poke_half
from nurt.columnar.types import INLINE_BYTES, Bools, Bytes, Int64s, Words
from nurt.debezium.conventions import Conventions, Placeholders
from nurt.debezium.semantics import Form, Meaning
from nurt.debezium.timestamps import FIRST_DAY, LAST_DAY, micros_of, parse_micros
from nurt.mapping.convert import AMOUNT_DECIMALS, AMOUNT_UNIT, INT64_MAX
from nurt.model.entities import FieldType

Array = Any
"""A pyarrow array."""

Maker = Callable[[RawColumn, Meaning, Conventions, Bools], Array]
"""(column, its meaning, the system's conventions, odd rows, updated) -> the field."""


def maker_of(meaning: Meaning, field_type: FieldType) -> Maker | None:
    """Choose how a column alone becomes a field; None where compiled loops cannot convert it."""
    if meaning.form is Form.DECIMAL and not 0 <= meaning.unit <= AMOUNT_DECIMALS:
        return None
    return _MAKERS.get((meaning.form, field_type))


def mark_odd_texts(column: RawColumn, placeholders: Placeholders, odd: Bools) -> Bools | None:
    """Mark rows whose value the connector did not send; return where text is blank, None: nowhere."""
    assert column.views is not None and column.text is not None, "only texts are looked at"
    blank = np.zeros(column.rows, dtype=np.bool_)
    bitmap = _EMPTY if column.bitmap is None else column.bitmap
    known = placeholders.body, placeholders.cuts, placeholders.sizes
    found = _survey(column.views, column.text.address, bitmap, *known, blank, odd)
    return blank if found else None


def number_views(numbers: Int64s) -> tuple[Words, Any]:
    """Write numbers as texts: Arrow views, and the buffer of those with more than 12 characters."""
    views = np.zeros((len(numbers), 2), dtype=np.uint64)
    body = np.empty(DECIMAL_BYTES_MAX * len(numbers) + 1, dtype=np.uint8)
    used = _write_numbers(numbers, views, body)
    return views, pa.py_buffer(body[: max(1, used)])


def text_array(views: Words, body: Any, bitmap: Bytes | None) -> Array:
    """Wrap views over one buffer as texts."""
    buffers = [None if bitmap is None else pa.py_buffer(bitmap), pa.py_buffer(views), body]
    return pa.Array.from_buffers(pa.string_view(), len(views), buffers)


def number_array(numbers: Int64s, bitmap: Bytes | None) -> Array:
    """Wrap numbers; where the bitmap has no bit, null."""
    buffers = [None if bitmap is None else pa.py_buffer(bitmap), pa.py_buffer(np.ascontiguousarray(numbers))]
    return pa.Array.from_buffers(pa.int64(), len(numbers), buffers)


def bitmap_of(known: Bools | None) -> Bytes | None:
    """Turn booleans into a bitmap; None where all are true."""
    return None if known is None or known.all() else np.packbits(known, bitorder="little")


def _text(column: RawColumn, _meaning: Meaning, told: Conventions, odd: Bools) -> Array:
    blank = mark_odd_texts(column, told.placeholders, odd)
    if blank is None:
        return column.array()
    known = column.known()
    assert column.views is not None
    return text_array(column.views, column.text, bitmap_of(~blank if known is None else known & ~blank))


def _text_of_integer(column: RawColumn, _meaning: Meaning, _told: Conventions, _odd: Bools) -> Array:
    return text_array(*number_views(column.numbers()), column.bitmap)


def _boolean(column: RawColumn, _meaning: Meaning, _told: Conventions, _odd: Bools) -> Array:
    return column.array()


def _boolean_of_integer(column: RawColumn, _meaning: Meaning, _told: Conventions, odd: Bools) -> Array:
    numbers, known = column.numbers(), column.known()
    other = (numbers != 0) & (numbers != 1)
    odd |= other if known is None else other & known
    buffers = [None if column.bitmap is None else pa.py_buffer(column.bitmap)]
    buffers.append(pa.py_buffer(np.packbits(numbers == 1, bitorder="little")))
    return pa.Array.from_buffers(pa.bool_(), column.rows, buffers)


def _instant(column: RawColumn, meaning: Meaning, told: Conventions, _odd: Bools) -> Array:
    micros, outside = micros_of(column.numbers(), meaning.unit, told.zone if meaning.form is Form.READING else None)
    return number_array(micros, _without(column, outside))


def _zoned(column: RawColumn, meaning: Meaning, told: Conventions, odd: Bools) -> Array:
    micros, missing, unread = parse_micros(*column.texts(), told.zone, meaning.unit)
    if unread is not None:
        odd |= unread if (known := column.known()) is None else unread & known
    return number_array(micros, _without(column, missing))


def _day(column: RawColumn, _meaning: Meaning, _told: Conventions, _odd: Bools) -> Array:
    days = column.numbers()
    outside = (days < FIRST_DAY) | (days > LAST_DAY)
    return number_array(days, _without(column, outside if outside.any() else None))


def _amount(column: RawColumn, meaning: Meaning, _told: Conventions, odd: Bools) -> Array:
    offsets, body = column.texts()
    amounts = np.zeros(column.rows, dtype=np.int64)
    _read_decimals(offsets, body, 10 ** (AMOUNT_DECIMALS - meaning.unit), amounts, odd)
    return number_array(amounts, column.bitmap)


def _amount_of_integer(column: RawColumn, _meaning: Meaning, _told: Conventions, odd: Bools) -> Array:
    numbers, known, units_max = column.numbers(), column.known(), INT64_MAX // AMOUNT_UNIT
    beyond = (numbers < -units_max) | (numbers > units_max)
    odd |= beyond if known is None else beyond & known
    return number_array(numbers * AMOUNT_UNIT, column.bitmap)


_MAKERS: dict[tuple[Form, FieldType], Maker] = {
    (Form.TEXT, FieldType.STR): _text,
    (Form.INTEGER, FieldType.STR): _text_of_integer,
    (Form.BOOLEAN, FieldType.BOOL): _boolean,
    (Form.INTEGER, FieldType.BOOL): _boolean_of_integer,
    (Form.READING, FieldType.TS): _instant,
    (Form.INSTANT, FieldType.TS): _instant,
    (Form.ZONED, FieldType.TS): _zoned,
    (Form.DAY, FieldType.DAY): _day,
    (Form.DECIMAL, FieldType.AMOUNT): _amount,
    (Form.INTEGER, FieldType.AMOUNT): _amount_of_integer,
}

_EMPTY: Bytes = np.zeros(0, dtype=np.uint8)


def _without(column: RawColumn, gone: Bools | None) -> Bytes | None:
    if gone is None:
        return column.bitmap
    return bitmap_of(~gone if column.bitmap is None else ~gone & unpack_bits(column.bitmap, column.rows))


@numba.njit(nogil=True, cache=True)
def _survey(views, text, bitmap, body, cuts, sizes, blank, odd):  # type: ignore[no-untyped-def]
    """Find blank texts (none, or nothing but bytes up to 32) and placeholders.

    views   (n, 2)  uint64  Arrow views of the texts
    text    scalar  int64   address of the buffer of texts of more than INLINE_BYTES
    bitmap  (n/8,)  uint8   where a text is there, rounded up; (0,): everywhere
    body    (b,)    uint8   what the connector writes for a value that it did not send
    cuts    (p+1,)  int64   placeholder i is body[cuts[i]:cuts[i+1]]
    sizes   (s,)    bool    by length in bytes: a placeholder is so long
    blank   (n,)    bool    written True where a text is blank; else as before
    odd     (n,)    bool    written True where a text is a placeholder; else as before
    Returns how many are blank.
    """
    here = views.ctypes.data
    blanks = 0
    for row in range(len(views)):
        if len(bitmap) and not (bitmap[row >> 3] >> np.uint8(row & 7)) & np.uint8(1):
            continue
        size = np.int64(views[row, 0] & np.uint64(0xFFFFFFFF))
        source = here + 16 * row + 4
        if size > INLINE_BYTES:
            source = text + np.int64(views[row, 1] >> np.uint64(32))
        first = peek_byte(source) if size else np.int64(0)
        if first <= 32:
            at = 0
            while at < size and peek_byte(source + at) <= 32:
                at += 1
            if at == size:
                blank[row] = True
                blanks += 1
                continue
        if size < len(sizes) and sizes[size]:
            for which in range(len(cuts) - 1):
                start = cuts[which]
                if cuts[which + 1] - start != size or first != np.int64(body[start]):
                    continue
                at = 1
                while at < size and peek_byte(source + at) == np.int64(body[start + at]):
                    at += 1
                if at == size:
                    odd[row] = True
    return blanks


@numba.njit(nogil=True, cache=True)
def _write_numbers(numbers, views, body):  # type: ignore[no-untyped-def]
    """Write numbers as texts in decimal digits.

    numbers  (n,)    int64   any
    views    (n, 2)  uint64  written: Arrow views over `body`; zeros before
    body     (b,)    uint8   written: texts of more than INLINE_BYTES; room for DECIMAL_BYTES_MAX a number
    Returns the bytes of `body` that are used.
    """
    here, to = views.ctypes.data, body.ctypes.data
    used = np.int64(0)
    for row in range(len(numbers)):
        number = numbers[row]
        size = decimal_size(number)
        target = here + 16 * row + 4
        if size > INLINE_BYTES:
            target = to + used
        poke_decimal(target, number, size)
        poke_half(here + 16 * row, size)
        if size > INLINE_BYTES:
            for i in range(4):
                poke_byte(here + 16 * row + 4 + i, peek_byte(target + i))
            poke_half(here + 16 * row + 12, used)
            used += size
    return used


@numba.njit(nogil=True, cache=True)
def _read_decimals(offsets: Int64s, body: Bytes, factor: int, amounts: Int64s, odd: Bools) -> None:
    """Read big-endian numbers of at most 8 bytes and multiply them; another number, or too large a product, is odd.

    offsets  (n+1,)  int64  number i is body[offsets[i]:offsets[i+1]]; no bytes are nothing
    body     (b,)    uint8  unscaled numbers, big-endian two's complement
    factor   scalar  int64  a power of ten: from the column's scale to AMOUNT_DECIMALS
    amounts  (n,)    int64  written: ten-thousandths of the currency's unit; 0 before, and where odd or nothing
    odd      (n,)    bool   written True where the number does not fit; else as before
    """
    limit = INT64_MAX // factor
    for row in range(len(amounts)):
        start, end = offsets[row], offsets[row + 1]
        if end - start > 8:
            odd[row] = True
            continue
        if start == end:
            continue
        number = load_byte(body, start)
        if number >= 128:
            number -= 256
        for at in range(start + 1, end):
            number = (number << 8) | load_byte(body, at)
        if number < -limit or number > limit:
            odd[row] = True
            continue
        amounts[row] = number * factor
