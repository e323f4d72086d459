"""Read values of the identity graph, a whole batch at a time: what profiles hold, and in which one accounts are.

Hot path; what links meet, change or go is plain Python in `identity.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.memory import compare_texts, peek_word
from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import Values
from nurt.profiles.identity.links import Joined
from nurt.profiles.identity.resolve import HELD, MEMBER, MEMBERS, MEMBERSHIPS
from nurt.state.cells import NO_ROOM, cells_of, has, read_rows, text_mask, too_new
from nurt.state.table import VERSION

_MEMBERS = len(MEMBERS.columns), text_mask(MEMBERS)
_MEMBERSHIPS = len(MEMBERSHIPS.columns), text_mask(MEMBERSHIPS)
_ROW_BYTES_MIN = 19
"""A member's row has a bitmap, a part and an id with its length."""


@dataclass(frozen=True, slots=True)
class Members:
    """What some profiles hold.

    Attributes:
        live: indices of the profiles that hold accounts.
        firsts: where the accounts of each live one begin in `accounts` (n + 1).
        accounts: ids of the accounts.
        gone: indices of the profiles that went into others.
        heirs: ids of those others.
    """

    live: Int64s
    firsts: Int64s
    accounts: Words
    gone: Int64s
    heirs: list[bytes]


def read_members(values: Values) -> Members:
    """Read what profiles hold, from values of MEMBERS by profile.

    Raises StateTooNew when a value was written by a later version.
    """
    body, cuts = values.body, values.cuts
    rows_max = values.size_bytes // _ROW_BYTES_MIN + 1
    live, firsts = np.empty(len(values), dtype=np.int64), np.zeros(len(values) + 1, dtype=np.int64)
    gone = np.empty(len(values), dtype=np.int64)
    accounts, heirs = np.empty((rows_max, 2), dtype=np.uint64), np.empty((len(values), 2), np.uint64)
    lived, went = _read_members(body, cuts, *_MEMBERS, live, firsts, accounts, gone, heirs)
    if lived < 0:
        raise too_new("members of profiles")
    firsts = firsts[: lived + 1]
    return Members(live[:lived], firsts, accounts[: firsts[-1]], gone[:went], id_list(heirs[:went]))


@numba.njit(nogil=True, cache=True)
def copy_id(ids, place, address):  # type: ignore[no-untyped-def]
    """Copy the id at an address into a row of (n, 2) words."""
    ids[place, 0], ids[place, 1] = peek_word(address), peek_word(address + 8)


@numba.njit(nogil=True, cache=True)
def _read_members(body, cuts, columns, texts, live, firsts, accounts, gone, heirs):  # type: ignore[no-untyped-def]
    base = np.int64(body.ctypes.data)
    cells = cells_of(len(accounts), columns)
    lived, went, held = 0, 0, 0
    for value in range(len(cuts) - 1):
        rows = read_rows(base + cuts[value], base + cuts[value + 1], VERSION, columns, texts, cells, 0)
        if rows < 0:
            return -1, 0
        before = held
        for row in range(rows):
            at = cells[row, 1]
            if cells[row, 0] == HELD:
                copy_id(accounts, held, at)
                held += 1
            else:
                copy_id(heirs, went, at)
                gone[went] = value
        if held > before:
            live[lived] = value
            lived += 1
            firsts[lived] = held
        elif rows > 0:
            went += 1
    return lived, went


@dataclass(frozen=True, slots=True)
class Own:
    """In which profile touched accounts are.

    Attributes:
        profiles: ids of the profiles that some of them are in, each once.
        is_changed: by account: its links are not those stored.
        is_new: by account: it is there, and nothing is stored of it.
    """

    profiles: Words
    is_changed: Bools
    is_new: Bools


def read_own(values: Values, links: Joined) -> Own:
    """Compare what is stored of accounts with what is said of their links.

    Args:
        values: of MEMBERSHIPS, by account.
        links: by account; None: it is no more.

    Raises:
        StateTooNew: a value was written by a later version.
    """
    body, cuts = values.body, values.cuts
    changed = links.known.copy()
    profiles = np.empty((len(values), 2), dtype=np.uint64)
    found = _read_own(body, cuts, *_MEMBERSHIPS, links.body, links.cuts, links.known, profiles, changed)
    if found < 0:
        raise too_new("memberships")
    profiles = profiles[distinct(profiles[:found])[1]]
    return Own(profiles, changed, ~values.there & links.known)


_PART, _PROFILE, _LINKS = (list(MEMBERSHIPS.columns).index(name) for name in ("part", "profile", "links"))


@numba.njit(nogil=True, cache=True)
def _read_own(body, cuts, columns, texts, said, said_cuts, known, profiles, changed):  # type: ignore[no-untyped-def]
    base, links = np.int64(body.ctypes.data), np.int64(said.ctypes.data)
    cells = cells_of(8, columns)
    found = 0
    for value in range(len(cuts) - 1):
        start, stop = base + cuts[value], base + cuts[value + 1]
        rows = read_rows(start, stop, VERSION, columns, texts, cells, 0)
        if rows == NO_ROOM:
            cells = cells_of(stop - start, columns)
            rows = read_rows(start, stop, VERSION, columns, texts, cells, 0)
        if rows < 0:
            return -1
        for row in range(rows):
            if cells[row, _PART] != MEMBER:
                continue
            copy_id(profiles, found, cells[row, _PROFILE])
            found += 1
            at, size = said_cuts[value], said_cuts[value + 1] - said_cuts[value]
            has_links = has(cells, row, columns, _LINKS)
            same = has_links == known[value] and size == cells[row, columns + _LINKS]
            changed[value] = not same or compare_texts(cells[row, _LINKS], size, links + at, size) != 0
    return found
