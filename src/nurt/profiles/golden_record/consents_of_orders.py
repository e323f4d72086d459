"""Read consents that orders bring, rows of AGGREGATES, as if they were child records of accounts. For kernels."""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import peek_byte, poke_byte
from nurt.columnar.types import ID_BYTES, Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES
from nurt.rows.children.tables import ACCOUNT_RECORDS, AGGREGATES, CODE, CONSENT
from nurt.state.cells import cells_of, has

_INDEX = ACCOUNT_RECORDS.index
_PART, _CHILD, _SYSTEM = _INDEX["part"], _INDEX["child"], _INDEX["system"]
_PURPOSE, _GRANTED, _AT = _INDEX["purpose"], _INDEX["granted"], _INDEX["at"]
_METRIC, _K1, _K2, _DAY, _COUNT = (AGGREGATES.index[name] for name in ("metric", "k1", "k2", "day", "count"))
_CONSENT_PART, _CONSENT = np.int64(CODE["consent"]), np.int64(CONSENT)
_HEX = 2 * ID_BYTES
_ALWAYS = 1 << _PART | 1 << _CHILD | 1 << _SYSTEM | 1 << _PURPOSE


@numba.njit(nogil=True, cache=True)
def add_consents(
    cells: Int64s, rows: int, columns: int, aggregates: Int64s, count: int, aggregate_columns: int
) -> tuple[int, Int64s, Bytes]:
    """Add a row for every consent that orders bring.

    cells              (r, .)  int64  rows of ACCOUNT_RECORDS; rows behind them are written
    rows               scalar  int64  how many rows there are
    columns            scalar  int64  how many columns ACCOUNT_RECORDS has
    aggregates         (a, .)  int64  rows of AGGREGATES
    count              scalar  int64  how many of them there are
    aggregate_columns  scalar  int64  how many columns AGGREGATES has
    Returns how many rows there are; the cells, more if needed; and the ids of the new rows, to which cells point.
    """
    found = 0
    for row in range(count):
        found += aggregates[row, _METRIC] == _CONSENT and aggregates[row, _COUNT] > 0
    ids = np.empty(ID_BYTES * found + PADDING_BYTES, np.uint8)
    if not found:
        return rows, cells, ids
    if rows + found > len(cells):
        wider = cells_of(2 * (rows + found), columns)
        wider[:rows] = cells[:rows]
        cells = wider
    at_id = np.int64(ids.ctypes.data)
    for row in range(count):
        if aggregates[row, _METRIC] != _CONSENT or aggregates[row, _COUNT] <= 0:
            continue
        for column in range(2 * columns + 1):
            cells[rows, column] = 0
        # (system U+001F id in hex U+001F answer)
        told, size = aggregates[row, _K2], aggregates[row, aggregate_columns + _K2]
        system_size = max(0, size - _HEX - 3)
        answer = peek_byte(told + size - 1) if size > 0 else 0
        bits = np.int64(_ALWAYS)
        cells[rows, _PART] = _CONSENT_PART
        cells[rows, _SYSTEM], cells[rows, columns + _SYSTEM] = told, system_size
        cells[rows, _CHILD], cells[rows, columns + _CHILD] = at_id, ID_BYTES
        cells[rows, _PURPOSE] = aggregates[row, _K1]
        cells[rows, columns + _PURPOSE] = aggregates[row, aggregate_columns + _K1]
        if answer != 45:  # "-"
            bits |= np.int64(1) << _GRANTED
            cells[rows, _GRANTED] = answer == 49
        if has(aggregates, row, aggregate_columns, _DAY):
            bits |= np.int64(1) << _AT
            cells[rows, _AT] = aggregates[row, _DAY]
        cells[rows, 2 * columns] = bits
        for i in range(ID_BYTES):
            digits = told + system_size + 1 + 2 * i
            poke_byte(at_id + i, 16 * _digit(digits) + _digit(digits + 1))
        at_id += ID_BYTES
        rows += 1
    return rows, cells, ids


@numba.njit(nogil=True, cache=True)
def _digit(at):  # type: ignore[no-untyped-def]
    """Read the hex digit at an address (int64)."""
    letter = peek_byte(at)
    return letter - 48 if letter < 58 else letter - 87
