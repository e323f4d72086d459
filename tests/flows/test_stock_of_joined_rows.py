"""Stock levels that name their product by number find its sku in another table, whenever that comes or changes."""

from __future__ import annotations

from nurt.model.entity_frame import DELETE, UPSERT
from nurt.model.stock.plan import UNIT
from tests.flows.test_stock_rules import plan
from tests.oracle.frames import batch_of
from tests.oracle.joins import warehouse
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.sources import Event, Stored
from tests.oracle.stock_engine import StockEngine
from tests.oracle.stock_histories import BASE_MS


class Warehouse:
    """An engine whose levels look up products."""

    def __init__(self, workers: int) -> None:
        self.engine = StockEngine(plan(), seed=workers, joins=warehouse())
        self.engine.start(workers)
        self._number = 0

    def _row(self, kind: str, entity: str, key: str, fields: dict[str, object] | None) -> None:
        self._number += 1
        columns = {f"c{place}": None for place in range(8)} | {f"n{place}": None for place in range(8)}
        stored = None if fields is None else Stored(columns | fields, None, None)
        op = DELETE if fields is None else UPSERT
        place = (self._number, 0, 0, 0)
        event = Event(self._number, "erp", kind, entity, key, op, 0, 0, place, 0, self._number, BASE_MS, stored)
        self.engine.feed(batch_of([event], DEPLOYMENT_IDS))

    def product(self, key: str, sku: str | None) -> None:
        """Write a product, or delete it."""
        self._row("table/6", "product_row", key, None if sku is None else {"c0": sku})

    def level(self, key: str, product: str, pieces: int) -> None:
        """Write a stock level."""
        self._row("table/11", "stock_level", key, {"c0": "N", "c1": product, "n0": pieces * UNIT})

    def left(self) -> dict[str, int]:
        """Return what is left of each sku that has some."""
        found = {sku: available // UNIT for (sku, _, _), (_, available) in self.engine.figures.items()}
        return {sku: pieces for sku, pieces in found.items() if pieces}


def test_levels_find_the_sku_of_their_product_whichever_comes_first() -> None:
    for workers in (1, 3):
        stock = Warehouse(workers)
        stock.level("1", "7", 5)
        assert stock.left() == {}
        stock.product("7", "MUG")
        stock.level("2", "7", 2)
        assert stock.left() == {"MUG": 7}
        stock.product("7", "CUP")  # the code was wrong: what was said of the other sku goes
        assert stock.left() == {"CUP": 7}
        stock.level("2", "8", 2)
        assert stock.left() == {"CUP": 5}
        stock.product("8", "PEN")
        stock.product("7", None)
        assert stock.left() == {"PEN": 2}
