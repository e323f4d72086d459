"""Recent holders of skus, to name the orders that made a sku oversold. Bounded and not stored."""

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
"""How many of the newest holds are remembered, 32 bytes each."""


class Holders:
    """The newest holds, in order: which document held which sku at its last fold."""

    def __init__(self) -> None:
        self._skus: list[Words] = []
        self._documents: list[Words] = []

    def note(self, holds: pl.DataFrame, sales_documents: list[bytes], ids: Ids) -> None:
        """Remember holds (DOCUMENT_HOLDS and owner, an index into `sales_documents`)."""
        holding = holds.filter(pl.col("part") == HOLD)
        if not holding.height:
            return
        self._skus.append(words(sku_ids(ids, holding["sku"])))
        self._documents.append(words_of(sales_documents)[holding[OWNER].to_numpy()])
        while len(self._skus) > 1 and sum(map(len, self._skus)) > HOLDERS_MAX:
            del self._skus[0], self._documents[0]

    def of(self, sku: bytes, most: int) -> list[bytes]:
        """Name the documents that held a sku, the newest first."""
        wanted, found = words_of([sku])[0], {}  # type: ignore[var-annotated]
        for skus, sales_documents in zip(reversed(self._skus), reversed(self._documents), strict=True):
            for at in np.flatnonzero((skus == wanted).all(axis=1))[::-1].tolist():
                found[sales_documents[at].tobytes()] = None
                if len(found) >= most:
                    return list(found)
        return list(found)
