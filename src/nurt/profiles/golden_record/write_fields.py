"""Write a profile's child records as Avro: chosen fields, identifiers, accounts, consents. For kernels.

Source: schemas/nurt.profiles-value.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.avro.primitives import put_date, put_id, put_nothing, put_optional_long, put_string
from nurt.columnar.memory import compare_texts, poke_byte
from nurt.columnar.sorting import (
    FIRST,
    FIRST_SIZE,
    NOTHING,
    ORDER,
    SECOND,
    SECOND_SIZE,
    WHAT,
    compare_entries,
    put_entry,
    sort_entries,
)
from nurt.columnar.types import ID_BYTES, Int64s
from nurt.columnar.varint import poke_zigzag
from nurt.profiles.golden_record.speakers import IDENTIFIERS
from nurt.profiles.golden_record.survivorship import FIELDS, choose, person
from nurt.profiles.identity.cut_links import cut_links
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE, HEAD_PART
from nurt.state.cells import NO_ROOM, has

CONSENT = np.int64(CODE["consent"])

_INDEX = {name: np.int64(index) for index, name in enumerate(ACCOUNT_RECORDS.columns)}
_PART, _CHILD, _SYSTEM, _ENTITY, _KEY, _POSITION = (
    _INDEX[name] for name in ("part", "child", "system", "entity", "key", "position")
)
_BIRTH_DATE, _LINKS = _INDEX["birth_date"], _INDEX["identifiers"]
_PURPOSE, _GRANTED, _AT = _INDEX["purpose"], _INDEX["granted"], _INDEX["at"]
_IDENTIFIERS = tuple(_INDEX[name] for name in IDENTIFIERS)
_FIELDS_COUNT = len(FIELDS)
_ID_SIZE, _HEAD = np.int64(ID_BYTES), np.int64(HEAD_PART)


@numba.njit(nogil=True, cache=True)
def _put_cell(to: int, cells: Int64s, row: int, columns: int, column: int) -> int:
    """Write a row's text as a string; an absent one is empty."""
    return put_string(to, cells[row, column], cells[row, columns + column])


@numba.njit(nogil=True, cache=True)
def put_chosen(
    to: int, cells: Int64s, columns: int, people: int, steps: Int64s, names: Int64s, fields: Int64s, entries: Int64s
) -> int:
    """Write every chosen field: the value, its row and the rule that chose it; or null.

    to       scalar  int64  address to write at
    cells    (r, .)  int64  rows of ACCOUNT_RECORDS; the cells of `note_person` are read
    columns  scalar  int64  how many columns ACCOUNT_RECORDS has
    people   scalar  int64  how many rows were noted
    steps, fields  (f, .)   int64  see AddressedRules
    names    (f, k+2, 2)    int64  address and bytes of each rule's name
    entries  (e, 8)  int64  scratch; room for `people`
    Returns the address behind the written bytes.
    """
    for field in range(_FIELDS_COUNT):
        row, rule = choose(cells, columns, people, field, steps, fields, entries)
        if row < 0:
            to = put_nothing(to, 1)
            continue
        poke_byte(to, 2)
        column = fields[field, 0]
        if column == _BIRTH_DATE:
            to = put_date(to + 1, cells[row, column])
        else:
            to = _put_cell(to + 1, cells, row, columns, column)
        to = _put_cell(to, cells, row, columns, _SYSTEM)
        to = put_id(to, cells[row, _CHILD])
        to = _put_cell(to, cells, row, columns, _POSITION)
        to = put_string(to, names[field, rule, 0], names[field, rule, 1])
    return to


@numba.njit(nogil=True, cache=True)
def list_identifiers(cells, columns, people, kinds, entries):  # type: ignore[no-untyped-def]
    """Make an entry (kind, value) of every identifier.

    cells    (r, .)  int64  rows of ACCOUNT_RECORDS; the cells of `note_person` are read
    columns  scalar  int64  how many columns ACCOUNT_RECORDS has
    people   scalar  int64  how many rows were noted
    kinds    (k, 2)  int64  address and bytes of each kind's name
    entries  (e, 8)  int64  written
    Returns how many entries there are, or NO_ROOM (negative): `entries` is too short.
    """
    found = NOTHING
    for place in range(people):
        row = person(cells, columns, place)
        if found + len(_IDENTIFIERS) > len(entries):
            return NO_ROOM
        for k in range(len(_IDENTIFIERS)):
            column = _IDENTIFIERS[k]
            if has(cells, row, columns, column):
                at, size = cells[row, column], cells[row, columns + column]
                found = put_entry(entries, found, NOTHING, kinds[k, 0], kinds[k, 1], at, size, row)
        if has(cells, row, columns, _LINKS):
            start = cells[row, _LINKS]
            found = cut_links(start, start + cells[row, columns + _LINKS], entries, found)
            if found < 0:
                return NO_ROOM
    return found


@numba.njit(nogil=True, cache=True)
def put_identifiers(to: int, entries: Int64s, count: int) -> int:
    """Write every distinct (kind, value), in order.

    to       scalar  int64  address to write at
    entries  (e, 8)  int64  of `list_identifiers`; sorted here
    count    scalar  int64  how many entries there are
    Returns the address behind the written bytes.
    """
    sort_entries(entries, count)
    distinct = 0
    for place in range(count):
        if distinct == 0 or compare_entries(entries, entries[distinct - 1, ORDER], entries[place, ORDER]) != 0:
            entries[distinct, ORDER] = entries[place, ORDER]
            distinct += 1
    if distinct == 0:
        return put_nothing(to, 1)
    to = poke_zigzag(to, distinct)
    for place in range(distinct):
        entry = entries[place, ORDER]
        to = put_string(to, entries[entry, FIRST], entries[entry, FIRST_SIZE])
        to = put_string(to, entries[entry, SECOND], entries[entry, SECOND_SIZE])
    return put_nothing(to, 1)


@numba.njit(nogil=True, cache=True)
def _sort_part(cells, rows, part, entries):  # type: ignore[no-untyped-def]
    """Sort the rows of a part by id, as entries (e, 8) with room for `rows`; returns how many."""
    count = NOTHING
    for row in range(rows):
        if cells[row, _PART] == part:
            count = put_entry(entries, count, NOTHING, cells[row, _CHILD], _ID_SIZE, NOTHING, NOTHING, row)
    sort_entries(entries, count)
    return count


@numba.njit(nogil=True, cache=True)
def put_accounts(to: int, cells: Int64s, columns: int, rows: int, entries: Int64s) -> int:
    """Write every account, sorted by its id.

    to       scalar  int64  address to write at
    cells    (r, .)  int64  rows of ACCOUNT_RECORDS, see `read_rows`
    columns  scalar  int64  how many columns ACCOUNT_RECORDS has
    rows     scalar  int64  how many rows there are
    entries  (e, 8)  int64  scratch; room for `rows`
    Returns the address behind the written bytes.
    """
    count = _sort_part(cells, rows, _HEAD, entries)
    if count == 0:
        return put_nothing(to, 1)
    to = poke_zigzag(to, count)
    for place in range(count):
        row = entries[entries[place, ORDER], WHAT]
        to = put_id(to, cells[row, _CHILD])
        to = _put_cell(to, cells, row, columns, _SYSTEM)
        to = _put_cell(to, cells, row, columns, _ENTITY)
        to = _put_cell(to, cells, row, columns, _KEY)
    return put_nothing(to, 1)


@numba.njit(nogil=True, cache=True)
def put_consents(to: int, cells: Int64s, columns: int, rows: int, entries: Int64s) -> int:
    """Write the latest consent of each purpose: by time, an unknown time first, then by row.

    Parameters as of `put_accounts`; times in microseconds since 1970-01-01.
    """
    count = NOTHING
    for row in range(rows):
        if cells[row, _PART] == CONSENT and has(cells, row, columns, _PURPOSE):
            purpose, size = cells[row, _PURPOSE], cells[row, columns + _PURPOSE]
            count = put_entry(entries, count, NOTHING, purpose, size, NOTHING, NOTHING, row)
    sort_entries(entries, count)
    latest = 0
    for place in range(count):
        if latest == 0 or compare_entries(entries, entries[latest - 1, ORDER], entries[place, ORDER]) != 0:
            entries[latest, ORDER] = entries[place, ORDER]
            latest += 1
        elif not _is_later(
            cells, columns, entries[entries[latest - 1, ORDER], WHAT], entries[entries[place, ORDER], WHAT]
        ):
            entries[latest - 1, ORDER] = entries[place, ORDER]
    if latest == 0:
        return put_nothing(to, 1)
    to = poke_zigzag(to, latest)
    for place in range(latest):
        row = entries[entries[place, ORDER], WHAT]
        to = _put_cell(to, cells, row, columns, _PURPOSE)
        if has(cells, row, columns, _GRANTED):
            poke_byte(to, 2)
            poke_byte(to + 1, 1 if cells[row, _GRANTED] != 0 else 0)
            to += 2
        else:
            to = put_nothing(to, 1)
        to = put_optional_long(to, has(cells, row, columns, _AT), cells[row, _AT])
        to = _put_cell(to, cells, row, columns, _SYSTEM)
        to = put_id(to, cells[row, _CHILD])
    return put_nothing(to, 1)


@numba.njit(nogil=True, cache=True)
def _is_later(cells: Int64s, columns: int, a: int, b: int) -> bool:
    """Return whether the consent in row a is later than that in row b; of equal times the larger id is."""
    known, other = has(cells, a, columns, _AT), has(cells, b, columns, _AT)
    if known != other:
        return known
    if cells[a, _AT] != cells[b, _AT]:
        return cells[a, _AT] > cells[b, _AT]
    return compare_texts(cells[a, _CHILD], 16, cells[b, _CHILD], 16) > 0
