"""Compare recomputed profiles with the stored ones, and write those that differ. Hot path, one kernel.

The encoding is that of `model.stored_profile`: revision, due day and state (17 bytes), then the Avro body, in which the
revision follows the id. A body of an older version always differs: it is written again, by today's version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from nurt.columnar.memory import are_equal, copy_bytes, peek_byte, poke_byte
from nurt.columnar.types import ID_TEXT_BYTES, Bools, Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES, Values
from nurt.columnar.varint import poke_zigzag, skip_within
from nurt.model.stored_profile import ERASED, HEAD_BYTES, LIVE, REDIRECT, state_byte
from nurt.state.packing import DAMAGED, TOO_NEW, unreadable


@dataclass(frozen=True, slots=True)
class ProfileBodies:
    """Profiles as recomputed.

    Attributes:
        state: LIVE, REDIRECT or ERASED.
        due: the next day on which the clock changes the profile; -1: none.
        starts, stops: where the profile's body lies, written with revision 0; empty when erased.
        joined: all bodies.
    """

    state: Int64s
    due: Int64s
    starts: Int64s
    stops: Int64s
    joined: Bytes


@dataclass(frozen=True, slots=True)
class Compared:
    """Results of a comparison.

    Attributes:
        revision: of each profile: the given one where the profile changed, else the stored one.
        changed: where a new value must be stored.
        known: where a value was stored.
        due: the stored due day; -1 where there was none.
        values: new values; absent where nothing changed.
    """

    revision: Int64s
    changed: Bools
    known: Bools
    due: Int64s
    values: Values


def compare_kept(bodies: ProfileBodies, kept: Values, revision: int, again: bool = False, version: int = 1) -> Compared:
    """Find the profiles that differ from the stored ones; an erased one that was never stored counts only if `again`.

    Args:
        bodies: as recomputed.
        kept: the stored values.
        revision: of changed profiles.
        again: everything counts as changed.
        version: the contract version of the bodies.

    Raises:
        StateTooNew: a later version stored a body.
    """
    rows = len(kept)
    room_bytes = len(bodies.joined) + rows * (HEAD_BYTES + _VARINT_BYTES) + PADDING_BYTES
    out: Any = np.frombuffer(pa.allocate_buffer(room_bytes), dtype=np.uint8)  # Arrow's pool keeps its pages
    ends = np.zeros(rows + 1, dtype=np.int64)
    changed = np.zeros(rows, dtype=np.bool_)
    revisions = np.full(rows, revision, dtype=np.int64)
    due = np.full(rows, -1, dtype=np.int64)
    newest = state_byte(REDIRECT, version)
    new = _state_bytes(bodies.state, version), bodies.due, bodies.starts, bodies.stops, bodies.joined
    code = _compare(*new, kept.body, kept.cuts, newest, revision, again, out, ends, changed, revisions, due)
    if code < 0:
        raise unreadable(code, "profiles")
    return Compared(revisions, changed, kept.there, due, Values(out, ends))


def _state_bytes(states: Int64s, version: int) -> Int64s:
    if version == 1:
        return states
    known = np.array([state_byte(state, version) for state in (LIVE, REDIRECT, ERASED)], dtype=np.int64)
    written: Int64s = known[states]
    return written


_VARINT_BYTES = 10


@numba.njit(nogil=True, cache=True)
def _get_word(at):  # type: ignore[no-untyped-def]
    """Read a number of 8 bytes, the highest first, at an address."""
    word = np.uint64(0)
    for i in range(8):
        word = word << np.uint64(8) | np.uint64(peek_byte(at + i))
    return np.int64(word)


@numba.njit(nogil=True, cache=True)
def _put_word(at: int, number: int) -> None:
    """Write a number in 8 bytes, the highest first, at an address."""
    for i in range(8):
        poke_byte(at + i, number >> (8 * (7 - i)) & 255)


@numba.njit(nogil=True, cache=True)
def _is_same(start: int, stop: int, at: int, end: int) -> bool:
    """Return whether the body from address `start` to `stop` equals the stored one from `at` to `end`.

    The revisions of the two bodies are ignored.
    """
    if start == stop or at == end:
        return start == stop and at == end
    if end - at <= ID_TEXT_BYTES or not are_equal(start, at, ID_TEXT_BYTES):
        return False
    at += ID_TEXT_BYTES
    at = skip_within(at, end)
    start += ID_TEXT_BYTES + 1
    return stop - start == end - at and are_equal(start, at, stop - start)


@numba.njit(nogil=True, cache=True)
def _compare(
    state: Int64s, due: Int64s, starts: Int64s, stops: Int64s, body: Bytes, kept: Bytes, cuts: Int64s,
    newest: int, revision: int, again: bool,
    out: Bytes, ends: Int64s, changed: Bools, revisions: Int64s, before_due: Int64s,
) -> int:  # fmt: skip
    """Compare profiles with the stored ones, and write those that differ.

    state          (n,)    int64   state byte of each
    due            (n,)    int64   days since 1970-01-01; -1: none
    starts, stops  (n,)    int64   the Avro body is body[starts:stops], with revision 0
    kept           (b,)    uint8   stored head and Avro body of i: kept[cuts[i]:cuts[i+1]]; empty: nothing is stored
    newest         scalar  int64   the largest state byte that this version writes
    revision       scalar  int64   of changed profiles
    again          scalar  bool    all count as changed
    out            (m,)    uint8   written; room for all new bodies, heads and revisions
    ends           (n+1,)  int64   written: the new value of i is out[ends[i]:ends[i+1]]
    changed        (n,)    bool    written; False before
    revisions      (n,)    int64   written where a value is stored and unchanged: its revision
    before_due     (n,)    int64   written where a value is stored: its due day
    Returns 0; or a negative number: TOO_NEW: a state byte is of an unknown version; or DAMAGED: a value is too short.
    (No tuples: with them a call took a fifth longer.)
    """
    new, old, begin = np.int64(body.ctypes.data), np.int64(kept.ctypes.data), np.int64(out.ctypes.data)
    to = begin
    for row in range(len(state)):
        at, end = old + cuts[row], old + cuts[row + 1]
        start, stop = new + starts[row], new + stops[row]
        known = at < end
        same = False
        if known:
            if end - at < HEAD_BYTES:
                return DAMAGED
            if peek_byte(at + 16) > max(newest, ERASED):
                return TOO_NEW
            revisions[row] = _get_word(at)
            before_due[row] = _get_word(at + 8)
            same = before_due[row] == due[row] and peek_byte(at + 16) == state[row]
            same = same and _is_same(start, stop, at + HEAD_BYTES, end)
        if again or not (same or (not known and state[row] == ERASED)):
            changed[row] = True
            revisions[row] = revision
            _put_word(to, revision)
            _put_word(to + 8, due[row])
            poke_byte(to + 16, state[row])
            to += HEAD_BYTES
            if start < stop:
                copy_bytes(to, start, ID_TEXT_BYTES)
                to = poke_zigzag(to + ID_TEXT_BYTES, revision)
                start += ID_TEXT_BYTES + 1
                copy_bytes(to, start, stop - start)
                to += stop - start
        ends[row + 1] = to - begin
    return 0
