"""Compute what a profile adds up: orders by currency and market, products, categories, invoices, the last interaction.

Hot path, for kernels that look at one profile after another. Accounts keep sums by day, which never change with time;
windows are computed here for an explicit day `as_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from nurt.columnar.sorting import (
    FIRST,
    FIRST_BYTES,
    FIRST_SIZE,
    NOTHING,
    NUMBER,
    ORDER,
    SECOND,
    SECOND_SIZE,
    WHAT,
    compare_entries,
    compare_first,
    entries_of,
    first_bytes,
    put_entry,
    sort_entries,
)
from nurt.columnar.types import Bytes, Int64s
from nurt.columnar.values import Values
from nurt.model.units import Day
from nurt.rows.children.tables import AGGREGATES, CATEGORY, INTERACTION, INVOICE, ORDERS, PRODUCT
from nurt.state.cells import cells_of, has, read_rows, text_mask
from nurt.state.packing import unreadable
from nurt.state.table import VERSION

WINDOWS_DAYS = (30, 90, 365)
TOP = 10
"""How many products and categories a profile shows."""

NEVER = np.iinfo(np.int64).max
LONG_AGO = np.iinfo(np.int64).min

# a line of aggregates begins with one or two texts (an address, a size); then for orders
COUNT, GROSS, AVERAGE, FIRST_ON, LAST_ON, CANCELLED, RETURNED, OPEN, GIVEN_BACK, PAID, OWED, IN_WINDOWS = range(4, 16)
# for products and categories
QUANTITY = 4
# and for invoices
OPEN_COUNT, OPEN_AMOUNT, OVERDUE_COUNT, OVERDUE_AMOUNT = range(4, 8)
LINE_WIDTH = IN_WINDOWS + 2 * len(WINDOWS_DAYS)

_INDEX = {name: np.int64(index) for index, name in enumerate(AGGREGATES.columns)}
_METRIC, _K1, _K2, _DAY = (_INDEX[name] for name in ("metric", "k1", "k2", "day"))
_COUNT, _AMOUNT = _INDEX["count"], _INDEX["amount"]
_METRIC_SHIFT = 8 * FIRST_BYTES
AGGREGATE_TEXTS = text_mask(AGGREGATES)
_CANCELLED, _RETURNED, _OPEN = _INDEX["cancelled"], _INDEX["returned"], _INDEX["open"]
_GIVEN_BACK, _PAID, _OWED = _INDEX["given_back"], _INDEX["paid"], _INDEX["owed"]


@numba.njit(nogil=True, cache=True)
def list_aggregates(cells, rows, columns, entries):  # type: ignore[no-untyped-def]
    """Make entries of the aggregates with a text key: (metric, k1, k2).

    An entry's number begins with the metric, and goes on with the first bytes of k1, which mostly decide the order.

    cells    (r, .)  int64  rows of AGGREGATES, see `read_rows`
    rows     scalar  int64  how many rows there are
    columns  scalar  int64  how many columns AGGREGATES has
    entries  (e, 8)  int64  written; room for `rows`
    Returns how many entries there are.
    """
    count = NOTHING
    for row in range(rows):
        metric = cells[row, _METRIC]
        if ORDERS <= metric <= INVOICE:
            k1, k1_size = cells[row, _K1], cells[row, columns + _K1]
            number = (metric << _METRIC_SHIFT) | first_bytes(k1, k1_size)
            count = put_entry(entries, count, number, k1, k1_size, cells[row, _K2], cells[row, columns + _K2], row)
    return count


@numba.njit(nogil=True, cache=True)
def part_end(entries: Int64s, low: int, count: int, metric: int) -> int:
    """Find the end of a metric's entries, which begin at `low`.

    entries     (e, 8)  int64  sorted, see `sort_entries`
    low, count  scalar  int64  the first place, and how many entries there are
    metric      scalar  int64  code of the metric
    Returns the place behind the last.
    """
    while low < count and entries[entries[low, ORDER], NUMBER] >> _METRIC_SHIFT == metric:
        low += 1
    return low


@numba.njit(nogil=True, cache=True)
def _begin_line(lines: Int64s, line: int, entries: Int64s, entry: int) -> None:
    """Begin a line with the texts (address and bytes each) of an entry, and zeros."""
    for k in range(4, LINE_WIDTH):
        lines[line, k] = 0
    lines[line, 0], lines[line, 1] = entries[entry, FIRST], entries[entry, FIRST_SIZE]
    lines[line, 2], lines[line, 3] = entries[entry, SECOND], entries[entry, SECOND_SIZE]


@numba.njit(nogil=True, cache=True)
def sum_orders(cells: Int64s, columns: int, entries: Int64s, low: int, high: int, as_of: int, lines: Int64s) -> int:
    """Sum orders by (currency, market), in that order, into lines.

    A day d lies in a window of n days when as_of - n < d <= as_of.

    cells      (r, .)  int64  rows of AGGREGATES, see `read_rows`; amounts in ten-thousandths
    columns    scalar  int64  how many columns AGGREGATES has
    entries    (e, 8)  int64  sorted; those of orders lie from place `low` to place `high`
    as_of      scalar  int64  days since 1970-01-01
    lines      (l, LINE_WIDTH)  int64  written; room for every entry
    Returns how many lines there are.
    """
    count = 0
    for place in range(low, high):
        entry = entries[place, ORDER]
        if place == low or compare_entries(entries, entries[place - 1, ORDER], entry) != 0:
            _begin_line(lines, count, entries, entry)
            lines[count, FIRST_ON], lines[count, LAST_ON] = NEVER, LONG_AGO
            count += 1
        line, row = count - 1, entries[entry, WHAT]
        orders, amount, day = cells[row, _COUNT], cells[row, _AMOUNT], cells[row, _DAY]
        lines[line, COUNT] += orders
        lines[line, GROSS] += amount
        lines[line, CANCELLED] += cells[row, _CANCELLED]
        lines[line, RETURNED] += cells[row, _RETURNED]
        lines[line, OPEN] += cells[row, _OPEN]
        lines[line, GIVEN_BACK] += cells[row, _GIVEN_BACK]
        lines[line, PAID] += cells[row, _PAID]
        lines[line, OWED] += cells[row, _OWED]
        if not has(cells, row, columns, _DAY):
            continue
        if orders > 0:
            lines[line, FIRST_ON] = min(lines[line, FIRST_ON], day)
            lines[line, LAST_ON] = max(lines[line, LAST_ON], day)
        for k in range(len(WINDOWS_DAYS)):
            if as_of - WINDOWS_DAYS[k] < day <= as_of:
                lines[line, IN_WINDOWS + 2 * k] += orders
                lines[line, IN_WINDOWS + 2 * k + 1] += amount
    for at in range(count):
        if lines[at, COUNT] > 0:
            lines[at, AVERAGE] = _average(lines[at, GROSS], lines[at, COUNT])
    return count


@numba.njit(nogil=True, cache=True)
def _average(gross: int, count: int) -> int:
    """Divide exactly, half to even; the count is positive."""
    whole, rest = gross // count, gross % count
    twice = 2 * rest
    if twice > count or (twice == count and whole % 2 != 0):
        whole += 1
    return whole


@numba.njit(nogil=True, cache=True)
def list_most_bought(cells: Int64s, entries: Int64s, low: int, high: int, lines: Int64s) -> int:
    """List the largest quantities, largest first, equal ones by alphabet; at most TOP.

    cells    (r, .)  int64  rows of AGGREGATES; quantities in ten-thousandths of a piece
    entries  (e, 8)  int64  sorted; those of the metric lie from place `low` to place `high`
    lines    (l, LINE_WIDTH)  int64  written; room for one more than there are
    Returns how many lines there are.
    """
    count = 0
    while low < high:
        entry = entries[low, ORDER]
        quantity = np.int64(0)
        while low < high and compare_first(entries, entry, entries[low, ORDER]) == 0:
            quantity += cells[entries[entries[low, ORDER], WHAT], _AMOUNT]
            low += 1
        if quantity == 0 or (count == TOP and -lines[TOP - 1, QUANTITY] <= -quantity):
            continue
        to = min(count, TOP - 1)
        while to > 0 and -lines[to - 1, QUANTITY] > -quantity:
            for k in range(QUANTITY + 1):
                lines[to, k] = lines[to - 1, k]
            to -= 1
        _begin_line(lines, to, entries, entry)
        lines[to, QUANTITY] = quantity
        count = min(count + 1, TOP)
    return count


@numba.njit(nogil=True, cache=True)
def sum_invoices(cells: Int64s, columns: int, entries: Int64s, low: int, high: int, as_of: int, lines: Int64s) -> int:
    """Sum open and overdue invoices by currency; overdue: due before `as_of`.

    cells    (r, .)  int64  rows of AGGREGATES; amounts in ten-thousandths
    columns  scalar  int64  how many columns AGGREGATES has
    entries  (e, 8)  int64  sorted; those of invoices lie from place `low` to place `high`
    as_of    scalar  int64  days since 1970-01-01
    lines    (l, LINE_WIDTH)  int64  written; room for every entry
    Returns how many lines there are.
    """
    count = 0
    while low < high:
        entry = entries[low, ORDER]
        _begin_line(lines, count, entries, entry)
        while low < high and compare_first(entries, entry, entries[low, ORDER]) == 0:
            row = entries[entries[low, ORDER], WHAT]
            lines[count, OPEN_COUNT] += cells[row, _COUNT]
            lines[count, OPEN_AMOUNT] += cells[row, _AMOUNT]
            if has(cells, row, columns, _DAY) and cells[row, _DAY] < as_of:
                lines[count, OVERDUE_COUNT] += cells[row, _COUNT]
                lines[count, OVERDUE_AMOUNT] += cells[row, _AMOUNT]
            low += 1
        if lines[count, OPEN_COUNT] != 0:
            count += 1
    return count


@numba.njit(nogil=True, cache=True)
def find_last_interaction(cells: Int64s, rows: int, columns: int) -> int:
    """Find the last day (since 1970-01-01) with an interaction in cells of AGGREGATES; LONG_AGO: no interaction."""
    last = LONG_AGO
    for row in range(rows):
        if cells[row, _METRIC] == INTERACTION and cells[row, _COUNT] > 0 and has(cells, row, columns, _DAY):
            last = max(last, cells[row, _DAY])
    return last


@numba.njit(nogil=True, cache=True)
def next_change(cells: Int64s, rows: int, columns: int, as_of: int) -> int:
    """Find the next day on which the clock alone changes aggregates, in cells of AGGREGATES.

    as_of: today. Both are days since 1970-01-01. Returns -1 when there is no such day.
    """
    due = NEVER
    for row in range(rows):
        metric, day = cells[row, _METRIC], cells[row, _DAY]
        if not has(cells, row, columns, _DAY):
            continue
        if metric == ORDERS and cells[row, _COUNT] > 0:
            if day > as_of:
                due = min(due, day)
            for k in range(len(WINDOWS_DAYS)):
                if day + WINDOWS_DAYS[k] > as_of:
                    due = min(due, day + WINDOWS_DAYS[k])
        elif metric == INVOICE and day + 1 > as_of:
            due = min(due, day + 1)
    return -1 if due == NEVER else due


def order_figures(values: Sequence[bytes | None], as_of: Day) -> list[list[dict[str, Any]]]:
    """Sum each account's orders by (currency, market), in that order, to inspect some accounts.

    Args:
        values: of AGGREGATES, by account.
        as_of: the last day of windows.

    Raises:
        StateTooNew: a value was written by a later version.
    """
    found = []
    for value in values:
        packed = Values.of([value])
        body, cuts = packed.body, packed.cuts
        rows_max = len(body)  # a row has some bytes
        cells, lines = cells_of(rows_max, len(AGGREGATES.columns)), np.empty((rows_max, LINE_WIDTH), dtype=np.int64)
        base = body.ctypes.data
        count = _sum_account(body, cuts[1], len(AGGREGATES.columns), AGGREGATE_TEXTS, as_of, cells, lines)
        if count < 0:
            raise unreadable(count, "sums")
        found.append([_shown(body, base, line) for line in lines[:count].tolist()])
    return found


@numba.njit(nogil=True, cache=True)
def _sum_account(body: Bytes, size: int, columns: int, texts: int, as_of: int, cells: Int64s, lines: Int64s) -> int:
    """Sum one account's orders into lines.

    body     (b,)    uint8  the value: packed rows of AGGREGATES
    size     scalar  int64  its bytes
    columns, texts   int64  how many columns AGGREGATES has, bits of its text columns
    as_of    scalar  int64  the last day of windows: days since 1970-01-01
    cells    (r, .)  int64  scratch; room for every row
    lines    (r, LINE_WIDTH)  int64  written
    Returns how many lines there are, or a negative number of `read_rows`.
    """
    base = np.int64(body.ctypes.data)
    rows = read_rows(base, base + size, VERSION, columns, texts, 0, cells, 0)
    if rows < 0:
        return rows
    entries = entries_of(rows)
    count = list_aggregates(cells, rows, columns, entries)
    sort_entries(entries, count)
    return sum_orders(cells, columns, entries, 0, part_end(entries, NOTHING, count, np.int64(ORDERS)), as_of, lines)


def _shown(body: Bytes, base: int, line: list[int]) -> dict[str, Any]:
    """Name the numbers of an order line as the published schema does."""

    def text(at: int) -> str:
        return body[line[at] - base : line[at] - base + line[at + 1]].tobytes().decode()

    counted = line[FIRST_ON] != NEVER
    shown: dict[str, Any] = {"currency": text(0), "market": text(2), "count": line[COUNT], "gross": line[GROSS]}
    shown |= {"average": line[AVERAGE] if line[COUNT] > 0 else None}
    shown |= {"first_on": line[FIRST_ON] if counted else None, "last_on": line[LAST_ON] if counted else None}
    shown |= {"cancelled": line[CANCELLED], "returned": line[RETURNED], "open": line[OPEN]}
    for at, window in enumerate(WINDOWS_DAYS):
        shown[f"last_{window}_count"] = line[IN_WINDOWS + 2 * at]
        shown[f"last_{window}_gross"] = line[IN_WINDOWS + 2 * at + 1]
    shown |= {"given_back": line[GIVEN_BACK], "net": line[GROSS] - line[GIVEN_BACK]}
    shown |= {"paid": line[PAID], "open_amount": line[OWED]}
    return shown


assert (ORDERS, PRODUCT, CATEGORY, INVOICE) == (1, 2, 3, 4), "sums that are shown by text come one after another"
