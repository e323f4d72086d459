"""Write what each order adds to its account: rows of AGGREGATES for the order, its lines and its invoices.

Hot path, one kernel over the rows of many orders.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from nurt.columnar.texts import Texts, TextTuple
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.profiles.aggregate_rows import NUMBERS, ROW_BYTES_MAX, put_row
from nurt.rows.children.tables import AGGREGATE_COLUMNS, CATEGORY, CHILDREN, CODE, DAY_US, INVOICE, ORDERS, PRODUCT

_ORDER, _LINE, _INVOICE = CODE["order"], CODE["order_line"], CODE["invoice"]
_COUNT, _AMOUNT, _CANCELLED, _RETURNED, _OPEN = (
    AGGREGATE_COLUMNS.index(name) for name in ("count", "amount", "cancelled", "returned", "open")
)


class Sold(NamedTuple):
    """Rows of orders (ORDER_RECORDS), sorted by order, as a kernel takes them; absent numbers are 0, absent texts
    empty.

    Attributes:
        owner: index of the order.
        part: code of the row's kind.
        currency, market, status, gross, placed_at (microseconds), is_placed: of the order's own row; an invoice has a
            currency and a status too.
        sku, has_sku, category, has_category, quantity: of a line; returned pieces are subtracted.
        amount, due_on (days), is_due: of an invoice; the amount is the open amount.
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

    A cancelled order counts as cancelled and sells nothing; an order with an unknown status is open.

    Args:
        sold: rows of the orders.
        order_row: by order: its own row; -1: none.
        owners: orders with an own row, ascending.
    """
    texts = (sold.currency, sold.market, sold.sku, sold.category)
    text_bytes = sum(int((stops - starts).sum()) for starts, stops, _ in texts)
    rows = len(sold.owner)
    out = np.empty(3 * text_bytes + 3 * rows * ROW_BYTES_MAX, dtype=np.uint8)
    ends = np.zeros(len(owners) + 1, dtype=np.int64)
    _pack(sold, order_row, owners, out, ends)
    return Texts(ends[:-1], ends[1:], out[: ends[-1]])


_OTHER, _COMPLETE, _CANCEL, _RETURN, _PAID = 0, 1, 2, 3, 4
_STATUSES = ((b"complete", _COMPLETE), (b"cancelled", _CANCEL), (b"returned", _RETURN), (b"paid", _PAID))
_NAMES = np.frombuffer(b"".join(name for name, _ in _STATUSES), dtype=np.uint8).copy()
_ENDS = np.cumsum([0, *(len(name) for name, _ in _STATUSES)])


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
def _pack(sold: Sold, order_row: Int64s, owners: Int64s, out: Bytes, ends: Int64s) -> None:
    """Pack what each order adds to its account: a row of AGGREGATES for the order, for each line, for each open
    invoice.

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
        aggregates[:] = 0
        aggregates[_COUNT] = 1
        to = put_row(out, to, CHILDREN, body, 0, 0, 0, 0, False, 0, aggregates)
        aggregates[:] = 0
        if found == _CANCEL:
            aggregates[_CANCELLED] = 1
        else:
            aggregates[_COUNT] = 1
            aggregates[_AMOUNT] = gross[at]
        aggregates[_RETURNED] = 1 if found == _RETURN else 0
        aggregates[_OPEN] = 1 if found in (_OTHER, _PAID) else 0
        c, m = currency_end[at] - currency[at], market_end[at] - market[at]
        if c + m > len(keys):
            keys = np.empty(c + m, dtype=np.uint8)
        for i in range(c):
            keys[i] = currency_body[currency[at] + i]
        for i in range(m):
            keys[c + i] = market_body[market[at] + i]
        to = put_row(out, to, ORDERS, keys, 0, c, c, c + m, is_placed[at], placed_at[at] // DAY_US, aggregates)
        while row < len(owner) and owner[row] < one:
            row += 1
        while row < len(owner) and owner[row] == one:
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
            row += 1
        ends[k + 1] = to
