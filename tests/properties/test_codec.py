"""Numbers in bytes: every form has one writer, and what it writes is read again."""

from __future__ import annotations

import io

import fastavro
import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nurt.columnar import digits, varint

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
EDGES = (0, 1, -1, 9, 10, -10, 63, 64, -64, -65, 127, 128, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))
BEHIND = 0xEE
"""What lies behind a number, and must stay."""


def room(size: int) -> npt.NDArray[np.uint8]:
    return np.full(size + 8, BEHIND, dtype=np.uint8)


def as_avro(number: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    return out.getvalue()


@numba.njit
def write_both_ways(number, out, other):  # type: ignore[no-untyped-def]
    return varint.put_zigzag(out, 0, number), varint.poke_zigzag(other.ctypes.data, number) - other.ctypes.data


@numba.njit
def write_unsigned(number, out):  # type: ignore[no-untyped-def]
    return varint.put_unsigned(out, 0, number)


@numba.njit
def read_all_ways(body):  # type: ignore[no-untyped-def]
    address = body.ctypes.data
    unsigned, after = varint.get_unsigned(body, 0)
    signed, after_signed = varint.get_zigzag(body, 0)
    peeked, after_peeked = varint.peek_unsigned(address)
    within, after_within = varint.peek_within(address, address + len(body) - 8)
    checked, after_checked = varint.read_unsigned_checked(body, 0, len(body) - 8)
    return (
        (unsigned, peeked, within, checked, signed),
        (after, after_signed, after_peeked - address, after_within - address, after_checked,
         varint.skip_within(address, address + len(body) - 8) - address, varint.skip_checked(body, 0, len(body) - 8)),
    )  # fmt: skip


@numba.njit
def write_digits(number, out, other):  # type: ignore[no-untyped-def]
    size = digits.decimal_size(number)
    digits.poke_decimal(other.ctypes.data, number, size)
    return digits.put_decimal(out, 0, number), size


@numba.njit
def write_padded(number, size, out):  # type: ignore[no-untyped-def]
    digits.poke_padded(out.ctypes.data, number, size)


def edges(test):  # type: ignore[no-untyped-def]
    for number in EDGES:
        test = example(number)(test)
    return test


@edges
@given(INT64)
def test_a_signed_number_is_written_as_avro_writes_it(number: int) -> None:
    wanted = as_avro(number)
    out, other = room(varint.VARINT_BYTES_MAX), room(varint.VARINT_BYTES_MAX)
    assert write_both_ways(np.int64(number), out, other) == (len(wanted), len(wanted))
    assert out.tobytes() == wanted.ljust(len(out), bytes([BEHIND]))
    assert other.tobytes() == out.tobytes()
    assert varint.zigzag_bytes(number) == wanted
    assert read_all_ways(np.frombuffer(wanted + bytes(8), dtype=np.uint8))[0][4] == number


@given(UINT64)
@example(2**64 - 1)
def test_an_unsigned_number_is_read_as_it_was_written(number: int) -> None:
    out = room(varint.VARINT_BYTES_MAX)
    end = write_unsigned(np.uint64(number), out)
    assert (out[end:] == BEHIND).all()
    numbers, ends = read_all_ways(np.append(out[:end], np.zeros(8, dtype=np.uint8)))
    assert [int(one) for one in numbers[:4]] == [number] * 4
    assert set(ends) == {end}


def test_an_unsigned_and_a_signed_number_are_not_the_same_bytes() -> None:
    out, other = room(varint.VARINT_BYTES_MAX), room(varint.VARINT_BYTES_MAX)
    write_unsigned(5, out)
    write_both_ways(5, other, room(varint.VARINT_BYTES_MAX))
    assert (out[0], other[0]) == (5, 10)


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (b"", varint.ENDS_EARLY),
        (b"\x80", varint.ENDS_EARLY),
        (b"\xff" * 8, varint.ENDS_EARLY),
        (b"\xff" * 9, varint.ENDS_EARLY),
        (b"\xff" * 9 + b"\x02", varint.TOO_LONG),
        (b"\xff" * 12, varint.TOO_LONG),
    ],
)
def test_unchecked_bytes_that_are_no_number_are_a_flaw(body: bytes, flaw: int) -> None:
    padded = np.frombuffer(body + b"\x01" * 8, dtype=np.uint8)
    assert varint.read_unsigned_checked(padded, 0, len(body)) == (0, -flaw)
    assert varint.skip_checked(padded, 0, len(body)) == -flaw


@pytest.mark.parametrize("body", [b"", b"\x80", b"\xff" * 9, b"\xff" * 12])
def test_a_stored_number_that_does_not_end_in_time_ends_one_behind_the_end(body: bytes) -> None:
    padded = np.frombuffer(body + b"\x01" * 8, dtype=np.uint8)
    address = padded.ctypes.data
    end = address + len(body)
    assert varint.peek_within(address, end) == (0, end + 1)
    assert varint.peek_within(end + 1, end) == (0, end + 1)
    assert varint.skip_within(address, end) == end + 1
    assert varint.pass_text(np.uint64(len(body) + 1), address, end) == end + 1
    assert varint.pass_text(np.uint64(2**63), address, end) == end + 1
    assert varint.pass_text(np.uint64(0), end + 1, end) == end + 1
    assert varint.pass_text(np.uint64(len(body)), address, end) == end


@edges
@given(INT64)
def test_a_number_is_written_in_digits_as_python_writes_it(number: int) -> None:
    wanted = str(number).encode()
    assert len(wanted) <= digits.DECIMAL_BYTES_MAX
    out, other = room(digits.DECIMAL_BYTES_MAX), room(digits.DECIMAL_BYTES_MAX)
    assert write_digits(np.int64(number), out, other) == (len(wanted), len(wanted))
    assert out.tobytes() == wanted.ljust(len(out), bytes([BEHIND]))
    assert other.tobytes() == out.tobytes()


@given(st.integers(0, 10**6), st.integers(1, 7))
def test_padded_digits_are_the_last_ones(number: int, size: int) -> None:
    out = room(size)
    write_padded(number, size, out)
    assert out.tobytes() == f"{number:0{size}}"[-size:].encode().ljust(len(out), bytes([BEHIND]))
