"""Fold contributions into a parent's slots: the newest of each child stays, a child that is gone leaves.

Hot path; the same for orders and accounts.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from nurt.core.columns import distinct, newest, pair_keys
from nurt.core.tables import OWNER


def fold_slots(stored: pl.DataFrame, incoming: pl.DataFrame) -> pl.DataFrame:
    """Return the slots after the contributions: one a (owner, child), gone ones left out, sorted by owner.

    Args:
        stored: owner, child, stamp and the table's columns.
        incoming: the same columns and `gone`; a contribution replaces a slot when its stamp is not smaller.
    """
    columns = stored.columns
    both = pl.concat([stored.with_columns(pl.lit(False).alias("gone")), incoming.select(*columns, "gone")])
    if not both.height:
        return stored
    codes, firsts = distinct(pair_keys(both[OWNER].to_numpy(), both["child"]))
    winners = newest(codes, both["stamp"].to_numpy(), len(firsts))
    kept = both[np.sort(winners)]
    return kept.filter(~pl.col("gone")).select(columns).sort(OWNER, maintain_order=True)
