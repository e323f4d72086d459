"""Pack what refunds give back beside orders: partial aggregates of customers, in the line of a currency and market."""

from __future__ import annotations

import numpy as np

from nurt.columnar.texts import Texts, join_texts
from nurt.columnar.types import Bools, Int64s
from nurt.rows.children.contributions import compact
from nurt.rows.children.tables import AGGREGATES, CHILDREN, ORDERS
from nurt.state.write_rows import pack_columns

UNCOUNTED = ("failed", "cancelled", "pending")
"""Statuses of payments and refunds that moved no money; any other status, and none, did."""


def pack_given_back(gone: Bools, counts: Bools, currency: Texts, market: Texts, amount: Int64s) -> Texts:
    """Pack every refund's partial aggregate: a count of one, then what it gives back; a gone refund has an empty one.

    Args:
        gone: by refund.
        counts: by refund: it gives back something.
        currency, market: the key of the line; empty where unknown.
        amount: ten-thousandths; zero or more.
    """
    rows = len(gone)
    child = pack_columns(AGGREGATES, {"metric": np.full(rows, CHILDREN), "count": np.ones(rows, dtype=np.int64)}, {})
    named = {"k1": currency.stops > currency.starts, "k2": market.stops > market.starts}
    line = pack_columns(
        AGGREGATES, {"metric": np.full(rows, ORDERS), "given_back": amount}, {"k1": currency, "k2": market}, named
    )
    both = join_texts([child, line])
    left_out = np.concatenate([gone, gone | ~counts | (amount == 0)])
    both = Texts(both.starts, np.where(left_out, both.starts, both.stops), both.body)
    packed = compact(both.take(np.arange(2 * rows).reshape(2, rows).T.reshape(-1)))
    return Texts(packed.starts[::2], packed.stops[1::2], packed.body)
