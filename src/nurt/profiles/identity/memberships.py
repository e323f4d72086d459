"""Read values of the identity graph, a whole batch at a time: the accounts of profiles, and the profiles of accounts.

Hot path; where links meet, change or go, plain Python decides (`resolve.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.memory import compare_texts, peek_word
from nurt.columnar.types import ID_BYTES, Bools, Bytes, Int64s, Words
from nurt.columnar.values import Values
from nurt.profiles.identity.links import JoinedLinks
from nurt.profiles.identity.resolve import MEMBER, MEMBER_PART, MEMBERS, MEMBERSHIPS
from nurt.state.cells import NO_ROOM, cells_of, has, id_mask, read_rows, text_mask
from nurt.state.packing import DAMAGED, unreadable
from nurt.state.table import VERSION

_MEMBERS = len(MEMBERS.columns), text_mask(MEMBERS), id_mask(MEMBERS)
_MEMBERSHIPS = len(MEMBERSHIPS.columns), text_mask(MEMBERSHIPS), id_mask(MEMBERSHIPS)
_ROW_BYTES_MIN = 19
"""A member's row has a bitmap, a part and an id with its length."""


@dataclass(frozen=True, slots=True)
class Members:
    """Accounts and survivors of some profiles.

    Attributes:
        live: indices of the profiles that hold accounts.
        firsts: where the accounts of each live profile begin in `accounts` (n + 1).
        accounts: ids of the accounts.
        gone: indices of the merged profiles.
        survivors: ids of their survivors.
    """

    live: Int64s
    firsts: Int64s
    accounts: Words
    gone: Int64s
    survivors: list[bytes]


def read_members(values: Values) -> Members:
    """Read accounts and survivors of profiles, from values of MEMBERS by profile.

    Raises StateTooNew when a value was written by a later version.
    """
    body, cuts = values.body, values.cuts
    rows_max = values.size_bytes // _ROW_BYTES_MIN + 1
    live, firsts = np.empty(len(values), dtype=np.int64), np.zeros(len(values) + 1, dtype=np.int64)
    gone = np.empty(len(values), dtype=np.int64)
    accounts, survivors = np.empty((rows_max, 2), dtype=np.uint64), np.empty((len(values), 2), np.uint64)
    lived, went = _read_members(body, cuts, *_MEMBERS, live, firsts, accounts, gone, survivors)
    if lived < 0:
        raise unreadable(lived, "members of profiles")
    firsts = firsts[: lived + 1]
    return Members(live[:lived], firsts, accounts[: firsts[-1]], gone[:went], id_list(survivors[:went]))


@numba.njit(nogil=True, cache=True)
def copy_id(ids: Words, place: int, address: int) -> None:
    """Copy the 16 bytes of the id at an address into row `place` of ids (n, 2), in the order of memory."""
    ids[place, 0], ids[place, 1] = peek_word(address), peek_word(address + 8)


@numba.njit(nogil=True, cache=True)
def _read_members(
    body: Bytes,
    cuts: Int64s,
    columns: int,
    texts: int,
    ids: int,
    live: Int64s,
    firsts: Int64s,
    accounts: Words,
    gone: Int64s,
    survivors: Words,
) -> tuple[int, int]:
    """Read accounts and survivors of profiles.

    body      (b,)    uint8   values of MEMBERS
    cuts      (n+1,)  int64   value i is body[cuts[i]:cuts[i+1]]
    columns, texts, ids  int64  how many columns MEMBERS has, bits of its text columns and of its ids
    live      (n,)    int64   written: profiles that hold accounts
    firsts    (n+1,)  int64   written: where those of each live profile begin in `accounts`; 0 before
    accounts  (r, 2)  uint64  written: ids; room for every row
    gone      (n,)    int64   written: merged profiles
    survivors (n, 2)  uint64  written: ids of their survivors
    Returns how many are live and how many are gone; the first is a negative number of `read_rows`, or DAMAGED, when a
    value cannot be read.
    """
    base = np.int64(body.ctypes.data)
    cells = cells_of(len(accounts), columns)
    lived, went, count = 0, 0, 0
    for value in range(len(cuts) - 1):
        rows = read_rows(base + cuts[value], base + cuts[value + 1], VERSION, columns, texts, ids, cells, 0)
        if rows < 0:
            return (DAMAGED if rows == NO_ROOM else rows), 0
        before = count
        for row in range(rows):
            at = cells[row, 1]
            is_member = cells[row, 0] == MEMBER_PART
            if cells[row, columns + 1] != ID_BYTES or (is_member and count == len(accounts)):
                return DAMAGED, 0
            if is_member:
                copy_id(accounts, count, at)
                count += 1
            else:
                copy_id(survivors, went, at)
                gone[went] = value
        if count > before:
            live[lived] = value
            lived += 1
            firsts[lived] = count
        elif rows > 0:
            went += 1
    return lived, went


@dataclass(frozen=True, slots=True)
class Memberships:
    """Stored profiles of accounts, compared with their current links.

    Attributes:
        profiles: ids of the accounts' stored profiles, each once.
        is_changed: by account: its links differ from the stored ones.
        is_new: by account: the account exists, and nothing is stored of it.
    """

    profiles: Words
    is_changed: Bools
    is_new: Bools


def read_memberships(values: Values, links: JoinedLinks) -> Memberships:
    """Compare stored memberships of accounts with the accounts' current links.

    Args:
        values: of MEMBERSHIPS, by account.
        links: by account; None: the account is gone.

    Raises:
        StateTooNew: a value was written by a later version.
    """
    body, cuts = values.body, values.cuts
    changed = links.known.copy()
    profiles = np.empty((len(values), 2), dtype=np.uint64)
    found = _read_memberships(body, cuts, *_MEMBERSHIPS, links.body, links.cuts, links.known, profiles, changed)
    if found < 0:
        raise unreadable(found, "memberships")
    profiles = profiles[distinct(profiles[:found])[1]]
    return Memberships(profiles, changed, ~values.there & links.known)


_PART, _PROFILE, _LINKS = (list(MEMBERSHIPS.columns).index(name) for name in ("part", "profile", "links"))


@numba.njit(nogil=True, cache=True)
def _read_memberships(
    body: Bytes,
    cuts: Int64s,
    columns: int,
    texts: int,
    ids: int,
    links_body: Bytes,
    links_cuts: Int64s,
    known: Bools,
    profiles: Words,
    changed: Bools,
) -> int:
    """Compare stored links of accounts with current ones, and list the accounts' stored profiles.

    body       (b,)    uint8   values of MEMBERSHIPS
    cuts       (n+1,)  int64   value i is body[cuts[i]:cuts[i+1]]
    columns, texts, ids  int64  how many columns MEMBERSHIPS has, bits of its text columns and of its ids
    links_body (s,)    uint8   texts of links
    links_cuts (n+1,)  int64   links of account i are links_body[links_cuts[i]:links_cuts[i+1]]
    known      (n,)    bool    False: the account is gone
    profiles   (n, 2)  uint64  written: ids of profiles
    changed    (n,)    bool    written where something is stored: the links differ from the stored ones
    Returns how many profiles there are, or a negative number of `read_rows`, or DAMAGED.
    """
    base, links = np.int64(body.ctypes.data), np.int64(links_body.ctypes.data)
    cells = cells_of(8, columns)
    found = 0
    for value in range(len(cuts) - 1):
        start, stop = base + cuts[value], base + cuts[value + 1]
        rows = read_rows(start, stop, VERSION, columns, texts, ids, cells, 0)
        if rows == NO_ROOM:
            cells = cells_of(stop - start, columns)
            rows = read_rows(start, stop, VERSION, columns, texts, ids, cells, 0)
        if rows < 0:
            return rows
        for row in range(rows):
            if cells[row, _PART] != MEMBER:
                continue
            if found > value:  # an account has one profile
                return DAMAGED
            copy_id(profiles, found, cells[row, _PROFILE])
            found += 1
            at, size = links_cuts[value], links_cuts[value + 1] - links_cuts[value]
            has_links = has(cells, row, columns, _LINKS)
            same = has_links == known[value] and size == cells[row, columns + _LINKS]
            changed[value] = not same or compare_texts(cells[row, _LINKS], size, links + at, size) != 0
    return found
