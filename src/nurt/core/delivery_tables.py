"""What a delivery gives to an analytics store: whole profiles of a batch, flat and nested, and who was erased."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class TableBatch:
    """The newest revision of some profiles.

    Attributes:
        flat: by table name, rows of all profiles; each with `id` and `revision`.
        nested: one row a profile, its lists as columns of structs.
        erased: (id, the last revision that was told).
    """

    flat: dict[str, pl.DataFrame]
    nested: pl.DataFrame
    erased: list[tuple[str, int]]

    def __len__(self) -> int:
        return self.nested.height + len(self.erased)
