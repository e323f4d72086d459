"""Run a compiled writing program over a batch of rows: one loop for every schema.

Columns are reached by address, because they have many types and numba would compile tuples again for every schema. The
caller keeps the columns alive, has checked their types, and gives enough room for the longest values.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.avro import opcodes as op
from nurt.columnar.memory import copy_bytes, peek_byte, peek_half, peek_word, poke_byte, poke_half, poke_word
from nurt.columnar.types import INLINE_BYTES
from nurt.columnar.varint import poke_zigzag

# What the table of columns holds: the address of the validity bitmap (0: no nulls), the place where the column begins
# in its buffers, in elements, and how many it has; the address of values, views or offsets; for views the row of the
# table of buffers where theirs begin (-1: not views).
VALID, FIRST, LENGTH, VALUES, BUFFERS = range(5)
COLUMN_WIDTH = 8

PUT_LONG, PUT_INT, PUT_BOOLEAN, PUT_WORD, PUT_HALF = 1, 2, 3, 4, 5
PUT_TEXT, PUT_FIXED, PUT_DECIMAL, PUT_FIXED_DECIMAL, PUT_ENUM = 6, 7, 8, 9, 10
PUT_RECORD, PUT_ITEMS, PUT_NEXT, PUT_NOTHING = 11, 12, 13, 14

FINE, IS_NULL, OUT_OF_RANGE, WRONG_SIZE, NO_SUCH_SYMBOL = range(5)

_ZERO = np.uint64(0)


@njit(nogil=True, cache=True)
def put_avro_decimal(to, number):  # type: ignore[no-untyped-def]
    """Write an int64 as bytes: big-endian two's complement, a sign bit in front of the magnitude's bits.

    to      scalar  int64  address; room for 10 bytes: a length and at most 9 bytes
    number  scalar  int64  any; unscaled
    Returns the address behind it.
    """
    magnitude = np.uint64(number) if number >= 0 else _ZERO - np.uint64(number)
    size = 1
    while size < 9 and (magnitude >> np.uint64(8 * size - 1)) != _ZERO:
        size += 1
    poke_byte(to, 2 * size)
    return put_big_endian(to + 1, number, size)


@njit(nogil=True, cache=True)
def put_big_endian(to, number, size):  # type: ignore[no-untyped-def]
    """Write the lowest `size` bytes of an int64 whose sign goes on for ever to an address; returns that behind them."""
    for k in range(size - 1, -1, -1):
        poke_byte(to, number >> min(8 * k, 63) & 255)
        to += 1
    return to


@njit(nogil=True, cache=True)
def text_at(view, buffers, first_buffer):  # type: ignore[no-untyped-def]
    """Return the address of a view's bytes.

    view          scalar  int64  address of the view's 16 bytes
    buffers       (k,)    int64  addresses of the buffers of all columns
    first_buffer  scalar  int64  row of `buffers` where those of the view's column begin
    Returns an address (int64); within the view where it has at most INLINE_BYTES.

    Source: Arrow columnar format, variable-size binary view layout.
    """
    if peek_half(view) <= INLINE_BYTES:
        return view + 4
    return buffers[first_buffer + peek_half(view + 8)] + peek_half(view + 12)


@njit(nogil=True, cache=True)
def put_text(to, text, size):  # type: ignore[no-untyped-def]
    """Copy `size` bytes from one address to another; returns the address behind them.

    Short ones go as 12 bytes, whole words: so many can be read, and written, for views and the room for a text are wide
    enough.
    """
    if size <= INLINE_BYTES:
        poke_word(to, peek_word(text))
        poke_half(to + 8, peek_half(text + 8))
    else:
        copy_bytes(to, text, size)
    return to + size


@njit(nogil=True, cache=True)
def symbol_of(text, size, symbols, offsets, first, count):  # type: ignore[no-untyped-def]
    """Find a text among an enum's symbols.

    text, size    scalar  int64  the text's address and bytes
    symbols       (b,)    uint8  symbols of all enums, one after another
    offsets       (s+1,)  int64  symbol i is symbols[offsets[i]:offsets[i+1]]
    first, count  scalar  int64  the enum's symbols are those from `first` on, `count` of them
    Returns its index among the enum's, or -1: it is none of them.
    """
    for k in range(count):
        at = offsets[first + k]
        if offsets[first + k + 1] - at != size:
            continue
        same = True
        for j in range(size):
            if peek_byte(text + j) != symbols[at + j]:
                same = False
                break
        if same:
            return k
    return -1


@njit(nogil=True, cache=True)
def count_text_bytes(columns):  # type: ignore[no-untyped-def]
    """Add up the sizes of all texts: several views may share the same bytes, so buffers say nothing about it.

    columns  (c, COLUMN_WIDTH)  int64  the table of columns; validity and views are read at their addresses
    Returns bytes, those of nulls left out.
    """
    total = np.int64(0)
    for column in range(columns.shape[0]):
        if columns[column, BUFFERS] < 0:
            continue
        first, valid = columns[column, FIRST], columns[column, VALID]
        for at in range(first, first + columns[column, LENGTH]):
            if valid == 0 or (peek_byte(valid + (at >> 3)) >> (at & 7)) & 1:
                total += peek_half(columns[column, VALUES] + 16 * at)
    return total


@njit(nogil=True, cache=True)
def write_rows(program, columns, buffers, symbols, symbol_offsets, out, places):  # type: ignore[no-untyped-def]
    """Write rows as Avro bodies.

    program         (p, op.WIDTH)      int64  instructions: PUT_..., and op.END at the end
    columns         (c, COLUMN_WIDTH)  int64  the table of columns: what VALID to BUFFERS name; values are read there
    buffers         (k,)               int64  addresses of the buffers of texts, column after column
    symbols         (b,)               uint8  symbols of all enums, one after another
    symbol_offsets  (s+1,)             int64  symbol i is symbols[symbol_offsets[i]:symbol_offsets[i+1]]
    out             (m,)               uint8  written; the caller has sized it for the worst case
    places          (n+1,)             int64  written: row r is out[places[r]:places[r+1]]
    Returns (FINE, 0, 0); or IS_NULL, OUT_OF_RANGE, WRONG_SIZE or NO_SUCH_SYMBOL with the row of `columns` and the row
    that it was found in, and what was written means nothing.
    """
    stack = np.empty((op.DEPTH_MAX, 2), dtype=np.int64)
    begin = out.ctypes.data
    to = np.int64(begin)
    for row in range(places.shape[0] - 1):
        places[row] = to - np.int64(begin)
        i, pc, depth = np.int64(row), 0, 0
        while True:
            code = program[pc, op.OP]
            if code == op.END:
                break
            if code == PUT_NEXT:
                i += 1
                if i < stack[depth - 1, 1]:
                    pc = program[pc, op.JUMP]
                else:
                    depth -= 1
                    i = stack[depth, 0]
                    poke_byte(to, 0)
                    to += 1
                    pc += 1
                continue
            column = program[pc, op.A]
            at = columns[column, FIRST] + i
            valid = columns[column, VALID]
            if valid != 0 and (peek_byte(valid + (at >> 3)) >> (at & 7)) & 1 == 0:
                if program[pc, op.OPTIONAL] != 0 and program[pc, op.NULL] >= 0:
                    poke_byte(to, program[pc, op.NULL])
                    to += 1
                elif code == PUT_ITEMS:
                    poke_byte(to, 0)
                    to += 1
                else:
                    return IS_NULL, column, row
                pc = program[pc, op.JUMP]
                continue
            if program[pc, op.OPTIONAL] != 0:
                poke_byte(to, program[pc, op.PRESENT])
                to += 1
            values = columns[column, VALUES]
            if code == PUT_TEXT or code == PUT_ENUM or code == PUT_FIXED:  # noqa: SIM109 - compiled
                view = values + 16 * at
                size = peek_half(view)
                text = text_at(view, buffers, columns[column, BUFFERS])
                if code == PUT_TEXT:
                    to = put_text(poke_zigzag(to, size), text, size)
                elif code == PUT_FIXED:
                    if size != program[pc, op.SPARE]:
                        return WRONG_SIZE, column, row
                    to = put_text(to, text, size)
                else:
                    symbol = symbol_of(text, size, symbols, symbol_offsets, program[pc, op.SPARE], program[pc, op.B])
                    if symbol < 0:
                        return NO_SUCH_SYMBOL, column, row
                    to = poke_zigzag(to, symbol)
            elif code == PUT_LONG:
                to = poke_zigzag(to, np.int64(peek_word(values + 8 * at)))
            elif code == PUT_DECIMAL:
                to = put_avro_decimal(to, np.int64(peek_word(values + 8 * at)))
            elif code == PUT_INT:
                number = np.int64(peek_word(values + 8 * at))
                if number > 2147483647 or number < -2147483648:
                    return OUT_OF_RANGE, column, row
                to = poke_zigzag(to, number)
            elif code == PUT_BOOLEAN:
                poke_byte(to, (peek_byte(values + (at >> 3)) >> (at & 7)) & 1)
                to += 1
            elif code == PUT_WORD:
                poke_word(to, peek_word(values + 8 * at))
                to += 8
            elif code == PUT_HALF:
                poke_half(to, peek_half(values + 4 * at))
                to += 4
            elif code == PUT_FIXED_DECIMAL:
                number = np.int64(peek_word(values + 8 * at))
                size = program[pc, op.SPARE]
                if size < 8 and number >> (8 * size - 1) != number >> 63:
                    return OUT_OF_RANGE, column, row
                to = put_big_endian(to, number, size)
            elif code == PUT_ITEMS:
                first = np.int64(peek_word(values + 8 * at))
                last = np.int64(peek_word(values + 8 * at + 8))
                if first == last:
                    poke_byte(to, 0)
                    to += 1
                    pc = program[pc, op.JUMP]
                    continue
                to = poke_zigzag(to, last - first)
                stack[depth, 0], stack[depth, 1] = i, last
                depth += 1
                i = first
            pc += 1  # PUT_RECORD and PUT_NOTHING write nothing themselves
    places[places.shape[0] - 1] = to - np.int64(begin)
    return FINE, 0, 0
