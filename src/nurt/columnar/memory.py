"""Load, store, copy and compare bytes at any alignment from compiled loops: numba's indexing cannot express that.

The caller has checked bounds. Loads reach up to 7 bytes beyond the requested bytes, so readable buffers carry
`nurt.columnar.values.PADDING_BYTES` behind their last message.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE, _HALF, _WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _at(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """Point at byte `at` of an array of bytes."""
    view = context.make_array(array_type)(context, builder, value=array)
    return builder.gep(view.data, [at])


@intrinsic
def load_byte(typingctx, array, at):  # type: ignore[no-untyped-def]
    """Read `array[at]` (uint8) as int64, without numba's handling of negative indices."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _at(context, builder, signature.args[0], *arguments)
        return builder.zext(builder.load(pointer), _WORD)

    return types.int64(array, types.int64), codegen


@intrinsic
def load_word(typingctx, array, at):  # type: ignore[no-untyped-def]
    """Read the 8 bytes from `array[at]` (uint8) on as one little-endian uint64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _at(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(pointer, _WORD.as_pointer()), align=1)

    return types.uint64(array, types.int64), codegen


@intrinsic
def load_float_as_word(typingctx, array, at):  # type: ignore[no-untyped-def]
    """Read 4 bytes at `array[at]` (uint8) as a float32 and give the bits of the same number as a float64: uint64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _at(context, builder, signature.args[0], *arguments)
        single = builder.load(builder.bitcast(pointer, ir.FloatType().as_pointer()), align=1)
        return builder.bitcast(builder.fpext(single, ir.DoubleType()), _WORD)

    return types.uint64(array, types.int64), codegen


@intrinsic
def trailing_zeros(typingctx, word):  # type: ignore[no-untyped-def]
    """Count the zero bits (int64) below the lowest set bit of a uint64 that is not 0."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


def _pointer(builder: Any, address: Any, to: Any) -> Any:
    return builder.inttoptr(address, to.as_pointer())


@intrinsic
def peek_byte(typingctx, address):  # type: ignore[no-untyped-def]
    """Read the byte at an address (int64) as int64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.zext(builder.load(_pointer(builder, arguments[0], _BYTE)), _WORD)

    return types.int64(types.int64), codegen


@intrinsic
def peek_half(typingctx, address):  # type: ignore[no-untyped-def]
    """Read the 4 bytes at an address (int64) as one little-endian number without sign: int64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.zext(builder.load(_pointer(builder, arguments[0], _HALF), align=1), _WORD)

    return types.int64(types.int64), codegen


@intrinsic
def peek_word(typingctx, address):  # type: ignore[no-untyped-def]
    """Read the 8 bytes at an address (int64) as one little-endian uint64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_pointer(builder, arguments[0], _WORD), align=1)

    return types.uint64(types.int64), codegen


@intrinsic
def poke_byte(typingctx, address, byte):  # type: ignore[no-untyped-def]
    """Write the lowest byte of an int64 to an address (int64)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(builder.trunc(arguments[1], _BYTE), _pointer(builder, arguments[0], _BYTE))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def poke_word(typingctx, address, word):  # type: ignore[no-untyped-def]
    """Write the 8 bytes of a uint64 to an address (int64), little-endian."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[1], _pointer(builder, arguments[0], _WORD), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), codegen


@intrinsic
def poke_half(typingctx, address, half):  # type: ignore[no-untyped-def]
    """Write the lowest 4 bytes of an int64 to an address (int64), little-endian."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(builder.trunc(arguments[1], _HALF), _pointer(builder, arguments[0], _HALF), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def copy_bytes(typingctx, to, source, size_bytes):  # type: ignore[no-untyped-def]
    """Copy so many bytes (int64) from one address to another (int64); they do not overlap."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, source, size_bytes = arguments
        cgutils.raw_memcpy(
            builder, _pointer(builder, target, _BYTE), _pointer(builder, source, _BYTE), size_bytes, 1, align=1
        )
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@numba.njit(nogil=True, cache=True)
def compare_texts(a: int, a_size: int, b: int, b_size: int) -> int:
    """Order two texts at addresses by their bytes, the order of their characters; sizes in bytes.

    Returns a negative number where a comes before b, 0 where they are equal, else a positive one.
    """
    for i in range(min(a_size, b_size)):
        one, other = peek_byte(a + i), peek_byte(b + i)
        if one != other:
            return one - other
    return a_size - b_size


@numba.njit(nogil=True, cache=True)
def are_equal(a: int, b: int, size: int) -> bool:
    """Return whether `size` bytes at two addresses are equal, eight at a time; nothing behind them is read."""
    i = 0
    while i + 8 <= size:
        if peek_word(a + i) != peek_word(b + i):
            return False
        i += 8
    while i < size:
        if peek_byte(a + i) != peek_byte(b + i):
            return False
        i += 1
    return True
