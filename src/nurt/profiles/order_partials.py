"""Write what each order adds to its account: rows of AGGREGATES for the order, its lines and its invoices.

Hot path, one kernel over the rows of many orders.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from nurt.columnar.memory import are_equal
from nurt.columnar.texts import Texts, TextTuple
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.profiles.aggregate_rows import NUMBERS, ROW_BYTES_MAX, put_row
from nurt.rows.children.given_back import UNCOUNTED
from nurt.rows.children.tables import AGGREGATE_COLUMNS, CATEGORY, CHILDREN, CODE, DAY_US, INVOICE, ORDERS, PRODUCT

_LINE, _INVOICE, _PAYMENT, _REFUND = (CODE[kind] for kind in ("order_line", "invoice", "payment", "refund"))
_COUNT, _AMOUNT, _CANCELLED, _RETURNED, _OPEN, _GIVEN_BACK, _PAID_IN, _OWED = range(len(AGGREGATE_COLUMNS))
assert AGGREGATE_COLUMNS == ("count", "amount", "cancelled", "returned", "open", "given_back", "paid", "owed")


class Sold(NamedTuple):
    """Rows of orders (ORDER_RECORDS), sorted by order, as a kernel takes them; absent numbers are 0, absent texts
    empty.

    Attributes:
        owner: index of the order.
        part: code of the row's kind.
        currency, market, status, gross, placed_at (microseconds), is_placed: of the order's own row; an invoice and a
            refund have a currency and a status too, a payment a status.
        sku, has_sku, category, has_category, quantity: of a line; returned pieces are subtracted.
        amount, due_on (days), is_due: of an invoice, the open amount; of a payment and a refund, its amount.
    """

    owner: Int64s
    part: Int64s
    currency: TextTuple
    market: TextTuple
    status: TextTuple
    sku: TextTuple
    has_sku: Bools
    category: TextTuple
    has_category: Bools
    gross: Int64s
    placed_at: Int64s
    is_placed: Bools
    quantity: Int64s
    amount: Int64s
    due_on: Int64s
    is_due: Bools


def pack_order_partials(sold: Sold, order_row: Int64s, owners: Int64s) -> Texts:
    """Return each order's partial aggregate, packed.

    A cancelled order counts as cancelled and sells nothing, so nothing is paid or given back; an order with an unknown
    status is open.

    Args:
        sold: rows of the orders.
        order_row: by order: its own row; -1: none.
        owners: orders with an own row, ascending.
    """
    texts = (sold.currency, sold.market, sold.sku, sold.category)
    text_bytes = sum(int((stops - starts).sum()) for starts, stops, _ in texts)
    rows = len(sold.owner)
    room_bytes = 3 * text_bytes + 3 * rows * ROW_BYTES_MAX
    refunds = int(np.count_nonzero(sold.part == _REFUND))
    if refunds:  # a line in another currency repeats the order's market
        room_bytes += refunds * int((sold.market[1] - sold.market[0]).max())
    out = np.empty(room_bytes, dtype=np.uint8)
    ends = np.zeros(len(owners) + 1, dtype=np.int64)
    _pack(sold, order_row, owners, out, ends)
    return Texts(ends[:-1], ends[1:], out[: ends[-1]])


_OTHER, _COMPLETE, _CANCEL, _RETURN, _PAID, _FAILED, _PENDING = range(7)
_STATUSES = ("complete", "cancelled", "returned", "paid", "failed", "pending")
"""The statuses that matter, by number, from 1 on."""
_NAMES = np.frombuffer("".join(_STATUSES).encode(), dtype=np.uint8).copy()
_ENDS = np.cumsum([0, *map(len, _STATUSES)])
assert {_STATUSES[one - 1] for one in (_CANCEL, _FAILED, _PENDING)} == set(UNCOUNTED)


@numba.njit(nogil=True, cache=True)
def _status(start: int, stop: int, body: Bytes) -> int:
    """Number the statuses that matter: the text body[start:stop] as a number; _OTHER: any other."""
    for k in range(len(_ENDS) - 1):
        length = _ENDS[k + 1] - _ENDS[k]
        if stop - start != length:
            continue
        same = True
        for i in range(length):
            if body[start + i] != _NAMES[_ENDS[k] + i]:
                same = False
                break
        if same:
            return k + 1
    return _OTHER


@numba.njit(nogil=True, cache=True)
def _moved_money(status: int) -> bool:
    """Return whether a payment or a refund with this status counts."""
    return status != _CANCEL and status != _FAILED and status != _PENDING


@numba.njit(nogil=True, cache=True)
def _is_same(body: Bytes, start: int, stop: int, other: int, other_stop: int) -> bool:
    """Return whether body[start:stop], a refund's currency, is empty or equals body[other:other_stop], its order's."""
    if stop == start:
        return True
    base = body.ctypes.data
    return stop - start == other_stop - other and are_equal(base + start, base + other, stop - start)


@numba.njit(nogil=True, cache=True)
def _pack(sold: Sold, order_row: Int64s, owners: Int64s, out: Bytes, ends: Int64s) -> None:
    """Pack what each order adds to its account: a row of AGGREGATES for the order, for each line, for each open
    invoice, for each refund in another currency.

    What is paid and given back lies in the order's row, so that what is still owed is the order's own: too much paid
    for one order does not pay for another.

    sold             (n,)    Sold   rows, ascending by sold.owner; each text column is a TextTuple
    .gross, amount   (n,)    int64  ten-thousandths of the currency
    .quantity        (n,)    int64  ten-thousandths of a piece
    .placed_at       (n,)    int64  microseconds since 1970-01-01; where is_placed
    .due_on          (n,)    int64  days since 1970-01-01; where is_due
    .sku, category   (n,)    TextTuple  both lie in one body
    own              (o,)    int64  by order: its own row; -1: none
    owners           (k,)    int64  orders with an own row, ascending
    out              (m,)    uint8  written
    ends             (k+1,)  int64  written: partial of order k is out[ends[k]:ends[k+1]]
    """
    owner, part = sold.owner, sold.part
    currency, currency_end, currency_body = sold.currency
    market, market_end, market_body = sold.market
    status, status_end, status_body = sold.status
    sku, sku_end, body = sold.sku
    category, category_end, _ = sold.category
    has_sku, has_category, is_placed, is_due = sold.has_sku, sold.has_category, sold.is_placed, sold.is_due
    gross, placed_at, quantity, amount, due_on = sold.gross, sold.placed_at, sold.quantity, sold.amount, sold.due_on
    aggregates = np.zeros(NUMBERS, dtype=np.int64)
    keys = np.empty(16, dtype=np.uint8)
    row = 0
    to = 0
    for k in range(len(owners)):
        one = owners[k]
        at = order_row[one]
        found = _status(status[at], status_end[at], status_body)
        while row < len(owner) and owner[row] < one:
            row += 1
        end = row
        paid = given_back = np.int64(0)
        while end < len(owner) and owner[end] == one:
            if part[end] == _PAYMENT and _moved_money(_status(status[end], status_end[end], status_body)):
                paid += amount[end]
            elif part[end] == _REFUND and _moved_money(_status(status[end], status_end[end], status_body)):
                is_own = _is_same(currency_body, currency[end], currency_end[end], currency[at], currency_end[at])
                given_back += abs(amount[end]) if is_own else 0
            end += 1
        aggregates[:] = 0
        aggregates[_COUNT] = 1
        to = put_row(out, to, CHILDREN, body, 0, 0, 0, 0, False, 0, aggregates)
        aggregates[:] = 0
        if found == _CANCEL:
            aggregates[_CANCELLED] = 1
        else:
            aggregates[_COUNT] = 1
            aggregates[_AMOUNT] = gross[at]
            aggregates[_GIVEN_BACK], aggregates[_PAID_IN] = given_back, paid
            aggregates[_OWED] = max(0, gross[at] - given_back - paid)
        aggregates[_RETURNED] = 1 if found == _RETURN else 0
        aggregates[_OPEN] = 0 if found in (_COMPLETE, _CANCEL, _RETURN) else 1
        c, m = currency_end[at] - currency[at], market_end[at] - market[at]
        if c + m > len(keys):
            keys = np.empty(c + m, dtype=np.uint8)
        for i in range(c):
            keys[i] = currency_body[currency[at] + i]
        for i in range(m):
            keys[c + i] = market_body[market[at] + i]
        to = put_row(out, to, ORDERS, keys, 0, c, c, c + m, is_placed[at], placed_at[at] // DAY_US, aggregates)
        while row < end:
            aggregates[:] = 0
            if part[row] == _LINE and found != _CANCEL and quantity[row] != 0:
                aggregates[_AMOUNT] = quantity[row]
                if has_sku[row]:
                    to = put_row(out, to, PRODUCT, body, sku[row], sku_end[row], 0, 0, False, 0, aggregates)
                if has_category[row]:
                    to = put_row(out, to, CATEGORY, body, category[row], category_end[row], 0, 0, False, 0, aggregates)
            elif part[row] == _INVOICE and amount[row] > 0:
                bill = _status(status[row], status_end[row], status_body)
                if bill != _PAID and bill != _CANCEL:
                    aggregates[_COUNT] = 1
                    aggregates[_AMOUNT] = amount[row]
                    to = put_row(
                        *(out, to, INVOICE, currency_body, currency[row], currency_end[row]),
                        *(0, 0, is_due[row], due_on[row], aggregates),
                    )
            elif part[row] == _REFUND and found != _CANCEL and amount[row] != 0:
                elsewhere = not _is_same(
                    currency_body, currency[row], currency_end[row], currency[at], currency_end[at]
                )
                if elsewhere and _moved_money(_status(status[row], status_end[row], status_body)):
                    c = currency_end[row] - currency[row]
                    if c + m > len(keys):
                        keys = np.empty(c + m, dtype=np.uint8)
                    keys[:c] = currency_body[currency[row] : currency_end[row]]
                    keys[c : c + m] = market_body[market[at] : market_end[at]]
                    aggregates[_GIVEN_BACK] = abs(amount[row])
                    to = put_row(out, to, ORDERS, keys, 0, c, c, c + m, False, 0, aggregates)
            row += 1
        ends[k + 1] = to
