"""Run a compiled program over a batch of messages: one loop for every schema, for the program is an argument.

Bounds are checked before every read; `memory` says why a load may still touch padding.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.core.avro import opcodes as op
from nurt.core.avro.flaws import Flaw
from nurt.core.avro.memory import INLINE_BYTES, load_byte, load_float_as_word, load_word, trailing_zeros

ENDS_EARLY, VARINT_TOO_LONG = int(Flaw.ENDS_EARLY), int(Flaw.VARINT_TOO_LONG)
NEGATIVE_LENGTH, BYTES_LEFT_OVER = int(Flaw.NEGATIVE_LENGTH), int(Flaw.BYTES_LEFT_OVER)
NO_SUCH_BRANCH, NO_SUCH_SYMBOL = int(Flaw.NO_SUCH_BRANCH), int(Flaw.NO_SUCH_SYMBOL)
NOT_UTF8, NOT_BOOLEAN = int(Flaw.NOT_UTF8), int(Flaw.NOT_BOOLEAN)
TOO_DEEP, WRONG_BLOCK_SIZE = int(Flaw.TOO_DEEP), int(Flaw.WRONG_BLOCK_SIZE)

_HIGH_BITS = np.uint64(0x8080808080808080)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _ONE, _TWO, _FOUR = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4)
_BITS_32, _BITS_63, _LOW_32 = np.uint64(32), np.uint64(63), np.uint64(0xFFFFFFFF)
_SEVEN_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_EVEN_1, _ODD_1 = np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00)
_EVEN_2, _ODD_2 = np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000)
_EVEN_4, _ODD_4 = np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000)


@njit(nogil=True, cache=True)
def read_varint(data, at, end):  # type: ignore[no-untyped-def]
    """Read a varint as written (zig-zag still on) and the place behind it, or a negative flaw for a place."""
    if at >= end:
        return _ZERO, -ENDS_EARLY
    byte = load_byte(data, at)
    if byte < 128:
        return np.uint64(byte), at + 1
    word = load_word(data, at)
    stops = ~word & _HIGH_BITS
    if stops != _ZERO:
        stop = trailing_zeros(stops)  # 7, 15, ... 63: the last bit of the last byte
        at += (stop >> 3) + 1
        if at > end:
            return _ZERO, -ENDS_EARLY
        return _join_sevens(word & (_ALL >> np.uint64(63 - stop))), at
    value = _join_sevens(word)
    if at + 8 >= end:
        return _ZERO, -ENDS_EARLY
    byte = load_byte(data, at + 8)
    value |= np.uint64(byte & 127) << np.uint64(56)
    if byte < 128:
        return value, at + 9
    if at + 9 >= end:
        return _ZERO, -ENDS_EARLY
    byte = load_byte(data, at + 9)
    if byte > 1:
        return _ZERO, -VARINT_TOO_LONG
    return value | (np.uint64(byte) << _BITS_63), at + 10


@njit(nogil=True, cache=True)
def _join_sevens(word):  # type: ignore[no-untyped-def]
    """Close the gaps between the 7-bit groups of a word, pairs first, then fours, then eights."""
    word &= _SEVEN_BITS
    word = (word & _EVEN_1) | ((word & _ODD_1) >> _ONE)
    word = (word & _EVEN_2) | ((word & _ODD_2) >> _TWO)
    return (word & _EVEN_4) | ((word & _ODD_4) >> _FOUR)


@njit(nogil=True, cache=True)
def skip_varint(data, at, end):  # type: ignore[no-untyped-def]
    """Pass over a varint; gives the place behind it, or a negative flaw."""
    if at < end and load_byte(data, at) < 128:
        return at + 1
    _, at = read_varint(data, at, end)
    return at


@njit(nogil=True, cache=True)
def read_length(data, at, end):  # type: ignore[no-untyped-def]
    """Read the length of a string or bytes that lies within the message; returns (length, place or flaw)."""
    raw, at = read_varint(data, at, end)
    if at < 0:
        return 0, at
    if raw & _ONE:
        return 0, -NEGATIVE_LENGTH
    size = np.int64(raw >> _ONE)
    if size > end - at:
        return 0, -ENDS_EARLY
    return size, at


@njit(nogil=True, cache=True)
def is_utf8(data, at, size):  # type: ignore[no-untyped-def]
    """Say whether bytes are UTF-8 as Unicode defines it: no overlong form, no surrogate, nothing above U+10FFFF."""
    end = at + size
    while at + 8 <= end:
        if load_word(data, at) & _HIGH_BITS:
            break
        at += 8
    while at < end:
        first = load_byte(data, at)
        if first < 0x80:
            at += 1
            continue
        low, high = 0x80, 0xBF  # what the second byte may be
        if first < 0xC2:
            return False
        if first < 0xE0:
            more = 1
        elif first < 0xF0:
            more = 2
            if first == 0xE0:
                low = 0xA0
            elif first == 0xED:
                high = 0x9F
        elif first < 0xF5:
            more = 3
            if first == 0xF0:
                low = 0x90
            elif first == 0xF4:
                high = 0x8F
        else:
            return False
        if at + more >= end:
            return False
        second = load_byte(data, at + 1)
        if second < low or second > high:
            return False
        for k in range(2, more + 1):
            if load_byte(data, at + k) & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@njit(nogil=True, cache=True)
def put_view(data, at, size, view):  # type: ignore[no-untyped-def]
    """Write the Arrow view of `data[at:at+size]` into two words.

    Source: Arrow columnar format, variable-size binary view layout.
    """
    if size <= INLINE_BYTES:
        first = load_word(data, at)
        if size <= 4:
            first &= (_ONE << np.uint64(8 * size)) - _ONE
            view[1] = _ZERO
        else:
            rest = load_word(data, at + 4)
            view[1] = rest & (_ALL >> np.uint64(8 * (12 - size)))
        view[0] = np.uint64(size) | (first << _BITS_32)
    else:
        view[0] = np.uint64(size) | (load_word(data, at) << _BITS_32)
        view[1] = np.uint64(at) << _BITS_32


@njit(nogil=True, cache=True)
def run(  # type: ignore[no-untyped-def]
    data, starts, ends, program, targets, enums, symbols, words, views, flags, valid, bad
):
    """Read message i, `data[starts[i]:ends[i]]`, into row i of every column, or say in `bad[i]` what is wrong with it.

    words (w, n) uint64 numbers, views (v, n, 2) uint64 Arrow views, flags (f, bytes) and valid (columns, bytes)
    bitmaps, all zero before. enums (e, 2): where an enum's symbols begin in `symbols` (s, 2) and how many they are.
    """
    stack = np.empty((op.DEPTH_MAX, 2), dtype=np.int64)
    for i in range(starts.shape[0]):
        at, end = starts[i], ends[i]
        byte_of_bit, bit = i >> 3, np.uint8(1 << (i & 7))
        pc, depth = 0, 0
        if at > end:
            at = -ENDS_EARLY
        while at >= 0:  # a negative place is a flaw
            if program[pc, op.OPTIONAL] != 0:
                if at >= end:
                    at = -ENDS_EARLY
                    break
                branch = load_byte(data, at)
                if branch < 128:
                    at += 1
                else:
                    long_branch, at = read_varint(data, at, end)
                    if at < 0:
                        break
                    branch = np.int64(min(long_branch, np.uint64(1 << 32)))
                if branch == program[pc, op.NULL]:
                    pc = program[pc, op.JUMP]
                    continue
                if branch != program[pc, op.PRESENT]:
                    at = -NO_SUCH_BRANCH
                    break
            code = program[pc, op.OP]
            a = program[pc, op.A]
            if code == op.SKIP_VARINTS:
                for _ in range(a):
                    at = skip_varint(data, at, end)
                    if at < 0:
                        break
                pc += 1
            elif code == op.SKIP_TEXTS:
                for _ in range(a):
                    size, at = read_length(data, at, end)
                    if at < 0:
                        break
                    at += size
                pc += 1
            elif code == op.SKIP_BYTES:
                at = at + a if a <= end - at else -ENDS_EARLY
                pc += 1
            elif code == op.SKIP_OPTIONAL_VARINTS or code == op.SKIP_OPTIONAL_TEXTS:
                null, present = program[pc, op.NULL], program[pc, op.PRESENT]
                for _ in range(a):
                    raw, at = read_varint(data, at, end)
                    if at < 0:
                        break
                    if raw > _TWO:
                        at = -NO_SUCH_BRANCH
                        break
                    if np.int64(raw) == null:
                        continue
                    if np.int64(raw) != present:
                        at = -NO_SUCH_BRANCH
                        break
                    if code == op.SKIP_OPTIONAL_VARINTS:
                        at = skip_varint(data, at, end)
                    else:
                        size, at = read_length(data, at, end)
                        at = at + size
                    if at < 0:
                        break
                pc += 1
            elif code == op.READ_LONG:
                raw, at = read_varint(data, at, end)
                words[a, i] = (raw >> _ONE) ^ (_ZERO - (raw & _ONE))
                valid[program[pc, op.B], byte_of_bit] |= bit
                pc += 1
            elif code == op.READ_TEXT:
                size, at = read_length(data, at, end)
                if at < 0:
                    break
                if not is_utf8(data, at, size):
                    at = -NOT_UTF8
                    break
                put_view(data, at, size, views[a, i])
                valid[program[pc, op.B], byte_of_bit] |= bit
                at += size
                pc += 1
            elif code == op.READ_BYTES:
                size, at = read_length(data, at, end)
                if at < 0:
                    break
                put_view(data, at, size, views[a, i])
                valid[program[pc, op.B], byte_of_bit] |= bit
                at += size
                pc += 1
            elif code == op.ENTER:
                if a >= 0:
                    flags[a, byte_of_bit] |= bit
                pc += 1
            elif code == op.READ_BOOLEAN:
                if at >= end:
                    at = -ENDS_EARLY
                    break
                byte = load_byte(data, at)
                if byte > 1:
                    at = -NOT_BOOLEAN
                    break
                if byte == 1:
                    flags[a, byte_of_bit] |= bit
                valid[program[pc, op.B], byte_of_bit] |= bit
                at += 1
                pc += 1
            elif code == op.READ_DOUBLE:
                if end - at < 8:
                    at = -ENDS_EARLY
                    break
                words[a, i] = load_word(data, at)
                valid[program[pc, op.B], byte_of_bit] |= bit
                at += 8
                pc += 1
            elif code == op.READ_FLOAT:
                if end - at < 4:
                    at = -ENDS_EARLY
                    break
                words[a, i] = load_float_as_word(data, at)
                valid[program[pc, op.B], byte_of_bit] |= bit
                at += 4
                pc += 1
            elif code == op.READ_FIXED:
                size = program[pc, op.SPARE]
                if end - at < size:
                    at = -ENDS_EARLY
                    break
                put_view(data, at, size, views[a, i])
                valid[program[pc, op.B], byte_of_bit] |= bit
                at += size
                pc += 1
            elif code == op.READ_ENUM:
                raw, at = read_varint(data, at, end)
                if at < 0:
                    break
                enum = program[pc, op.SPARE]
                if raw & _ONE or np.int64(raw >> _ONE) >= enums[enum, 1]:
                    at = -NO_SUCH_SYMBOL
                    break
                symbol = enums[enum, 0] + np.int64(raw >> _ONE)
                views[a, i, 0] = symbols[symbol, 0]
                views[a, i, 1] = symbols[symbol, 1]
                valid[program[pc, op.B], byte_of_bit] |= bit
                pc += 1
            elif code == op.SKIP_ENUM:
                raw, at = read_varint(data, at, end)
                if at < 0:
                    break
                if raw & _ONE or np.int64(raw >> _ONE) >= a:
                    at = -NO_SUCH_SYMBOL
                pc += 1
            elif code == op.END:
                if at != end:
                    at = -BYTES_LEFT_OVER
                break
            elif code == op.CALL:
                if depth == op.DEPTH_MAX:
                    at = -TOO_DEEP
                    break
                stack[depth, 0] = pc + 1
                depth += 1
                pc = a
            elif code == op.RETURN:
                depth -= 1
                pc = stack[depth, 0]
            elif code == op.UNION:
                raw, at = read_varint(data, at, end)
                if at < 0:
                    break
                if raw & _ONE or np.int64(raw >> _ONE) >= a:
                    at = -NO_SUCH_BRANCH
                    break
                pc = targets[program[pc, op.B] + np.int64(raw >> _ONE)]
            elif code == op.GOTO:
                pc = a
            elif code == op.REPEAT:
                stack[depth - 1, 0] -= 1
                if stack[depth - 1, 0] > 0:
                    pc = a + 1
                else:
                    depth -= 1
                    if stack[depth, 1] >= 0 and stack[depth, 1] != at:
                        at = -WRONG_BLOCK_SIZE
                    pc = a
            else:  # LOOP, LOOP_EMPTY
                raw, at = read_varint(data, at, end)
                if at < 0:
                    break
                if raw == _ZERO:
                    pc = program[pc, op.JUMP]
                    continue
                count = np.int64((raw >> _ONE) ^ (_ZERO - (raw & _ONE)))
                block_end = -1
                if count < 0:
                    count = -count
                    size, at = read_length(data, at, end)
                    if at < 0:
                        break
                    block_end = at + size
                if code == op.LOOP_EMPTY:
                    if block_end >= 0 and block_end != at:
                        at = -WRONG_BLOCK_SIZE
                    continue
                if count < 0 or count > end - at:  # an item takes a byte at least
                    at = -ENDS_EARLY
                elif depth == op.DEPTH_MAX:
                    at = -TOO_DEEP
                else:
                    stack[depth, 0] = count
                    stack[depth, 1] = block_end
                    depth += 1
                    pc += 1
        if at < 0:
            bad[i] = -at
            for column in range(valid.shape[0]):
                valid[column, byte_of_bit] &= ~bit
