"""Settle singletons: an account that shares nothing is a profile of its own. Whole batches of new accounts at once.

Hot path. Most accounts begin as singletons; the written values equal those of `resolve.difference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nurt.avro.primitives import put_hex
from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.ids import Ids
from nurt.columnar.memory import copy_bytes, peek_byte
from nurt.columnar.types import Bools, Bytes, Int64s, Words
from nurt.columnar.values import PADDING_BYTES, Values
from nurt.columnar.varint import put_unsigned
from nurt.normalise.context import LINK_END
from nurt.profiles.identity.cut_links import link_end
from nurt.profiles.identity.links import JoinedLinks, join_links
from nurt.profiles.identity.resolve import MEMBER, MEMBER_PART
from nurt.state.table import VERSION


@dataclass(frozen=True, slots=True)
class Links:
    """Links of some accounts, one a row.

    Attributes:
        account: index of the link's account.
        code: index into `ids`.
        ids: ids of the distinct identifiers.
    """

    account: Int64s
    code: Int64s
    ids: Words


def list_links(realm: str, texts: JoinedLinks, accounts: Int64s, ids: Ids) -> Links:
    """Cut some accounts' texts of links (None: none) into identifiers."""
    prefix = np.frombuffer(_prefix(realm), dtype=np.uint8)
    count, size = _count_links(texts.body, texts.cuts, accounts)
    account, cuts = np.empty(count, dtype=np.int64), np.empty(count + 1, dtype=np.int64)
    body = np.empty(size + count * len(prefix), dtype=np.uint8)
    _cut_links(texts.body, texts.cuts, accounts, prefix, account, body, cuts)
    pairs = ids.of_joined(body, cuts)
    codes, firsts = distinct(pairs)
    return Links(account, codes, pairs[firsts])


def identifier_ids(realm: str, links: Sequence[str], ids: Ids) -> list[bytes]:
    """Name the identifiers of some links, each without LINK_END."""
    prefix = _prefix(realm).decode()
    joined = join_links([prefix + link for link in links])
    return id_list(ids.of_joined(joined.body, joined.cuts))


def _prefix(realm: str) -> bytes:
    """Give the bytes that stand before a link when its id is hashed."""
    return f"identifier\x1f{realm}\x1f".encode()


@numba.njit(nogil=True, cache=True)
def _count_links(body: Bytes, cuts: Int64s, accounts: Int64s) -> tuple[int, int]:
    """Count links and their bytes.

    body      (b,)    uint8  texts of links
    cuts      (t+1,)  int64  text i is body[cuts[i]:cuts[i+1]]
    accounts  (n,)    int64  which texts
    Returns how many links there are, and their bytes without separators.
    """
    base = np.int64(body.ctypes.data)
    count, size = 0, 0
    for account in accounts:
        at, stop = base + cuts[account], base + cuts[account + 1]
        if at == stop:
            continue
        count += 1
        size += stop - at
        while at < stop:
            if peek_byte(at) == _LINK_END:
                count += 1
                size -= 1
            at += 1
    return count, size


_LINK_END = ord(LINK_END)


@numba.njit(nogil=True, cache=True)
def _cut_links(
    body: Bytes, cuts: Int64s, accounts: Int64s, prefix: Bytes, account: Int64s, out: Bytes, places: Int64s
) -> None:
    """Write every link behind the prefix, and note its account and its start.

    body      (b,)    uint8  texts of links
    cuts      (t+1,)  int64  text i is body[cuts[i]:cuts[i+1]]
    accounts  (n,)    int64  which texts
    prefix    (p,)    uint8  written before each link
    account   (k,)    int64  written: by link: its account, an index of `accounts`
    out       (m,)    uint8  written
    places    (k+1,)  int64  written: link i is out[places[i]:places[i+1]]
    """
    base, begin = np.int64(body.ctypes.data), np.int64(out.ctypes.data)
    before, before_size = np.int64(prefix.ctypes.data), len(prefix)
    count = 0
    to = begin
    places[0] = 0
    for row in range(len(accounts)):
        at, stop = base + cuts[accounts[row]], base + cuts[accounts[row] + 1]
        if at == stop:
            continue
        while at <= stop:
            end = link_end(at, stop)
            copy_bytes(to, before, before_size)
            copy_bytes(to + before_size, at, end - at)
            to += before_size + end - at
            account[count] = row
            count += 1
            places[count] = to - begin
            at = end + 1


def find_sharing(links: Links, stored: Values, accounts: int) -> Bools:
    """Return by account whether one of its links is stored already, or occurs twice in the batch.

    Args:
        links: of the accounts.
        stored: by identifier: its stored value.
        accounts: how many there are.
    """
    shared = stored.there
    shared |= np.bincount(links.code, minlength=len(stored)) > 1
    sharing: Bools = np.zeros(accounts, dtype=np.bool_)
    sharing[links.account[shared[links.code]]] = True
    return sharing


@dataclass(frozen=True, slots=True)
class Singletons:
    """Values to store for singleton accounts.

    Attributes:
        profiles: ids of their profiles, by account.
        values: three by account: of MEMBERSHIPS, of COMPONENTS, and the profile's of MEMBERS.
    """

    profiles: Words
    values: Values


def settle_singletons(accounts: Words, links: JoinedLinks, rows: Int64s, ids: Ids) -> Singletons:
    """Make each account a component and a profile of its own.

    Args:
        accounts: ids of the accounts.
        links: texts of links, of more accounts.
        rows: by account: which of these texts are its links.
    """
    count = len(accounts)
    joined = np.ascontiguousarray(accounts).view(np.uint8).reshape(-1)
    anchors = np.empty(count * _ANCHOR_BYTES, dtype=np.uint8)
    _write_anchors(joined, np.frombuffer(_ANCHOR, dtype=np.uint8), anchors)
    profiles = ids.of_joined(anchors, np.arange(0, len(anchors) + 1, _ANCHOR_BYTES, dtype=np.int64))
    text_bytes = int((links.cuts[rows + 1] - links.cuts[rows]).sum())
    out = np.empty(count * _VALUES_BYTES + 2 * text_bytes + PADDING_BYTES, dtype=np.uint8)
    ends = np.zeros(3 * count + 1, dtype=np.int64)
    _pack_singletons(joined, profiles.view(np.uint8).reshape(-1), links.body, links.cuts, rows, out, ends)
    return Singletons(profiles, Values(out, ends))


_ANCHOR = b"profile\x1f"
_ANCHOR_BYTES = len(_ANCHOR) + 32
"""A profile's id is hashed from this text and its anchor in hex; see `resolve.profile_id`."""
_VALUES_BYTES = 160
"""An upper bound of the bytes of an account's three values besides its links."""


@numba.njit(nogil=True, cache=True)
def _write_anchors(accounts: Bytes, before: Bytes, out: Bytes) -> None:
    """Write the texts from which profiles' ids are hashed.

    accounts  (16n,)        uint8  ids of the accounts, end to end
    before    (p,)          uint8  written before each id
    out       (n*(p+32),)   uint8  written: the ids in hex
    """
    to, size = np.int64(out.ctypes.data), len(before)
    for at in range(0, len(accounts), 16):
        copy_bytes(to, np.int64(before.ctypes.data), size)
        put_hex(to + size, np.int64(accounts.ctypes.data) + at)
        to += size + 32


@numba.njit(nogil=True, cache=True)
def _put_id(out: Bytes, to: int, ids: Bytes, row: int) -> int:
    """Write an id of ids (16n,) with its length; returns where the next column goes in `out`."""
    out[to] = 16
    for i in range(16):
        out[to + 1 + i] = ids[16 * row + i]
    return to + 17


@numba.njit(nogil=True, cache=True)
def _put_links(out: Bytes, to: int, body: Bytes, start: int, stop: int) -> int:
    """Write the text body[start:stop] with its length; returns where the next column goes in `out`."""
    to = put_unsigned(out, to, stop - start)
    for i in range(stop - start):
        out[to + i] = body[start + i]
    return to + stop - start


@numba.njit(nogil=True, cache=True)
def _pack_singletons(
    accounts: Bytes, profiles: Bytes, body: Bytes, cuts: Int64s, rows: Int64s, out: Bytes, ends: Int64s
) -> None:
    """Pack, for each account, a row of MEMBERSHIPS, of COMPONENTS and of MEMBERS, as their tables would.

    accounts, profiles  (16n,)   uint8  ids, end to end
    body                (b,)     uint8  texts of links
    cuts                (t+1,)   int64  text i is body[cuts[i]:cuts[i+1]]
    rows                (n,)     int64  by account: its text
    out                 (m,)     uint8  written
    ends                (3n+1,)  int64  written: value i is out[ends[i]:ends[i+1]], three an account
    """
    to = 0
    for row in range(len(rows)):
        start, stop = cuts[rows[row]], cuts[rows[row] + 1]
        out[to], out[to + 1], out[to + 2] = VERSION, 0b1111, 2 * MEMBER
        to = _put_id(out, to + 3, accounts, row)
        to = _put_id(out, to, profiles, row)
        to = _put_links(out, to, body, start, stop)
        ends[3 * row + 1] = to
        out[to], out[to + 1] = VERSION, 0b111
        to = _put_id(out, to + 2, accounts, row)
        to = _put_id(out, to, profiles, row)
        to = _put_links(out, to, body, start, stop)
        ends[3 * row + 2] = to
        out[to], out[to + 1], out[to + 2] = VERSION, 0b11, 2 * MEMBER_PART
        to = _put_id(out, to + 3, accounts, row)
        ends[3 * row + 3] = to
