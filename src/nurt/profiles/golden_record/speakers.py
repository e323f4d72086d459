"""Note the rows that speak for a person: customers, guests' orders, other rows with identifiers. For kernels.

An address, consent or interaction speaks by its identifiers only, and so do those of a guest's order beside the order.
A spare row behind the others stands for it: the smallest e-mail, phone, tax id and loyalty card of its identifiers are
its fields, so they are chosen like any other's.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import compare_texts
from nurt.columnar.sorting import FIRST, FIRST_SIZE, NOTHING, SECOND, SECOND_SIZE
from nurt.columnar.types import Int64s
from nurt.profiles.golden_record.survivorship import note_person
from nurt.profiles.identity.cut_links import cut_links
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE
from nurt.state.cells import cells_of, has

CUSTOMER, GUEST_ORDER = (np.int64(CODE[kind]) for kind in ("customer", "order"))
IDENTIFIERS = ("email", "phone", "tax_id", "loyalty_card")
_INDEX = ACCOUNT_RECORDS.index
_PART, _LINKS = _INDEX["part"], _INDEX["identifiers"]
_IDENTIFIERS = tuple(_INDEX[name] for name in IDENTIFIERS)
_KEPT = tuple(_INDEX[name] for name in ("part", "child", "system", "position", "ts_ms", "identifiers"))


@numba.njit(nogil=True, cache=True)
def note_speakers(
    cells: Int64s, rows: int, columns: int, systems: Int64s, kinds: Int64s, entries: Int64s
) -> tuple[int, Int64s, Int64s]:
    """Note the rows that speak for a person.

    cells    (r, .)  int64  rows of ACCOUNT_RECORDS; their free cells are written, and spare rows behind them
    rows     scalar  int64  how many rows there are
    columns  scalar  int64  how many columns ACCOUNT_RECORDS has
    systems  (s, 3)  int64  address and bytes of a system's name, its priority
    kinds    (k, 2)  int64  address and bytes of each kind's name, in the order of IDENTIFIERS
    entries  (e, 8)  int64  scratch
    Returns how many rows speak; and the cells and the scratch, more of both where there was no room.
    """
    people = 0
    spare = rows
    for row in range(rows):
        if cells[row, _PART] == CUSTOMER or cells[row, _PART] == GUEST_ORDER:
            note_person(cells, columns, row, people, systems)
            people += 1
        if cells[row, _PART] != CUSTOMER and has(cells, row, columns, _LINKS):
            if spare >= len(cells):
                wider = cells_of(2 * len(cells), columns)
                wider[:spare] = cells[:spare]
                cells = wider
            entries = _stand_in(cells, row, spare, columns, kinds, entries)
            note_person(cells, columns, spare, people, systems)
            people += 1
            spare += 1
    return people, cells, entries


@numba.njit(nogil=True, cache=True)
def _stand_in(cells: Int64s, row: int, to: int, columns: int, kinds: Int64s, entries: Int64s) -> Int64s:
    """Let row `to` speak for `row` by its identifiers; parameters as of `note_speakers`. Returns the scratch."""
    for column in range(2 * columns + 1):
        cells[to, column] = 0
    bits = 0
    for k in range(len(_KEPT)):
        column = _KEPT[k]
        if has(cells, row, columns, column):
            cells[to, column], cells[to, columns + column] = cells[row, column], cells[row, columns + column]
            bits |= 1 << column
    start = cells[row, _LINKS]
    count = cut_links(start, start + cells[row, columns + _LINKS], entries, NOTHING)
    while count < 0:
        entries = np.empty((2 * len(entries), entries.shape[1]), np.int64)
        count = cut_links(start, start + cells[row, columns + _LINKS], entries, NOTHING)
    for k in range(len(_IDENTIFIERS)):
        column = _IDENTIFIERS[k]
        for entry in range(count):
            size = entries[entry, FIRST_SIZE]
            if size != kinds[k, 1] or compare_texts(entries[entry, FIRST], size, kinds[k, 0], size) != 0:
                continue
            value, length = entries[entry, SECOND], entries[entry, SECOND_SIZE]
            if (
                not bits >> column & 1
                or compare_texts(value, length, cells[to, column], cells[to, columns + column]) < 0
            ):
                cells[to, column], cells[to, columns + column] = value, length
                bits |= 1 << column
    cells[to, 2 * columns] = bits
    return entries
