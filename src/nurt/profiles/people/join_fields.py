"""Join the fields of addresses to one text, by which equal ones are known. For kernels.

Between fields stands U+001F; a field that is not null begins with `=`. Within a field U+001F becomes a space.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import peek_byte, poke_byte
from nurt.columnar.types import Bools, Bytes, Int64s

BETWEEN, THERE, _SPACE = ord("\x1f"), ord("="), ord(" ")


@numba.njit(nogil=True, cache=True)
def put_field(to: int, is_there: bool, text: int, size: int, is_first: bool) -> int:
    """Write a field at the address `to`; `text` and `size` are its address and bytes. Returns the address behind it."""
    if not is_first:
        poke_byte(to, BETWEEN)
        to += 1
    if is_there:
        poke_byte(to, THERE)
        to += 1
        for i in range(size):
            letter = peek_byte(text + i)
            poke_byte(to + i, _SPACE if letter == BETWEEN else letter)
        to += size
    return to


@numba.njit(nogil=True, cache=True)
def join_fields(present: Bools, starts: Int64s, stops: Int64s, body: Bytes, out: Bytes, ends: Int64s) -> None:
    """Join the fields of many addresses.

    present        (f, n)  bool   by field and address; False: null
    starts, stops  (f, n)  int64  text is body[starts:stops]
    body           (b,)    uint8  texts
    out            (m,)    uint8  written; room for the texts and two bytes a field
    ends           (n+1,)  int64  written: address i is out[ends[i]:ends[i+1]]
    """
    begin, base = np.int64(out.ctypes.data), np.int64(body.ctypes.data)
    to = begin
    for row in range(present.shape[1]):
        for field in range(len(present)):
            size = stops[field, row] - starts[field, row]
            to = put_field(to, present[field, row], base + starts[field, row], size, field == 0)
        ends[row + 1] = to - begin
