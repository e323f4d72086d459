"""What a delivery gives to an analytics store: whole profiles, orders or figures of a batch, and erased ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

Columns = dict[str, pl.DataType]

OF = "{of}"
"""Placeholder for the family's name in a path or a table's name."""


@dataclass(frozen=True, slots=True)
class TableFamily:
    """Tables that belong together: one row a profile, order or figure, and a table for each of its lists.

    Attributes:
        name: of the table with one row each; also the word of `of`.
        one: what one row of that table is.
        tables: columns by table, `id` and `revision` in each; the one called `name` has `realm`, which is never null.
        prefix: text before a list's name in the name of its table.
    """

    name: str
    one: str
    tables: Mapping[str, Columns]
    prefix: str

    def lists(self) -> dict[str, str]:
        """Return the table of each list, by the list's name."""
        return {table.removeprefix(self.prefix): table for table in self.tables if table != self.name}

    def items(self, table: str) -> Columns:
        """Return the columns of a list's entry, without the columns that identify it."""
        return {name: kind for name, kind in self.tables[table].items() if name not in ("id", "revision", "rank")}

    def placed(self, text: str) -> str:
        """Replace `{of}` in a path or a table's name by the family's name."""
        return text.replace(OF, self.name)


@dataclass(frozen=True, slots=True)
class TableBatch:
    """Newest revisions of some profiles, orders or figures.

    Attributes:
        flat: by table name, rows of all of them; each with `id` and `revision`.
        nested: one row each, its lists as columns of structs.
        erased: (id, the last delivered revision).
    """

    flat: dict[str, pl.DataFrame]
    nested: pl.DataFrame
    erased: list[tuple[str, int]]

    def __len__(self) -> int:
        return self.nested.height + len(self.erased)

    def erased_rows(self) -> pl.DataFrame:
        """Return the erased ids as rows."""
        return pl.DataFrame(self.erased, schema={"id": pl.String(), "revision": pl.Int64()}, orient="row")
