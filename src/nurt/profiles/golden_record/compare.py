"""Compare recomputed profiles with what is kept of them, and write what differs anew. Hot path, one kernel.

The encoding is that of `model.stored_profile`: revision, due day and state (17 bytes), then the Avro body, in which the
revision follows the id. A body of an older version is never the same: it is written anew, by the version of today.
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
from nurt.columnar.varint import poke_zigzag, skip_at
from nurt.model.stored_profile import ERASED, HEAD_BYTES, LIVE, REDIRECT, state_byte
from nurt.state.cells import too_new


@dataclass(frozen=True, slots=True)
class Bodies:
    """Profiles as recomputed.

    Attributes:
        state: LIVE, REDIRECT or ERASED.
        due: the next day that the clock changes it; -1: none.
        starts, stops: where its body lies, written with revision 0; empty when erased.
        joined: all bodies.
    """

    state: Int64s
    due: Int64s
    starts: Int64s
    stops: Int64s
    joined: Bytes


@dataclass(frozen=True, slots=True)
class Compared:
    """What is to be kept.

    Attributes:
        revision: of each profile: the given one where it changed, else the kept one.
        changed: where a new value is to be stored.
        known: where one was kept.
        due: the day that was kept; -1 where there was none.
        values: what is to be stored; absent where nothing changed.
    """

    revision: Int64s
    changed: Bools
    known: Bools
    due: Int64s
    values: Values


def compare_kept(bodies: Bodies, kept: Values, revision: int, anew: bool = False, version: int = 1) -> Compared:
    """Find the profiles that are not as kept; one that is erased and was never kept does not count, unless `anew`.

    Args:
        bodies: as recomputed.
        kept: what is stored of each.
        revision: that changed ones get.
        anew: everything counts as changed.
        version: of the contract that bodies are written by.

    Raises:
        StateTooNew: a body was kept by a later version.
    """
    rows = len(kept)
    before, cuts = kept.body, kept.cuts
    room_bytes = len(bodies.joined) + rows * (HEAD_BYTES + _VARINT_BYTES) + PADDING_BYTES
    out: Any = np.frombuffer(pa.allocate_buffer(room_bytes), dtype=np.uint8)  # Arrow's pool keeps its pages
    ends = np.zeros(rows + 1, dtype=np.int64)
    changed = np.zeros(rows, dtype=np.bool_)
    revisions = np.full(rows, revision, dtype=np.int64)
    due = np.full(rows, -1, dtype=np.int64)
    newest = state_byte(REDIRECT, version)
    new = _state_bytes(bodies.state, version), bodies.due, bodies.starts, bodies.stops, bodies.joined
    if not _compare(*new, before, cuts, newest, revision, anew, out, ends, changed, revisions, due):
        raise too_new("profiles")
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
    word = np.uint64(0)
    for i in range(8):
        word = word << np.uint64(8) | np.uint64(peek_byte(at + i))
    return np.int64(word)


@numba.njit(nogil=True, cache=True)
def _put_word(at, number):  # type: ignore[no-untyped-def]
    for i in range(8):
        poke_byte(at + i, number >> (8 * (7 - i)) & 255)


@numba.njit(nogil=True, cache=True)
def _is_same(start, stop, at, end):  # type: ignore[no-untyped-def]
    """Say whether a body says what a kept one does, whatever the kept one's revision is."""
    if start == stop or at == end:
        return start == stop and at == end
    if not are_equal(start, at, ID_TEXT_BYTES):
        return False
    at += ID_TEXT_BYTES
    at = skip_at(at)
    start += ID_TEXT_BYTES + 1
    return stop - start == end - at and are_equal(start, at, stop - start)


@numba.njit(nogil=True, cache=True)
def _compare(  # type: ignore[no-untyped-def]
    state, due, starts, stops, body, kept, cuts, newest, revision, anew, out, ends, changed, revisions, before_due
):
    """Compare row by row; says whether it knows all versions that it found. `state`, `newest`: state bytes."""
    new, old, begin = np.int64(body.ctypes.data), np.int64(kept.ctypes.data), np.int64(out.ctypes.data)
    to = begin
    for row in range(len(state)):
        at, end = old + cuts[row], old + cuts[row + 1]
        start, stop = new + starts[row], new + stops[row]
        known = at < end
        same = False
        if known:
            if peek_byte(at + 16) > max(newest, ERASED):
                return False
            revisions[row] = _get_word(at)
            before_due[row] = _get_word(at + 8)
            same = before_due[row] == due[row] and peek_byte(at + 16) == state[row]
            same = same and _is_same(start, stop, at + HEAD_BYTES, end)
        if anew or not (same or (not known and state[row] == ERASED)):
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
    return True
