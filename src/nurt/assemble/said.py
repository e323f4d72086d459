"""Compare a row that was made with the one that was said before: the parents that it left stay known.

The row that is made now counts, whatever was said before: it is a function of today's state. Hot path.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import are_equal
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import Values
from nurt.rows.fold import RowsFolded, left_parents
from nurt.rows.layouts import ROOTS, ROW_LAYOUTS
from nurt.rows.tokens import KIND as TOKENS_OF
from nurt.rows.tokens import Tokens
from nurt.state.row_major import RowArrays, join_rows, read_values


def fold_said(kind: str, stored: Values, made: RowArrays, tokens: Tokens | None) -> RowsFolded:
    """Return rows of a kind as they are said now, with the parents that they left.

    Args:
        kind: of the rows.
        stored: by owner: as said before.
        made: one row an owner, in their order.
        tokens: makes those of orders that others name by a field; None: nobody does.
    """
    before = read_values(ROW_LAYOUTS[kind], stored)
    rows = join_rows(before, made)
    owners = len(made)
    winner = np.arange(owners) + len(before)
    at, owner, left = winner, np.arange(owners), np.zeros(owners, dtype=np.bool_)
    every, gone = np.ones(len(rows), dtype=np.bool_), at[:0]
    if kind not in ROOTS:
        gone = left_parents(rows, every, winner)
    elif tokens is not None and kind == TOKENS_OF:
        rows, gone = tokens.left(rows, every, winner)
    if len(gone):
        at, owner = np.concatenate((at, gone)), np.concatenate((owner, rows.owner[gone]))
        left = np.concatenate((left, np.ones(len(gone), dtype=np.bool_)))
        order = np.argsort(owner, kind="stable")
        at, owner, left = at[order], owner[order], left[order]
    everything = np.ones(owners, dtype=np.bool_)
    return RowsFolded(ROW_LAYOUTS[kind], rows, at, owner, left, everything, everything)


def differing(values: Values, stored: Values) -> Bools:
    """Return where a value is not the stored one."""
    changed = np.zeros(len(values), dtype=np.bool_)
    _differ(values.body, values.cuts, stored.body, stored.cuts, changed)
    return changed


@numba.njit(nogil=True, cache=True)
def _differ(body: Bytes, cuts: Int64s, other: Bytes, other_cuts: Int64s, changed: Bools) -> None:
    """Compare values byte by byte.

    body, other         (b,)    uint8  values, and others
    cuts, other_cuts    (n+1,)  int64  value i is body[cuts[i]:cuts[i+1]]
    changed             (n,)    bool   written
    """
    for one in range(len(changed)):
        size = cuts[one + 1] - cuts[one]
        changed[one] = size != other_cuts[one + 1] - other_cuts[one] or not are_equal(
            body.ctypes.data + cuts[one], other.ctypes.data + other_cuts[one], size
        )
