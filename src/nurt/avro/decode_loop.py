"""Run a compiled program over a batch of messages: one loop for every schema, because the program is an argument."""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.avro import opcodes as op
from nurt.avro.errors import DecodeErrorCode
from nurt.avro.scan import ENDS_EARLY, is_utf8, put_view, read_length
from nurt.columnar.memory import load_byte, load_float_as_word, load_word
from nurt.columnar.types import Bytes, Int64s, Words
from nurt.columnar.varint import read_unsigned_checked, skip_checked

BYTES_LEFT_OVER, NO_SUCH_BRANCH = int(DecodeErrorCode.BYTES_LEFT_OVER), int(DecodeErrorCode.NO_SUCH_BRANCH)
NO_SUCH_SYMBOL, NOT_UTF8, NOT_BOOLEAN = (
    int(DecodeErrorCode.NO_SUCH_SYMBOL),
    int(DecodeErrorCode.NOT_UTF8),
    int(DecodeErrorCode.NOT_BOOLEAN),
)
TOO_DEEP, WRONG_BLOCK_SIZE = int(DecodeErrorCode.TOO_DEEP), int(DecodeErrorCode.WRONG_BLOCK_SIZE)
TOO_MUCH = int(DecodeErrorCode.TOO_MUCH)

_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)


@njit(nogil=True, cache=True)
def run(
    data: Bytes,
    starts: Int64s,
    ends: Int64s,
    program: Int64s,
    targets: Int64s,
    enums: Int64s,
    symbols: Words,
    words: Words,
    views: Words,
    flags: Bytes,
    valid: Bytes,
    bad: Bytes,
) -> None:
    """Read message i into row i of every column, or say in `bad[i]` what is wrong with it.

    data          (b,)           uint8   messages; PADDING_BYTES can be read behind the last one
    starts, ends  (n,)           int64   the Avro body of message i is data[starts[i]:ends[i]]
    program       (p, op.WIDTH)  int64   instructions, see `opcodes.py`
    targets       (t,)           int64   rows of `program` where branches of unions begin
    enums         (e, 2)         int64   by enum: where its symbols begin in `symbols`, and how many they are
    symbols       (s, 2)         uint64  Arrow views of all symbols
    words         (w, n)         uint64  written: integers, and floats as doubles, by their bits
    views         (v, n, 2)      uint64  written: Arrow views over `data`, and symbols' views; zeros before
    flags         (f, n/8)       uint8   written: bitmaps of booleans, and of records that are there; zeros before
    valid         (c, n/8)       uint8   written: bitmaps of what is there, by column; zeros before
    bad           (n,)           uint8   written where a message has a flaw: its DecodeErrorCode; zeros before
    n/8 is rounded up. Of a message with a flaw nothing is valid; what it left elsewhere means nothing.
    """
    stack = np.empty((op.DEPTH_MAX, 2), dtype=np.int64)
    for i in range(starts.shape[0]):
        at, end = starts[i], ends[i]
        byte_of_bit, bit = i >> 3, np.uint8(1 << (i & 7))
        pc, depth = 0, 0
        fuel = op.CALLS_A_BYTE * (end - at) + len(program)
        if at > end:
            at = -ENDS_EARLY
        while at >= 0:  # a negative place is an error code
            if program[pc, op.OPTIONAL] != 0:
                if at >= end:
                    at = -ENDS_EARLY
                    break
                branch = load_byte(data, at)
                if branch < 128:
                    at += 1
                else:
                    long_branch, at = read_unsigned_checked(data, at, end)
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
                    at = skip_checked(data, at, end)
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
                    raw, at = read_unsigned_checked(data, at, end)
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
                        at = skip_checked(data, at, end)
                    else:
                        size, at = read_length(data, at, end)
                        at = at + size
                    if at < 0:
                        break
                pc += 1
            elif code == op.READ_LONG:
                raw, at = read_unsigned_checked(data, at, end)
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
                raw, at = read_unsigned_checked(data, at, end)
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
                raw, at = read_unsigned_checked(data, at, end)
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
                fuel -= 1
                if depth == op.DEPTH_MAX or fuel < 0:
                    at = -TOO_DEEP if fuel >= 0 else -TOO_MUCH
                    break
                stack[depth, 0] = pc + 1
                depth += 1
                pc = a
            elif code == op.RETURN:
                depth -= 1
                pc = stack[depth, 0]
            elif code == op.UNION:
                raw, at = read_unsigned_checked(data, at, end)
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
                raw, at = read_unsigned_checked(data, at, end)
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
                if count < 0 or count > end - at:  # an item takes at least a byte
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
