"""Read the rows that others look up, wherever they are. Hot path for entries that look up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from nurt.assemble.evaluate import Rows
from nurt.assemble.slots import digests_of, part_of, record_plan
from nurt.columnar.distinct import distinct, words
from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s, Words
from nurt.mapping.joins.plan import CompiledUse
from nurt.model.entities import FieldType
from nurt.model.entity_frame import DELETE
from nurt.model.keys import Keys
from nurt.ports.store import Store
from nurt.rows.layouts import OP, PART, ROW, ROW_LAYOUTS
from nurt.rows.sweeping import row_kind
from nurt.state.row_major import read_values


@dataclass(frozen=True, slots=True)
class Sought:
    """What the rows of an entry look up by one use.

    Attributes:
        part: of the records by which a row knows what it looked up.
        has: by row: whether it looks up one.
        targets: ids, of the rows that have one.
        found: by row: whether there is such a row.
        digests: of what is used of it, of the rows that have one.
    """

    use: CompiledUse
    part: int
    has: Bools
    targets: Words
    found: Bools
    digests: Int64s


class LookUps:
    """The uses by which an entry's rows look up others."""

    def __init__(self, uses: Sequence[CompiledUse], ids: Ids) -> None:
        self.uses = [use for use in uses if not use.on]
        self._ids = ids
        self._plans = [record_plan(use, use.tables[0]) for use in self.uses]
        self.types: dict[str, tuple[str, FieldType]] = {
            f"{use.name}.{column}": (use.tables[0].slots[column], use.types[column])
            for use in self.uses
            for column in use.columns
        }

    def seek(self, store: Store, keys: Keys, ids: Sequence[pl.Series]) -> tuple[list[Sought], dict[str, Rows]]:
        """Read rows; return what was sought, and by column the rows that it is read of.

        Args:
            ids: by use: ids of what each row looks up, or null.
        """
        there = [one.is_not_null().to_numpy() for one in ids]
        targets = [words(one.drop_nulls()) for one in ids]
        coded = [distinct(some) for some in targets]
        blocks = [
            keys.rows_of(row_kind(use.tables[0].kind), some[firsts])
            for use, some, (_, firsts) in zip(self.uses, targets, coded, strict=True)
        ]
        values = store.load(blocks)
        sought: list[Sought] = []
        others: dict[str, Rows] = {}
        for use, plan, has, some, (codes, firsts), mine in zip(
            self.uses, self._plans, there, targets, coded, values, strict=True
        ):
            layout = ROW_LAYOUTS[use.tables[0].kind]
            rows = read_values(layout, mine)
            speaks = np.flatnonzero((rows.numbers[:, PART] == ROW) & (rows.numbers[:, OP] != DELETE))
            of_target = np.full(len(firsts), -1, dtype=np.int64)
            of_target[rows.owner[speaks]] = speaks
            digests = np.zeros(len(firsts), dtype=np.int64)
            living = np.flatnonzero(of_target >= 0)
            none = np.zeros(len(living), dtype=np.bool_)
            digests[living] = digests_of(plan, rows, of_target[living], none, some[firsts][living], self._ids)
            at = np.full(len(has), -1, dtype=np.int64)
            at[has] = of_target[codes]
            sought.append(Sought(use, part_of(use, 0), has, some, at >= 0, digests[codes]))
            for column in use.columns:
                others[f"{use.name}.{column}"] = Rows(layout, rows, at)
        return sought, others
