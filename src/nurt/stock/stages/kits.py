"""Kits of a worker's realms, and the parts of each kit. Few kits; not on the hot path."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import polars as pl

from nurt.columnar.types import ID_BYTES
from nurt.model.keys import Keys
from nurt.model.stock.plan import UNIT
from nurt.model.units import Amount
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.state.table import OWNER
from nurt.stock.from_rows import KIT_PART, POSITIONS, sku_ids
from nurt.stock.kits import above, leaves_of
from nurt.stock.stages.view import POSITION

Parts = dict[bytes, Amount]
"""Ids of parts -> quantity in one kit, in ten-thousandths of a piece."""
REFUSED = [["", UNIT]]
"""Parts of a refused kit, for the ledger: one piece of a sku that has no stock, so the kit cannot be sold."""


class Kits:
    """An index of the parts of every kit; once a run, it is built from all positions."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext) -> None:
        self._store, self._keys, self._context = store, keys, context
        self._known: dict[str, dict[bytes, Parts]] = {}
        self._names: dict[bytes, str] = {}

    def of(self, realm: str) -> dict[bytes, Parts]:
        """Return the direct parts of every kit of a realm."""
        if realm not in self._known:
            self._known[realm] = {}
            for ids in list(self._store.scan(POSITION, self._keys.realm_place(realm))):
                some = [one for one in ids if len(one) == ID_BYTES]
                values = self._store.read(self._keys.in_realm(POSITION, realm, some)) if some else []
                self.note(realm, some, values)
        return self._known[realm]

    def note(self, realm: str, ids: Sequence[bytes], values: Sequence[bytes | None]) -> list[bytes]:
        """Note the current positions of skus; returns the kits that contain any of these skus."""
        kits = self.of(realm)
        for one in ids:
            kits.pop(one, None)
        summed = direct_parts(values)
        named = sku_ids(self._context.ids, summed["of"]).to_list()
        for (owner, name, quantity), part in zip(summed.iter_rows(), named, strict=True):
            kits.setdefault(ids[owner], {})[part] = quantity
            self._names[part] = name
        return sorted({kit for one in ids for kit in above(one, kits)})

    def leaves(self, realm: str, one: bytes) -> Parts:
        """Resolve a sku: a kit into its final parts, another sku into itself, a refused kit into nothing."""
        kits = self.of(realm)
        return {one: UNIT} if one not in kits else leaves_of(one, kits.get) or {}

    def text(self, realm: str, one: bytes) -> str:
        """Write a kit's final parts as text, for reservations."""
        parts = self.leaves(realm, one)
        named = sorted([self._names[part], quantity] for part, quantity in parts.items())
        return orjson.dumps(named or REFUSED).decode()


def direct_parts(values: Sequence[bytes | None]) -> pl.DataFrame:
    """List direct parts of kits: owner, of, quantity."""
    rows = POSITIONS.unpack(values, ("part", "of", "quantity"))
    parts = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
    return parts.group_by(OWNER, "of", maintain_order=True).agg(pl.col("quantity").fill_null(0).sum())
