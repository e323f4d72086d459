"""Who held what lately: enough to say which orders made a sku oversold. Bounded; nothing of it is stored."""

from __future__ import annotations

import numpy as np
import polars as pl

from nurt.columnar.distinct import words
from nurt.columnar.ids import Ids
from nurt.columnar.types import Words
from nurt.model.keys import words_of
from nurt.state.table import OWNER
from nurt.stock.from_rows import sku_ids
from nurt.stock.holds import HOLD

HOLDERS_MAX = 200_000
"""Holds that are remembered, 32 bytes each; the newest."""


class Holders:
    """The newest holds, in order: which paper held which sku when it was last folded."""

    def __init__(self) -> None:
        self._skus: list[Words] = []
        self._papers: list[Words] = []

    def note(self, shares: pl.DataFrame, papers: list[bytes], ids: Ids) -> None:
        """Remember who holds (SHARE and owner, an index into `papers`)."""
        held = shares.filter(pl.col("part") == HOLD)
        if not held.height:
            return
        self._skus.append(words(sku_ids(ids, held["sku"])))
        self._papers.append(words_of(papers)[held[OWNER].to_numpy()])
        while len(self._skus) > 1 and sum(map(len, self._skus)) > HOLDERS_MAX:
            del self._skus[0], self._papers[0]

    def of(self, sku: bytes, most: int) -> list[bytes]:
        """Name papers that held a sku, the newest first."""
        wanted, found = words_of([sku])[0], {}  # type: ignore[var-annotated]
        for skus, papers in zip(reversed(self._skus), reversed(self._papers), strict=True):
            for at in np.flatnonzero((skus == wanted).all(axis=1))[::-1].tolist():
                found[papers[at].tobytes()] = None
                if len(found) >= most:
                    return list(found)
        return list(found)
