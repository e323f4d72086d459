"""Keep an account's sums: what all its children add up to, each child's share taken away and added anew.

Hot path, one kernel over packed rows. A share and the sums are rows of SUMS; rows of one key (metric, k1, k2, day) are
added up, and what has become zero is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from nurt.core.avro.memory import copy_bytes
from nurt.core.contributions import STAMP
from nurt.core.packing import Bools, Int64s
from nurt.core.said import Contributions
from nurt.core.sum_rows import NUMBERS, ROW_BYTES_MAX, put_row, read_row, skip_row
from nurt.core.tables import VERSION
from nurt.errors import StateTooNew
from nurt.model.values import PADDING_BYTES, Values

_FEW = 8
"""So many differences of an account are compared one by one; more are looked up."""


@dataclass(frozen=True, slots=True)
class SumsFolded:
    """Values after a fold.

    Attributes:
        sums: by account; absent: it has no children, or nothing changed.
        same: by account: nothing changed.
        shares: by pair; absent: the child is gone, or a later share is stored.
        fresh: by pair: no later share is stored.
    """

    sums: Values
    same: Bools
    shares: Values
    fresh: Bools


def fold_sums(owner: Int64s, said: Contributions, sums: Values, shares: Values) -> SumsFolded:
    """Replace children's shares in accounts' sums; a share that is older than the stored one changes nothing.

    Args:
        owner: by pair: index of its account.
        said: by pair, the newest of the batch; bodies are rows of SUMS.
        sums: stored sums, by account.
        shares: stored shares, by pair; the first row of one is its stamp.

    Raises:
        StateTooNew: stored by a later version of nurt.
    """
    whole = np.concatenate((sums.body, shares.body, said.body.body))
    held_cuts, old_cuts = sums.cuts, shares.cuts + len(sums.body)
    base = len(sums.body) + len(shares.body)
    starts, stops = said.body.starts + base, said.body.stops + base
    pairs = len(owner)
    rows = _count_rows(whole, held_cuts, old_cuts, starts, stops, VERSION)
    if rows < 0:
        raise StateTooNew(
            "reading sums: a value has an encoding that this version does not know; run the version of nurt that wrote "
            "it, or a later one"
        )
    new_bytes = int((stops - starts).sum())
    old_bytes = sums.size_bytes + shares.size_bytes
    sums_out = np.empty(old_bytes + new_bytes + rows * ROW_BYTES_MAX + len(sums) + PADDING_BYTES, dtype=np.uint8)
    shares_out = np.empty(new_bytes + pairs * 32 + PADDING_BYTES, dtype=np.uint8)
    sums_ends, shares_ends = np.zeros(len(sums) + 1, dtype=np.int64), np.zeros(pairs + 1, dtype=np.int64)
    fresh, same = np.zeros(pairs, dtype=np.bool_), np.zeros(len(sums), dtype=np.bool_)
    _fold(
        *(whole, held_cuts, old_cuts, starts, stops, owner, said.stamp, said.gone, rows),
        *(VERSION, sums_out, sums_ends, same, shares_out, shares_ends, fresh),
    )
    return SumsFolded(Values(sums_out, sums_ends), same, Values(shares_out, shares_ends), fresh)


@numba.njit(nogil=True, cache=True)
def _count_rows(whole, held_cuts, old_cuts, starts, stops, version):  # type: ignore[no-untyped-def]
    rows = 0
    for cuts in (held_cuts, old_cuts):
        for one in range(len(cuts) - 1):
            at = cuts[one]
            if at == cuts[one + 1]:
                continue
            if whole[at] != version:
                return -1
            at += 1
            while at < cuts[one + 1]:
                at = skip_row(whole, at)
                if at < 0:
                    return -1
                rows += 1
    for one in range(len(starts)):
        at = starts[one]
        while at < stops[one]:
            at = skip_row(whole, at)
            if at < 0:
                return -1
            rows += 1
    return rows


@numba.njit(nogil=True, cache=True)
def _hash(owner, keys, body):  # type: ignore[no-untyped-def]
    mixed = np.uint64(owner) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(keys[0])
    mixed = (mixed ^ np.uint64(keys[6])) * np.uint64(0xBF58476D1CE4E5B9)
    for i in range(keys[1], keys[2]):
        mixed = (mixed ^ np.uint64(body[i])) * np.uint64(0x100000001B3)
    mixed ^= mixed >> np.uint64(29)
    for i in range(keys[3], keys[4]):
        mixed = (mixed ^ np.uint64(body[i])) * np.uint64(0x100000001B3)
    return mixed ^ (mixed >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _same_text(body, a, a_end, b, b_end):  # type: ignore[no-untyped-def]
    if a_end - a != b_end - b:
        return False
    for i in range(a_end - a):  # noqa: SIM110 - a compiled loop
        if body[a + i] != body[b + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _find_entry(owner, keys, body, table, owners, entries):  # type: ignore[no-untyped-def]
    """Find the place in the table of an entry of this owner and key, or of the free place for it."""
    mask = np.uint64(len(table) - 1)
    at = _hash(owner, keys, body) & mask
    while True:
        entry = table[np.int64(at)]
        if entry < 0:
            return np.int64(at)
        if (
            owners[entry] == owner
            and entries[entry, 0] == keys[0]
            and entries[entry, 5] == keys[5]
            and entries[entry, 6] == keys[6]
            and _same_text(body, entries[entry, 1], entries[entry, 2], keys[1], keys[2])
            and _same_text(body, entries[entry, 3], entries[entry, 4], keys[3], keys[4])
        ):
            return np.int64(at)
        at = (at + np.uint64(1)) & mask


@numba.njit(nogil=True, cache=True)
def _add_rows(one, sign, whole, at, end, table, owners, entries, totals, count, keys, sums):  # type: ignore[no-untyped-def]
    """Add rows to an account's differences, one entry a key; returns how many entries there are."""
    while at < end:
        at = read_row(whole, at, keys, sums)
        place = _find_entry(one, keys, whole, table, owners, entries)
        entry = table[place]
        if entry < 0:
            entry = count
            table[place] = entry
            owners[entry] = one
            entries[entry, :] = keys
            totals[entry, :] = 0
            count += 1
        for k in range(NUMBERS):
            totals[entry, k] += sign * sums[k]
    return count


@numba.njit(nogil=True, cache=True)
def _is_zero(sums):  # type: ignore[no-untyped-def]
    for k in range(NUMBERS):  # noqa: SIM110 - a compiled loop
        if sums[k] != 0:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _is_key(keys, entry, body):  # type: ignore[no-untyped-def]
    return (
        entry[0] == keys[0]
        and entry[5] == keys[5]
        and entry[6] == keys[6]
        and _same_text(body, entry[1], entry[2], keys[1], keys[2])
        and _same_text(body, entry[3], entry[4], keys[3], keys[4])
    )


@numba.njit(nogil=True, cache=True)
def _put_share(pair, stamp, whole, start, stop, version, out, to):  # type: ignore[no-untyped-def]
    """Write what is kept of a pair: its stamp, then what it said."""
    sums = np.zeros(NUMBERS, dtype=np.int64)
    sums[0] = stamp
    out[to] = version
    to = put_row(out, to + 1, STAMP, whole, 0, 0, 0, 0, False, 0, sums)
    copy_bytes(out.ctypes.data + to, whole.ctypes.data + start, stop - start)
    return to + stop - start


@numba.njit(nogil=True, cache=True)
def _fold(  # type: ignore[no-untyped-def]
    whole,
    held_cuts,
    old_cuts,
    starts,
    stops,
    owner,
    stamp,
    gone,
    rows,
    version,
    sums_out,
    sums_ends,
    same,
    shares_out,
    shares_ends,
    fresh,
):
    """First find what is different, by account and key; then copy each account's sums, with the differences added."""
    size = 16
    while size < rows * 2:
        size *= 2
    table = np.full(size, -1, dtype=np.int64)
    owners = np.empty(rows, dtype=np.int64)
    entries = np.empty((rows, 7), dtype=np.int64)
    totals = np.empty((rows, NUMBERS), dtype=np.int64)
    keys, sums = np.zeros(7, dtype=np.int64), np.zeros(NUMBERS, dtype=np.int64)
    count = 0
    to = 0
    for pair in range(len(owner)):
        shares_ends[pair] = to
        at, end = old_cuts[pair], old_cuts[pair + 1]
        fresh[pair] = True
        if at < end:
            at = read_row(whole, at + 1, keys, sums)
            fresh[pair] = stamp[pair] >= sums[0]
        if not fresh[pair]:
            continue
        stop = starts[pair] if gone[pair] else stops[pair]
        if not _same_text(whole, at, end, starts[pair], stop):
            count = _add_rows(owner[pair], -1, whole, at, end, table, owners, entries, totals, count, keys, sums)
            count = _add_rows(
                owner[pair], 1, whole, starts[pair], stop, table, owners, entries, totals, count, keys, sums
            )
        if not gone[pair]:
            to = _put_share(pair, stamp[pair], whole, starts[pair], stop, version, shares_out, to)
    shares_ends[len(owner)] = to
    accounts = len(held_cuts) - 1
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
    into, source = sums_out.ctypes.data, whole.ctypes.data
    for one in range(accounts):
        sums_ends[one] = to
        first, last = places[one], places[one + 1]
        same[one] = first == last
        if same[one]:
            continue
        start = to
        sums_out[to] = version
        to += 1
        at, end = held_cuts[one], held_cuts[one + 1]
        if at < end:
            at += 1
        run = at
        while at < end:
            here = at
            at = read_row(whole, at, keys, sums)
            entry = -1
            if last - first > _FEW:
                entry = table[_find_entry(one, keys, whole, table, owners, entries)]
            else:
                for k in range(first, last):
                    if _is_key(keys, entries[found[k]], whole):
                        entry = found[k]
                        break
            if entry < 0:
                continue
            copy_bytes(into + to, source + run, here - run)
            to += here - run
            run = at
            used[entry] = True
            for k in range(NUMBERS):
                sums[k] += totals[entry, k]
            if not _is_zero(sums):
                to = put_row(
                    *(sums_out, to, keys[0], whole, keys[1], keys[2], keys[3], keys[4], keys[5] != 0, keys[6], sums)
                )
        copy_bytes(into + to, source + run, end - run)
        to += end - run
        for k in range(first, last):
            entry = found[k]
            if not used[entry]:
                key = entries[entry]
                to = put_row(
                    *(sums_out, to, key[0], whole, key[1], key[2], key[3], key[4], key[5] != 0, key[6], totals[entry])
                )
        if to == start + 1:  # nothing is left
            to = start
    sums_ends[accounts] = to
