"""What a delivery gives to an analytics store: whole profiles, orders or figures of a batch, and who was erased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

Columns = dict[str, pl.DataType]

OF = "{of}"
"""Where a path or a table's name says it, the name of a family is put."""


@dataclass(frozen=True, slots=True)
class TableFamily:
    """Tables that belong together: one row a profile, order or figure, and a table for each of its lists.

    Attributes:
        name: of the table with one row each; also the word of `of`.
        one: what a row of it is.
        tables: columns by table, `id` and `revision` in each; the one called `name` has `realm`, which is never null.
        prefix: what stands before a list's name in the name of its table.
    """

    name: str
    one: str
    tables: Mapping[str, Columns]
    prefix: str

    def lists(self) -> dict[str, str]:
        """Say which table holds which list, by the list's name."""
        return {table.removeprefix(self.prefix): table for table in self.tables if table != self.name}

    def items(self, table: str) -> Columns:
        """Say what an entry of a list holds, without what says whose and which it is."""
        return {name: kind for name, kind in self.tables[table].items() if name not in ("id", "revision", "rank")}

    def placed(self, text: str) -> str:
        """Put the family's name where a path or a table's name says `{of}`."""
        return text.replace(OF, self.name)


@dataclass(frozen=True, slots=True)
class TableBatch:
    """The newest revision of some profiles, orders or figures.

    Attributes:
        flat: by table name, rows of all of them; each with `id` and `revision`.
        nested: one row each, its lists as columns of structs.
        erased: (id, the last revision that was told).
    """

    flat: dict[str, pl.DataFrame]
    nested: pl.DataFrame
    erased: list[tuple[str, int]]

    def __len__(self) -> int:
        return self.nested.height + len(self.erased)

    def erased_rows(self) -> pl.DataFrame:
        """Return who was erased, as rows."""
        return pl.DataFrame(self.erased, schema={"id": pl.String(), "revision": pl.Int64()}, orient="row")
