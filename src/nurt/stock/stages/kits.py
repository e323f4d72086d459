"""Kits of a worker's realms: which parts each is made of, and what is held of them. A few; not on the hot path."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import polars as pl

from nurt.columnar.types import ID_BYTES
from nurt.model.keys import Keys
from nurt.model.stock_plan import UNIT
from nurt.model.units import Amount
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.state.table import OWNER
from nurt.stock.from_rows import KIT_PART, POSITIONS, sku_ids
from nurt.stock.kits import above, leaves_of
from nurt.stock.stages.view import POSITION

Parts = dict[bytes, Amount]
"""Ids of parts, and how many ten-thousandths of a piece of each one kit has."""
REFUSED = [["", UNIT]]
"""What a kit is said to be made of that contains itself: of a sku that there is none of."""


class Kits:
    """Knows the parts of every kit; once a run they are searched among all shelves."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext) -> None:
        self._store, self._keys, self._context = store, keys, context
        self._known: dict[str, dict[bytes, Parts]] = {}
        self._names: dict[bytes, str] = {}

    def of(self, realm: str) -> dict[bytes, Parts]:
        """Return what every kit of a realm is made of directly."""
        if realm not in self._known:
            self._known[realm] = {}
            for ids in list(self._store.scan(POSITION, self._keys.realm_place(realm))):
                some = [one for one in ids if len(one) == ID_BYTES]
                values = self._store.read(self._keys.in_realm(POSITION, realm, some)) if some else []
                self.note(realm, some, values)
        return self._known[realm]

    def note(self, realm: str, ids: Sequence[bytes], values: Sequence[bytes | None]) -> list[bytes]:
        """Take in shelves as they are now; returns the kits that any of them is within."""
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
        """Say what a sku is made of in the end: a kit of its parts, any other of itself; a refused kit of nothing."""
        kits = self.of(realm)
        return {one: UNIT} if one not in kits else leaves_of(one, kits.get) or {}

    def text(self, realm: str, one: bytes) -> str:
        """Write what a kit is made of in the end, for those who reserve it."""
        parts = self.leaves(realm, one)
        named = sorted([self._names[part], quantity] for part, quantity in parts.items())
        return orjson.dumps(named or REFUSED).decode()


def direct_parts(values: Sequence[bytes | None]) -> pl.DataFrame:
    """List what kits are made of directly: owner, of, quantity."""
    rows = POSITIONS.unpack(values, ("part", "of", "quantity"))
    parts = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
    return parts.group_by(OWNER, "of", maintain_order=True).agg(pl.col("quantity").fill_null(0).sum())
