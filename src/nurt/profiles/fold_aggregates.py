"""Keep an account's aggregates, which add up all children: subtract each child's old partial, add its new one.

Hot path, one kernel over packed rows. Partials and aggregates are rows of AGGREGATES; rows of one key (metric, k1,
k2, day) are added up, and a row of zeros is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from nurt.columnar.hash_table import mask_of, next_place, table_for
from nurt.columnar.memory import are_equal, copy_bytes, peek_byte, peek_word
from nurt.columnar.texts import TextTuple
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES, Values, ValueTuple
from nurt.profiles.aggregate_rows import (
    KEY_BITS,
    NUMBERS,
    ROW_BYTES_MAX,
    locate_row,
    put_aggregates,
    put_row,
    read_aggregates,
)
from nurt.rows.children.contributions import Contributions
from nurt.rows.children.tables import STAMP
from nurt.state.packing import DAMAGED, TOO_NEW, unreadable
from nurt.state.table import VERSION

_FEW = 8
"""So many differences of an account are compared one by one; more are looked up."""


@dataclass(frozen=True, slots=True)
class AggregatesFolded:
    """Values after a fold.

    Attributes:
        aggregates: by account; absent: the account has no children, or nothing changed.
        same: by account: nothing changed.
        partials: by pair; absent: the child is gone, or a later partial is stored.
        fresh: by pair: no later partial is stored.
    """

    aggregates: Values
    same: Bools
    partials: Values
    fresh: Bools


def fold_aggregates(
    owner: Int64s, contributions: Contributions, aggregates: Values, partials: Values
) -> AggregatesFolded:
    """Replace children's partials in accounts' aggregates; a partial older than the stored one changes nothing.

    Args:
        owner: by pair: index of its account.
        contributions: by pair, the newest of the batch; bodies are rows of AGGREGATES.
        aggregates: stored aggregates, by account.
        partials: stored partials, by pair; the first row of each is its stamp.

    Raises:
        StateTooNew: stored by a later version of nurt.
    """
    starts, stops = contributions.body.starts, contributions.body.stops
    accounts, pairs = len(aggregates), len(partials)
    new_bytes = int((stops - starts).sum())
    rows = _count_rows(partials.body, partials.cuts[:-1], partials.cuts[1:], VERSION, 0)
    rows = _count_rows(contributions.body.body, starts, stops, -1, rows)
    old_bytes = aggregates.size_bytes + partials.size_bytes
    aggregates_out = np.empty(
        old_bytes + new_bytes + max(rows, 0) * ROW_BYTES_MAX + accounts + PADDING_BYTES, dtype=np.uint8
    )
    partials_out = np.empty(new_bytes + pairs * _PARTIAL_HEAD_BYTES + PADDING_BYTES, dtype=np.uint8)
    aggregates_ends, partials_ends = np.zeros(accounts + 1, dtype=np.int64), np.zeros(pairs + 1, dtype=np.int64)
    fresh, same = np.zeros(pairs, dtype=np.bool_), np.zeros(accounts, dtype=np.bool_)
    code = (
        rows
        if rows < 0
        else _fold(
            *(
                aggregates.as_tuple(),
                partials.as_tuple(),
                contributions.body.as_tuple(),
                owner,
                contributions.stamp,
                contributions.gone,
                rows,
                VERSION,
            ),
            SumsOut(aggregates_out, aggregates_ends, same, partials_out, partials_ends, fresh),
        )
    )
    if code < 0:
        raise unreadable(code, "sums")
    return AggregatesFolded(Values(aggregates_out, aggregates_ends), same, Values(partials_out, partials_ends), fresh)


class SumsOut(NamedTuple):
    """Outputs of a fold: aggregates by account, partials by pair."""

    aggregates: Bytes
    aggregates_cuts: Int64s
    same: Bools
    partials: Bytes
    partials_cuts: Int64s
    fresh: Bools


class Differences(NamedTuple):
    """Differences to add to accounts' aggregates, one entry an account and key, and a hash table of the entries."""

    table: Int64s
    owners: Int64s
    entries: Int64s
    totals: Int64s


_PARTIAL_HEAD_BYTES = 32
"""A version, and the row that holds the stamp."""
_FLAGS, _KEY, _KEY_BYTES = range(3)
_ENTRY_CELLS = 3
"""Cells of an entry: which columns its key has, where the key lies, and the key's size."""


@numba.njit(nogil=True, cache=True)
def _count_rows(body: Bytes, starts: Int64s, stops: Int64s, version: int, rows: int) -> int:
    """Add the rows of some values to a count.

    body           (b,)    uint8  packed rows of AGGREGATES
    starts, stops  (n,)    int64  value i is body[starts[i]:stops[i]]; empty: absent
    version        scalar  int64  the byte before the first row of each; -1: there is none
    rows           scalar  int64  the count so far; a negative count is returned as it is
    Returns the count; or a negative number: TOO_NEW: a row has columns that this version does not know; or DAMAGED: a
    value ends within a row.
    """
    if rows < 0:
        return rows
    base = body.ctypes.data
    for one in range(len(starts)):
        if stops[one] == starts[one]:
            continue
        at, stop = base + starts[one], base + stops[one]
        if version >= 0:
            if peek_byte(at) != version:
                return TOO_NEW
            at += 1
        while at < stop:
            _, _, _, at = locate_row(at, stop)
            if at < 0:
                return at
            rows += 1
    return rows


@numba.njit(nogil=True, cache=True)
def _hash(owner: int, flags: int, key: int, size: int) -> np.uint64:
    """Hash an account's number and a packed key: `flags` are its bits, `key` its address, `size` its bytes."""
    mixed = np.uint64(owner) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(flags)
    i = 0
    while i + 8 <= size:
        mixed = (mixed ^ peek_word(key + i)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
        i += 8
    while i < size:
        mixed = (mixed ^ np.uint64(peek_byte(key + i))) * np.uint64(0x100000001B3)
        i += 1
    return mixed ^ (mixed >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _is_key(entry: Int64s, flags: int, key: int, size: int) -> bool:
    """Return whether an entry (3,) has a packed key: `flags` are its bits, `key` its address, `size` its bytes."""
    return entry[_FLAGS] == flags and entry[_KEY_BYTES] == size and are_equal(entry[_KEY], key, size)


@numba.njit(nogil=True, cache=True)
def _find_entry(owner, flags, key, size, table, owners, entries):  # type: ignore[no-untyped-def]
    """Find the table's place for an entry of this owner and key: the entry's own, or a free one.

    owner             scalar  int64   index of the account
    flags, key, size  scalar  int64   bits of the key, its address, its bytes
    table             (t,)    int64   hash table: number of an entry, negative where free
    owners            (m,)    int64   by entry: index of its account
    entries           (m, 3)  int64   by entry: bits, address and bytes of its key
    """
    mask = mask_of(table)
    at = _hash(owner, flags, key, size) & mask
    while True:
        entry = table[np.int64(at)]
        if entry < 0 or (owners[entry] == owner and _is_key(entries[entry], flags, key, size)):
            return np.int64(at)
        at = next_place(at, mask)


@numba.njit(nogil=True, cache=True)
def _add_rows(owner: int, sign: int, at: int, stop: int, into: Differences, count: int, aggregates: Int64s) -> int:
    """Add rows to an account's differences, one entry a key.

    owner         scalar  int64        index of the account
    sign          scalar  int64        1: the rows are added, -1: they are taken away
    at, stop      scalar  int64        addresses of the first row and behind the last
    into.table    (t,)    int64        hash table of the entries, written; room for all of them
    into.owners   (m,)    int64        written: index of each entry's account
    into.entries  (m, 3)  int64        written: bits, address and bytes of each key
    into.totals   (m, 8)  int64        written: differences, in the order of AGGREGATE_COLUMNS
    count         scalar  int64        how many entries there are
    aggregates    (8,)    int64        scratch
    Returns how many entries there are afterwards, or a negative number of `locate_row`.
    """
    table, owners, entries, totals = into
    while at < stop:
        bitmap, key, numbers, end = locate_row(at, stop)
        if end < 0:
            return end
        flags, size = bitmap & KEY_BITS, numbers - key
        place = _find_entry(owner, flags, key, size, table, owners, entries)
        entry = table[place]
        if entry < 0:
            entry = count
            table[place] = entry
            owners[entry] = owner
            entries[entry, _FLAGS], entries[entry, _KEY], entries[entry, _KEY_BYTES] = flags, key, size
            totals[entry, :] = 0
            count += 1
        read_aggregates(numbers, bitmap, aggregates)
        for k in range(NUMBERS):
            totals[entry, k] += sign * aggregates[k]
        at = end
    return count


@numba.njit(nogil=True, cache=True)
def _is_zero(aggregates: Int64s) -> bool:
    """Return whether all aggregates (8,) are 0."""
    for k in range(NUMBERS):  # noqa: SIM110 - a compiled loop
        if aggregates[k] != 0:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _put_partial(stamp: int, start: int, size: int, version: int, out: Bytes, to: int, aggregates: Int64s) -> int:
    """Write the stored value of a pair: its stamp, then its partial aggregate.

    stamp        scalar  int64  of the contribution
    start, size  scalar  int64  address and bytes of the partial: rows of AGGREGATES
    out          (m,)    uint8  written from `to` on
    aggregates   (8,)    int64  scratch
    Returns where the next value goes in `out`.
    """
    for k in range(NUMBERS):
        aggregates[k] = 0
    aggregates[0] = stamp
    out[to] = version
    to = put_row(out, to + 1, STAMP, out, 0, 0, 0, 0, False, 0, aggregates)
    copy_bytes(out.ctypes.data + to, start, size)
    return to + size


@numba.njit(nogil=True, cache=True)
def _fold(
    held: ValueTuple,
    old: ValueTuple,
    said_now: TextTuple,
    owner: Int64s,
    stamp: Int64s,
    gone: Bools,
    rows: int,
    version: int,
    result: SumsOut,
) -> int:
    """First find the differences, by account and key; then copy each account's aggregates, with the differences added.

    held           (a,)    ValueTuple  stored aggregates, by account
    old            (n,)    ValueTuple  stored partials, by pair of account and child; the first row is the stamp
    said_now       (n,)    TextTuple   packed rows of AGGREGATES, by pair
    owner          (n,)    int64       index of the account
    stamp          (n,)    int64       of the contribution; older than the stored stamp: nothing changes
    gone           (n,)    bool        the child is gone
    rows           scalar  int64       how many rows `old` and `said_now` have together
    result.aggregates  (m,)  uint8     written; room for all aggregates, partials and `rows` rows
    result.same    (a,)    bool        written: nothing changed, so nothing is in result.aggregates
    result.partials  (k,)  uint8       written; room for `said_now` and a stamp a pair
    result.fresh   (n,)    bool        written: no later partial is stored
    result.aggregates_cuts, result.partials_cuts  (a+1,), (n+1,)  int64  written: where each value begins
    Returns 0, or a negative number of `locate_row`; a value with two rows of one key is DAMAGED, too.
    """
    stored_body, stored_cuts = held
    old_body, old_cuts = old
    starts, stops, body = said_now
    aggregates_out, aggregates_ends, same, partials_out, partials_ends, fresh = result
    stored_base, old_base, base = stored_body.ctypes.data, old_body.ctypes.data, body.ctypes.data
    table = table_for(rows)
    owners = np.empty(rows, dtype=np.int64)
    entries = np.empty((rows, _ENTRY_CELLS), dtype=np.int64)
    totals = np.empty((rows, NUMBERS), dtype=np.int64)
    differences = Differences(table, owners, entries, totals)
    aggregates = np.zeros(NUMBERS, dtype=np.int64)
    count = 0
    to = 0
    for pair in range(len(owner)):
        partials_ends[pair] = to
        at, end = old_base + old_cuts[pair], old_base + old_cuts[pair + 1]
        fresh[pair] = True
        if at < end:
            if peek_byte(at) != version:
                return TOO_NEW
            bitmap, _, numbers, at = locate_row(at + 1, end)
            if at < 0:
                return at
            read_aggregates(numbers, bitmap, aggregates)
            fresh[pair] = stamp[pair] >= aggregates[0]
        if not fresh[pair]:
            continue
        start = base + starts[pair]
        size_bytes = 0 if gone[pair] else stops[pair] - starts[pair]
        if end - at != size_bytes or not are_equal(at, start, size_bytes):
            count = _add_rows(owner[pair], -1, at, end, differences, count, aggregates)
            if count >= 0:
                count = _add_rows(owner[pair], 1, start, start + size_bytes, differences, count, aggregates)
            if count < 0:
                return count
        if not gone[pair]:
            to = _put_partial(stamp[pair], start, size_bytes, version, partials_out, to, aggregates)
    partials_ends[len(owner)] = to
    accounts = len(stored_cuts) - 1
    places = np.zeros(accounts + 1, dtype=np.int64)  # differences in order of their accounts
    for entry in range(count):
        if not _is_zero(totals[entry]):
            places[owners[entry] + 1] += 1
    for one in range(accounts):
        places[one + 1] += places[one]
    found = np.empty(places[accounts], dtype=np.int64)
    next_ = places.copy()
    for entry in range(count):
        if not _is_zero(totals[entry]):
            found[next_[owners[entry]]] = entry
            next_[owners[entry]] += 1
    used = np.zeros(count, dtype=np.bool_)
    to = 0
    into = aggregates_out.ctypes.data
    for one in range(accounts):
        aggregates_ends[one] = to
        first, last = places[one], places[one + 1]
        same[one] = first == last
        if same[one]:
            continue
        start = to
        aggregates_out[to] = version
        to += 1
        at, end = stored_base + stored_cuts[one], stored_base + stored_cuts[one + 1]
        if at < end:
            if peek_byte(at) != version:
                return TOO_NEW
            at += 1
        run = at
        while at < end:
            here = at
            bitmap, key, numbers, at = locate_row(at, end)
            if at < 0:
                return at
            flags, key_bytes = bitmap & KEY_BITS, numbers - key
            entry = -1
            if last - first > _FEW:
                entry = table[_find_entry(one, flags, key, key_bytes, table, owners, entries)]
            else:
                for k in range(first, last):
                    if _is_key(entries[found[k]], flags, key, key_bytes):
                        entry = found[k]
                        break
            if entry < 0:
                continue
            copy_bytes(into + to, run, here - run)
            to += here - run
            run = at
            if used[entry]:
                return DAMAGED
            used[entry] = True
            read_aggregates(numbers, bitmap, aggregates)
            for k in range(NUMBERS):
                aggregates[k] += totals[entry, k]
            if not _is_zero(aggregates):
                to = put_aggregates(aggregates_out, to, flags, key, key_bytes, aggregates)
        copy_bytes(into + to, run, end - run)
        to += end - run
        for k in range(first, last):
            entry = found[k]
            if not used[entry]:
                key = entries[entry]
                to = put_aggregates(aggregates_out, to, key[_FLAGS], key[_KEY], key[_KEY_BYTES], totals[entry])
        if to == start + 1:  # nothing is left
            to = start
    aggregates_ends[accounts] = to
    return 0
