"""Write a profile's addresses as Avro: equal ones are one, with a count. For kernels.

Addresses are child records of accounts, or rows of AGGREGATES, where orders bring them. Equal are those of one system
with the same fields.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.avro.primitives import put_id, put_nothing, put_string
from nurt.columnar.memory import compare_texts, peek_byte, poke_byte
from nurt.columnar.sorting import (
    FIRST,
    FIRST_SIZE,
    NOTHING,
    ORDER,
    SECOND,
    SECOND_SIZE,
    WHAT,
    compare_entries,
    entries_of,
    put_entry,
    sort_entries,
)
from nurt.columnar.types import ID_BYTES, Int64s
from nurt.columnar.values import PADDING_BYTES
from nurt.columnar.varint import poke_zigzag
from nurt.limits import ADDRESSES_SHOWN_MAX
from nurt.model.entities import ENTITIES
from nurt.profiles.people.join_fields import BETWEEN, put_field
from nurt.rows.children.tables import ACCOUNT_RECORDS, ADDRESS, AGGREGATES, CODE
from nurt.state.cells import has

ADDRESS_FIELDS = tuple(ENTITIES["address"].fields)
_INDEX = {name: np.int64(index) for index, name in enumerate(ACCOUNT_RECORDS.columns)}
_PART, _CHILD, _SYSTEM = (_INDEX[name] for name in ("part", "child", "system"))
_FIELDS = tuple(_INDEX[name] for name in ADDRESS_FIELDS)
_PART_OF_ADDRESS = np.int64(CODE["address"])
_AGGREGATE = {name: np.int64(index) for index, name in enumerate(AGGREGATES.columns)}
_METRIC, _K1, _K2, _COUNT = (_AGGREGATE[name] for name in ("metric", "k1", "k2", "count"))
_ADDRESS = np.int64(ADDRESS)
_ID_SIZE = np.int64(ID_BYTES)
_LARGE = np.int64(1) << 62


@numba.njit(nogil=True, cache=True)
def put_addresses(
    to: int,
    cells: Int64s,
    columns: int,
    rows: int,
    aggregates: Int64s,
    aggregate_columns: int,
    count: int,
    entries: Int64s,
) -> int:
    """Write every distinct address, those with a row first, by their smallest row, then others, most frequent first.

    to                 scalar  int64  address to write at
    cells              (r, .)  int64  rows of ACCOUNT_RECORDS, see `read_rows`
    columns            scalar  int64  how many columns ACCOUNT_RECORDS has
    rows               scalar  int64  how many rows there are
    aggregates         (a, .)  int64  rows of AGGREGATES
    aggregate_columns  scalar  int64  how many columns AGGREGATES has
    count              scalar  int64  how many rows of AGGREGATES there are
    entries            (e, 8)  int64  scratch; room for `rows` and `count`
    Returns the address behind the written bytes. At most ADDRESSES_SHOWN_MAX are written.
    """
    size = np.int64(0)
    for row in range(rows):
        if cells[row, _PART] == _PART_OF_ADDRESS:
            for k in range(len(_FIELDS)):
                size += cells[row, columns + _FIELDS[k]] + 2
    texts = np.empty(size + PADDING_BYTES, np.uint8)
    at = np.int64(texts.ctypes.data)
    found = NOTHING
    for row in range(rows):
        if cells[row, _PART] == _PART_OF_ADDRESS:
            start = at
            for k in range(len(_FIELDS)):
                column = _FIELDS[k]
                is_there = has(cells, row, columns, column)
                at = put_field(at, is_there, cells[row, column], cells[row, columns + column], k == 0)
            system, system_size = cells[row, _SYSTEM], cells[row, columns + _SYSTEM]
            found = put_entry(entries, found, NOTHING, system, system_size, start, at - start, row)
    for row in range(count):
        if aggregates[row, _METRIC] == _ADDRESS and aggregates[row, _COUNT] > 0:
            found = put_entry(
                entries,
                found,
                NOTHING,
                aggregates[row, _K2],
                aggregates[row, aggregate_columns + _K2],
                aggregates[row, _K1],
                aggregates[row, aggregate_columns + _K1],
                -1 - row,
            )
    if found == 0:
        return put_nothing(to, 1)
    sort_entries(entries, found)
    groups, firsts, counts, listed = _group(cells, aggregates, entries, found)
    sort_entries(groups, listed)
    shown = min(listed, ADDRESSES_SHOWN_MAX)
    to = poke_zigzag(to, shown)
    for place in range(shown):
        group = groups[groups[place, ORDER], WHAT]
        entry = firsts[group]
        to = put_string(to, entries[entry, FIRST], entries[entry, FIRST_SIZE])
        row = entries[entry, WHAT]
        to = put_id(to, cells[row, _CHILD]) if row >= 0 else put_string(to, entries[entry, FIRST], 0)
        to = _put_fields(to, entries[entry, SECOND], entries[entry, SECOND] + entries[entry, SECOND_SIZE])
        to = poke_zigzag(to, counts[group])
    return put_nothing(to, 1 + 0 * len(texts))  # (the texts live until here)


@numba.njit(nogil=True, cache=True)
def _group(cells, aggregates, entries, found):  # type: ignore[no-untyped-def]
    """Group equal entries; parameters as of `put_addresses`.

    Returns entries of the groups, in whose order they are written; by group an entry that stands for it, and how many
    addresses it has; and how many groups there are.
    """
    groups, firsts, counts = entries_of(found), np.empty(found, np.int64), np.zeros(found, np.int64)
    group = -1
    for place in range(found):
        entry = entries[place, ORDER]
        if group < 0 or compare_entries(entries, firsts[group], entry) != 0:
            group += 1
            firsts[group] = entry
        row = entries[entry, WHAT]
        if row < 0:
            counts[group] += aggregates[-1 - row, _COUNT]
            continue
        counts[group] += 1
        first = entries[firsts[group], WHAT]
        if first < 0 or compare_texts(cells[row, _CHILD], _ID_SIZE, cells[first, _CHILD], _ID_SIZE) < 0:
            firsts[group] = entry
    listed = NOTHING
    for one in range(group + 1):
        entry = firsts[one]
        row = entries[entry, WHAT]
        if row >= 0:
            listed = put_entry(groups, listed, NOTHING, cells[row, _CHILD], _ID_SIZE, NOTHING, NOTHING, one)
        else:
            listed = put_entry(
                groups,
                listed,
                _LARGE - counts[one],
                entries[entry, FIRST],
                entries[entry, FIRST_SIZE],
                entries[entry, SECOND],
                entries[entry, SECOND_SIZE],
                one,
            )
    return groups, firsts, counts, listed


@numba.njit(nogil=True, cache=True)
def _put_fields(to: int, at: int, stop: int) -> int:
    """Write the fields of a joined address, which lies from address `at` to `stop`."""
    for _ in range(len(_FIELDS)):
        end = at
        while end < stop and peek_byte(end) != BETWEEN:
            end += 1
        if end > at:
            poke_byte(to, 2)
            to = put_string(to + 1, at + 1, end - at - 1)
        else:
            to = put_nothing(to, 1)
        at = min(end + 1, stop)
    return to
