"""Write what each order adds to its account: rows of SUMS for the order, its lines and its invoices.

Hot path, one kernel over the rows of many orders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Int64s
from nurt.profiles.sum_rows import NUMBERS, ROW_BYTES_MAX, put_row
from nurt.rows.child_tables import BUCKET_SUMS, CATEGORY, CHILDREN, CODE, DAY_US, INVOICE, ORDERS, PRODUCT

_ORDER, _LINE, _INVOICE = CODE["order"], CODE["order_line"], CODE["invoice"]
_COUNT, _AMOUNT, _CANCELLED, _RETURNED, _OPEN = (
    BUCKET_SUMS.index(name) for name in ("count", "amount", "cancelled", "returned", "open")
)


@dataclass(frozen=True, slots=True)
class Sold:
    """Rows of orders (ORDER_SLOTS), sorted by order; numbers that are absent are 0, texts empty.

    Attributes:
        owner: index of the order.
        part: code of the row's kind.
        currency, market, status, gross, placed_at (microseconds), is_placed: of the order's own row; an invoice has a
            currency and a status too.
        sku, has_sku, category, has_category, quantity: of a line; what came back is taken off.
        amount, due_on (days), is_due: of an invoice; the amount is what is open.
    """

    owner: Int64s
    part: Int64s
    currency: Texts
    market: Texts
    status: Texts
    sku: Texts
    has_sku: Bools
    category: Texts
    has_category: Bools
    gross: Int64s
    placed_at: Int64s
    is_placed: Bools
    quantity: Int64s
    amount: Int64s
    due_on: Int64s
    is_due: Bools


def pack_shares(sold: Sold, own: Int64s, owners: Int64s) -> Texts:
    """Return what each order says, packed.

    A cancelled order counts as cancelled and sells nothing; an order whose status is none of ours is open.

    Args:
        sold: rows of the orders.
        own: by order: its own row; -1: it has none.
        owners: orders that have one, ascending.
    """
    texts = (sold.currency, sold.market, sold.sku, sold.category)
    letters = sum(int((one.stops - one.starts).sum()) for one in texts)
    rows = len(sold.owner)
    out = np.empty(3 * letters + 3 * rows * ROW_BYTES_MAX, dtype=np.uint8)
    ends = np.zeros(len(owners) + 1, dtype=np.int64)
    _pack(
        *(sold.owner, sold.part, own, owners),
        *(sold.currency.starts, sold.currency.stops, sold.currency.body),
        *(sold.market.starts, sold.market.stops, sold.market.body),
        *(sold.status.starts, sold.status.stops, sold.status.body),
        *(sold.sku.starts, sold.sku.stops, sold.has_sku, sold.category.starts, sold.category.stops),
        *(sold.has_category, sold.sku.body),
        *(sold.gross, sold.placed_at, sold.is_placed, sold.quantity, sold.amount, sold.due_on, sold.is_due),
        *(out, ends),
    )
    return Texts(ends[:-1], ends[1:], out[: ends[-1]])


_OTHER, _COMPLETE, _CANCEL, _RETURN, _PAID = 0, 1, 2, 3, 4
_STATUSES = ((b"complete", _COMPLETE), (b"cancelled", _CANCEL), (b"returned", _RETURN), (b"paid", _PAID))
_NAMES = np.frombuffer(b"".join(name for name, _ in _STATUSES), dtype=np.uint8).copy()
_ENDS = np.cumsum([0, *(len(name) for name, _ in _STATUSES)])


@numba.njit(nogil=True, cache=True)
def _status(start, stop, body):  # type: ignore[no-untyped-def]
    """Tell the statuses apart that count."""
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
def _pack(  # type: ignore[no-untyped-def]
    owner,
    part,
    own,
    owners,
    currency,
    currency_end,
    currency_body,
    market,
    market_end,
    market_body,
    status,
    status_end,
    status_body,
    sku,
    sku_end,
    has_sku,
    category,
    category_end,
    has_category,
    body,
    gross,
    placed_at,
    is_placed,
    quantity,
    amount,
    due_on,
    is_due,
    out,
    ends,
):
    sums = np.zeros(NUMBERS, dtype=np.int64)
    keys = np.empty(16, dtype=np.uint8)
    row = 0
    to = 0
    for k in range(len(owners)):
        one = owners[k]
        at = own[one]
        found = _status(status[at], status_end[at], status_body)
        sums[:] = 0
        sums[_COUNT] = 1
        to = put_row(out, to, CHILDREN, body, 0, 0, 0, 0, False, 0, sums)
        sums[:] = 0
        if found == _CANCEL:
            sums[_CANCELLED] = 1
        else:
            sums[_COUNT] = 1
            sums[_AMOUNT] = gross[at]
        sums[_RETURNED] = 1 if found == _RETURN else 0
        sums[_OPEN] = 1 if found in (_OTHER, _PAID) else 0
        c, m = currency_end[at] - currency[at], market_end[at] - market[at]
        if c + m > len(keys):
            keys = np.empty(c + m, dtype=np.uint8)
        for i in range(c):
            keys[i] = currency_body[currency[at] + i]
        for i in range(m):
            keys[c + i] = market_body[market[at] + i]
        to = put_row(out, to, ORDERS, keys, 0, c, c, c + m, is_placed[at], placed_at[at] // DAY_US, sums)
        while row < len(owner) and owner[row] < one:
            row += 1
        while row < len(owner) and owner[row] == one:
            sums[:] = 0
            if part[row] == _LINE and found != _CANCEL and quantity[row] != 0:
                sums[_AMOUNT] = quantity[row]
                if has_sku[row]:
                    to = put_row(out, to, PRODUCT, body, sku[row], sku_end[row], 0, 0, False, 0, sums)
                if has_category[row]:
                    to = put_row(out, to, CATEGORY, body, category[row], category_end[row], 0, 0, False, 0, sums)
            elif part[row] == _INVOICE and amount[row] > 0:
                bill = _status(status[row], status_end[row], status_body)
                if bill != _PAID and bill != _CANCEL:
                    sums[_COUNT] = 1
                    sums[_AMOUNT] = amount[row]
                    to = put_row(
                        *(out, to, INVOICE, currency_body, currency[row], currency_end[row]),
                        *(0, 0, is_due[row], due_on[row], sums),
                    )
            row += 1
        ends[k + 1] = to
