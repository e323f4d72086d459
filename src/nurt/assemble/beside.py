"""Find, for rows that are made of several, which of the rows beside them count. Hot path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nurt.assemble.choose import choose
from nurt.assemble.evaluate import Rows
from nurt.assemble.slots import ASSEMBLY_LAYOUT, TABLES_MAX, sent_of
from nurt.columnar.text_codes import codes_of
from nurt.columnar.types import Int64s
from nurt.mapping.joins.plan import CompiledUse
from nurt.model.entities import FieldType
from nurt.state.row_major import RowArrays

_PART, _NAME = ASSEMBLY_LAYOUT.place("part"), ASSEMBLY_LAYOUT.place("name")


@dataclass(frozen=True, slots=True)
class BesideUse:
    """A use of rows beside an entry's rows.

    Attributes:
        columns: by column of expressions, `<use>.<column>`: the stored column, and its type.
        order: columns that decide between rows, and whether the larger comes first.
    """

    use: CompiledUse
    columns: dict[str, tuple[str, FieldType]]
    order: tuple[tuple[str, bool], ...]

    @classmethod
    def of(cls, use: CompiledUse) -> BesideUse:
        """Prepare a use."""
        slots = sent_of(use).slots
        columns = {
            f"{use.name}.{column}": (slots[column if use.pivot is None else use.pivot[1]], use.types[column])
            for column in use.columns
        }
        order = tuple((slots.get(rank.field, "key"), rank.descending) for rank in use.first)
        return cls(use, columns, (*order, ("key", False), ("part", False)))

    def chosen(self, records: RowArrays, owners: Int64s, count: int) -> dict[str, Rows]:
        """Return, by column, the record that it is read of, for some owners.

        Args:
            records: of all owners.
            owners: which of them.
            count: how many there are.
        """
        every = np.arange(len(records))
        mine = records.numbers[:, _PART] // TABLES_MAX == self.use.number
        if self.use.pivot is None:
            at, cell, width = every[mine], records.owner[mine], 1
        else:
            width = len(self.use.columns)
            code = codes_of(records.text(_NAME, every), self.use.columns)
            mine &= code >= 0
            at, cell = every[mine], records.owner[mine] * width + code[mine]
        winner = choose(ASSEMBLY_LAYOUT, records, at, cell, count * width, self.order).reshape(count, width)[owners]
        return {
            name: Rows(ASSEMBLY_LAYOUT, records, winner[:, place if width > 1 else 0])
            for place, name in enumerate(self.columns)
        }
