"""Count holds of kits as holds of their parts. Not on the hot path: kits are few."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from nurt.columnar.distinct import words
from nurt.columnar.types import KeyRows
from nurt.columnar.values import Values
from nurt.model.keys import Keys
from nurt.model.stock.plan import UNIT
from nurt.normalise.context import FoldContext
from nurt.state.table import OWNER
from nurt.stock.from_rows import sku_ids
from nurt.stock.holds import HOLDS, KIT
from nurt.stock.kits import KITS_DEEP_MAX

Load = Callable[[Sequence[KeyRows]], list[Values]]
POSITION_HOLDS = b"d"


def overlaid(values: list[bytes | None], at: Sequence[int], other: Sequence[bytes | None]) -> Values:
    """Replace some of the values."""
    for one, value in zip(at, other, strict=True):
        values[one] = value
    return Values.of(values)


def holds_with_kits(
    hold_values: Values, realm: str, context: FoldContext, keys: Keys, load: Load
) -> tuple[Values, list[str]]:
    """Count holds of kits as holds of their parts, through nested kits.

    A path of kits that returns to a visited kit ends there.

    Args:
        hold_values: HOLDS by sku; parts KIT name the kits that use it.

    Returns (HOLDS by sku, the kits).
    """
    if not hold_values.size_bytes:
        return hold_values, []
    raw = HOLDS.locate(hold_values.body, hold_values.cuts, ("part",))
    users = np.unique(raw.owner[raw.numbers[0] == KIT])
    if not len(users):
        return hold_values, []
    every = hold_values.plain()
    holds = HOLDS.unpack([every[one] for one in users])
    ways: list[tuple[int, int, tuple[str, ...]]] = [
        (owner, quantity, (sku, kit))
        for owner, sku, kit, quantity in holds.filter(pl.col("part") == KIT)
        .select(OWNER, "sku", "of", "quantity")
        .iter_rows()
    ]
    found, uses, kits = list(ways), dict[str, list[tuple[str, int]]](), list[pl.DataFrame]()
    for depth in range(KITS_DEEP_MAX):
        fresh = list(dict.fromkeys(path[-1] for _, _, path in ways if path[-1] not in uses))
        if fresh:
            names = pl.Series(fresh, dtype=pl.String)
            (values,) = load([keys.rows_in(POSITION_HOLDS, realm, words(sku_ids(context.ids, names)))])
            rows = HOLDS.unpack(values.plain())
            rows = rows.with_columns(names.gather(rows[OWNER]).alias("kit")).drop(OWNER)
            uses |= {kit: [] for kit in fresh}
            for kit, outer, quantity in rows.filter(pl.col("part") == KIT).select("kit", "of", "quantity").iter_rows():
                uses[kit].append((outer, quantity))
            kits.append(rows.filter(pl.col("part") != KIT).with_columns(pl.col("kit").alias("of")).drop("kit"))
        if depth + 1 < KITS_DEEP_MAX:
            ways = [
                (owner, factor * quantity // UNIT, (*path, outer))
                for owner, factor, path in ways
                for outer, quantity in uses[path[-1]]
                if outer not in path
            ]
            found += ways
    through = pl.DataFrame(
        [(owner, path[-1], factor) for owner, factor, path in found],
        schema={OWNER: pl.Int64(), "of": pl.String(), "uses": pl.Int64()},
        orient="row",
    ).join(pl.concat(kits), on="of", maintain_order="left")
    through = through.with_columns((pl.col("quantity") * pl.col("uses") // UNIT).alias("quantity"))
    holds = holds.filter(pl.col("part") != KIT)
    both = pl.concat([holds, through.select(holds.columns)]).sort(OWNER, maintain_order=True)
    return overlaid(every, users.tolist(), HOLDS.pack(both, len(users))), list(uses)
