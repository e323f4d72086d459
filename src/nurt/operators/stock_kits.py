"""Kits of a worker's realms: which parts each is made of, and what is held of them. A few; not on the hot path."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import polars as pl

from nurt.core.context import FoldContext
from nurt.core.stock.said import KIT_PART, SHELVES, sku_ids
from nurt.core.tables import OWNER
from nurt.model.keys import Keys
from nurt.operators.stock_view import SHELF
from nurt.ports import Store

ID_BYTES = 16
Parts = list[tuple[bytes, int]]
"""Ids of parts, and how many ten-thousandths of a piece of each one kit has."""


class Kits:
    """Knows the parts of every kit; once a run they are searched among all shelves."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext) -> None:
        self._store, self._keys, self._context = store, keys, context
        self._known: dict[str, dict[bytes, Parts]] = {}

    def of(self, realm: str) -> dict[bytes, Parts]:
        """Return the parts of every kit of a realm."""
        if realm not in self._known:
            self._known[realm] = {}
            for ids in list(self._store.scan(SHELF)):
                some = [one for one in ids if len(one) == ID_BYTES]
                values = self._store.read(self._keys.in_realm(SHELF, realm, some)) if some else []
                self.note(realm, some, values)
        return self._known[realm]

    def note(self, realm: str, ids: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Take in shelves as they are now."""
        rows = SHELVES.unpack(values, ("part", "of", "quantity"))
        parts = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
        kits = self.of(realm)
        for one in ids:
            kits.pop(one, None)
        if not parts.height:
            return
        summed = parts.group_by(OWNER, "of").agg(pl.col("quantity").fill_null(0).sum())
        named = summed.with_columns(sku_ids(self._context.ids, summed["of"]).alias("of"))
        for owner, part, quantity in named.iter_rows():
            kits.setdefault(ids[owner], []).append((part, quantity))


def kit_texts(values: Sequence[bytes | None]) -> dict[int, str]:
    """Write what kits are made of, for those who reserve them, by the index of their shelves."""
    rows = SHELVES.unpack(values, ("part", "of", "quantity"))
    parts = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
    if not parts.height:
        return {}
    summed = parts.group_by(OWNER, "of").agg(pl.col("quantity").sum()).sort(OWNER, "of")
    found: dict[int, list[list[object]]] = {}
    for owner, part, quantity in summed.iter_rows():
        found.setdefault(owner, []).append([part, quantity])
    return {owner: orjson.dumps(listed).decode() for owner, listed in found.items()}
