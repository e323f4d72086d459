"""Compare recomputed profiles with what is kept of them, and write what differs anew. Hot path, one kernel.

The encoding is that of `model.kept_profile`: revision, due day and state (17 bytes), then the Avro body, in which the
revision follows the id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nurt.core.packing import Bools, Bytes, Int64s, put_varint
from nurt.core.tables import join_values
from nurt.model.kept_profile import ERASED, HEAD_BYTES, ID_BYTES


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
        values: what is to be stored of the changed ones, in order.
    """

    revision: Int64s
    changed: Bools
    known: Bools
    due: Int64s
    values: list[bytes]


def compare_kept(bodies: Bodies, kept: Sequence[bytes | None], revision: int, anew: bool = False) -> Compared:
    """Find the profiles that are not as kept; one that is erased and was never kept does not count, unless `anew`.

    Args:
        bodies: as recomputed.
        kept: what is stored of each.
        revision: that changed ones get.
        anew: everything counts as changed.
    """
    rows = len(kept)
    before, cuts = join_values(kept)
    room_bytes = int((bodies.stops - bodies.starts).sum()) + rows * (HEAD_BYTES + _VARINT_BYTES)
    out = np.empty(room_bytes, dtype=np.uint8)
    ends = np.zeros(rows + 1, dtype=np.int64)
    changed = np.zeros(rows, dtype=np.bool_)
    revisions = np.full(rows, revision, dtype=np.int64)
    due = np.full(rows, -1, dtype=np.int64)
    new = bodies.state, bodies.due, bodies.starts, bodies.stops, bodies.joined
    _compare(*new, before, cuts, revision, anew, out, ends, changed, revisions, due)
    whole = out[: ends[-1]].tobytes()
    limits = zip(ends[:-1][changed].tolist(), ends[1:][changed].tolist(), strict=True)
    return Compared(revisions, changed, cuts[1:] > cuts[:-1], due, [whole[start:stop] for start, stop in limits])


_VARINT_BYTES = 10


@numba.njit(nogil=True, cache=True)
def _get_word(body, at):  # type: ignore[no-untyped-def]
    word = np.uint64(0)
    for i in range(8):
        word = word << np.uint64(8) | np.uint64(body[at + i])
    return np.int64(word)


@numba.njit(nogil=True, cache=True)
def _put_word(out, at, number):  # type: ignore[no-untyped-def]
    for i in range(8):
        out[at + i] = np.uint8(number >> (8 * (7 - i)) & 255)


@numba.njit(nogil=True, cache=True)
def _is_same(body, start, stop, kept, at, end):  # type: ignore[no-untyped-def]
    """Say whether a body says what a kept one does, whatever the kept one's revision is."""
    if start == stop or at == end:
        return start == stop and at == end
    for i in range(ID_BYTES):
        if body[start + i] != kept[at + i]:
            return False
    at += ID_BYTES
    while kept[at] >= 128:
        at += 1
    at += 1
    start += ID_BYTES + 1
    if stop - start != end - at:
        return False
    for i in range(stop - start):  # noqa: SIM110 - a compiled loop
        if body[start + i] != kept[at + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _compare(  # type: ignore[no-untyped-def]
    state, due, starts, stops, body, kept, cuts, revision, anew, out, ends, changed, revisions, before_due
):
    to = 0
    for row in range(len(state)):
        at, end = cuts[row], cuts[row + 1]
        known = at < end
        same = False
        if known:
            revisions[row] = _get_word(kept, at)
            before_due[row] = _get_word(kept, at + 8)
            same = before_due[row] == due[row] and kept[at + 16] == state[row]
            same = same and _is_same(body, starts[row], stops[row], kept, at + HEAD_BYTES, end)
        if anew or not (same or (not known and state[row] == ERASED)):
            changed[row] = True
            revisions[row] = revision
            _put_word(out, to, revision)
            _put_word(out, to + 8, due[row])
            out[to + 16] = state[row]
            to += HEAD_BYTES
            start, stop = starts[row], stops[row]
            if start < stop:
                for i in range(ID_BYTES):
                    out[to + i] = body[start + i]
                to = put_varint(out, to + ID_BYTES, (revision << 1) ^ (revision >> 63))
                start += ID_BYTES + 1
                for i in range(stop - start):
                    out[to + i] = body[start + i]
                to += stop - start
        ends[row + 1] = to
