"""The oversell drill: several shop processes ask for the same few skus at once, the ERP books later.

Shops ask nurt before they accept. Their orders arrive as change events a moment later, the ERP's documents and stock
levels later still; some buyers walk away, some calls are made twice. The drill checks: nothing oversold, nobody refused
while a piece was left, nothing held for ever. For comparison, shops that only read the ERP's figure serve the same
buyers.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from nurt.adapters.clock import SystemClock
from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.store import RedisStore, claim
from nurt.app.opening import fold_context
from nurt.app.stock import open_shop
from nurt.columnar.ids import Ids
from nurt.mapping.load import read_mapping
from nurt.model.entity_frame import UPSERT, EntityFrame, Translated, entity_columns
from nurt.model.keys import Keys
from nurt.model.stock.plan import UNIT
from nurt.model.tick import Tick
from nurt.runtime.routing import WorkerRoutes
from nurt.runtime.stock_steps import StockSteps
from nurt.settings import Settings, stock_settings
from nurt.simulate.company.flash_sale import MAPPING, buyers, skus
from nurt.stock.routes import compile_routes
from nurt.stock.stages.worker import StockWorker
from nurt_client import Line, Stock

EXPIRES_S = 2.0
"""How long an abandoned checkout holds in the drill."""
SECRET = "00" * 16


@dataclass(slots=True)
class DrillOutcome:
    """Outcome of a sale, in pieces: what shops sold, and counts that must be zero.

    Attributes:
        refused_wrongly: refused although the reply itself said that a piece was left.
        left: pieces that abandoned checkouts gave back and that nobody could reserve afterwards.
        leaked: still held when every checkout has ended.
    """

    attempts: int
    seconds: float
    accepted: int
    refused: int
    refused_wrongly: int
    oversold: int
    left: int
    leaked: int
    unsold_without_nurt: int
    oversold_without_nurt: int

    @property
    def is_right(self) -> bool:
        """Say whether nothing was oversold, refused wrongly, lost or leaked."""
        return not (self.oversold or self.refused_wrongly or self.left or self.leaked)


def shop(url: str, seed: int, process: int, attempts: int, count: int, begin: Any, told: Any) -> None:
    """Serve buyers; send (order, channel, sku) of buyers who paid to the main process."""
    refused = wrongly = 0
    with Stock.open(url, secret=SECRET) as stock:
        begin.wait()
        for buyer in buyers(seed, process, attempts, count):
            line = [Line("1", buyer.sku, 1)]
            held = stock.reserve(buyer.order, line, buyer.channel, "PL", expires_s=3600 if buyer.pays else EXPIRES_S)
            if buyer.asks_twice:
                again = stock.reserve(
                    buyer.order, line, buyer.channel, "PL", expires_s=3600 if buyer.pays else EXPIRES_S
                )
                assert again or not held, "asked twice, refused what was held"
                held = again
            if not held:
                assert held.status == "refused", held
                refused += 1
                wrongly += held.available is not None and held.available >= 1
            elif buyer.pays:
                told.put((buyer.order, buyer.channel, buyer.sku))
            elif buyer.releases:
                stock.release(buyer.order, buyer.channel)
    told.put(("end", refused, wrongly))


def settings_of(url: str, home: Path) -> Settings:
    """Describe the drill's deployment."""
    mapping = home / "mapping.yaml"
    if not mapping.exists():
        mapping.write_text(MAPPING, encoding="utf-8")
    return Settings(mapping=mapping, data=home, redis_url=url, secret=SECRET)


class Sale:
    """Sale with the flow's stages over real state, fed with the rows of shops and ERP."""

    def __init__(self, settings: Settings) -> None:
        own = stock_settings(settings)
        self.context = fold_context(read_mapping(own.mapping_files), Ids(own.ids_secret()))
        self.ids = Ids(own.ids_secret())
        keys = Keys(own.prefix, own.shards)
        self.routes = WorkerRoutes(own.shards, 1)
        plan = read_mapping(own.mapping_files).stock
        assert plan is not None
        places = self.routes.places(0, ("default",), keys)
        self.client: Any = open_redis(own.redis_url)
        claim(self.client, 1, places)
        self.place = keys.realm_place("default")
        store = RedisStore(open_redis(own.redis_url), keys, 1, places)
        self.steps = StockSteps(StockWorker(store, keys, self.context, compile_routes(plan)), self.routes, 0, 250)
        self.epoch = self.position = 0
        self.tick(True)

    def tick(self, caught_up: bool = True) -> None:
        """Let time pass for the flow."""
        self.epoch += 1
        tick = Tick(self.epoch, SystemClock().now(), 0, caught_up)
        for _, item in self.steps.rows([tick]):
            list(self.steps.stock([item]))

    def feed(self, kind: str, rows: list[dict[str, Any]]) -> None:
        """Take rows of one table: system, key, parent (key) and fields."""
        if not rows:
            return
        made = []
        for row in rows:
            self.position += 1
            system, key, parent = row["system"], row["key"], row.get("parent")
            parent_kind = {"order_line": "order", "document_line": "document"}.get(kind)
            made.append(
                {
                    **{name: value for name, value in row.items() if name != "parent"},
                    "row": self.ids.one(f"{system}\x1f{kind}\x1f{key}"),
                    "entity": kind,
                    "op": UPSERT,
                    "snapshot": 0,
                    "source_epoch": 0,
                    **{"p0": self.position, "p1": 0, "p2": 0, "p3": 0},
                    "partition": 0,
                    "offset": self.position,
                    "ts_ms": time.time_ns() // 1_000_000,
                    "held": 0,
                    **(
                        {}
                        if parent is None
                        else {
                            "parent_kind": parent_kind,
                            "parent_entity": parent_kind,
                            "parent_key": parent,
                            "parent": self.ids.one(f"{system}\x1f{parent_kind}\x1f{parent}"),
                        }
                    ),
                }
            )
        frame = pl.DataFrame(made, schema_overrides=None, infer_schema_length=None)
        columns = entity_columns(kind)
        frame = frame.select(
            pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
            for name, dtype in columns.items()
        )
        said = [item for _, item in self.steps.rows([Translated([EntityFrame(kind, frame, f"{kind}s")])])]
        list(self.steps.stock(said))

    def held(self) -> tuple[int, int]:
        """Count the pieces that the ledger holds, and its orders."""
        held = 0
        for key in self.client.keys(self.place + b"m*"):
            held += sum(int(line.split("\t")[1]) for line in self.client.get(key).decode().splitlines())
        return held // UNIT, self.client.zcard(self.place + b"x")


def run(
    url: str,
    attempts: int,
    processes: int,
    count: int = 8,
    pieces: int | None = None,
    seed: int = 1,
    lag_s: float = 1.0,
) -> DrillOutcome:
    """Run the sale; return its outcome.

    Args:
        url: of an empty Redis or Valkey.
        count: how many skus.
        pieces: of each sku; None: a quarter of the requested pieces.
        lag_s: how long the ERP takes to book an order.
    """
    stock = {sku: (pieces or max(1, attempts // (count * 4))) for sku in skus(count)}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="nurt-drill-") as home:
        settings = settings_of(url, Path(home))
        sale = Sale(settings)
        sale.feed("stock_level", [_level(sku, left) for sku, left in stock.items()])
        begin, told = spawn.Barrier(processes + 1), spawn.Queue()
        share = attempts // processes
        shops = [
            spawn.Process(target=shop, args=(url, seed, number, share, count, begin, told))
            for number in range(processes)
        ]
        for one in shops:
            one.start()
        begin.wait()
        began = time.perf_counter()
        sold: Counter[str] = Counter()
        left = dict(stock)
        waiting: list[tuple[float, str, str, str]] = []
        refused = wrongly = ended = number = 0
        seconds = 0.0
        while ended < processes or waiting:
            paid = []
            while not told.empty():
                one = told.get()
                if one[0] == "end":
                    ended, refused, wrongly = ended + 1, refused + one[1], wrongly + one[2]
                    seconds = time.perf_counter() - began
                else:
                    paid.append(one)
            sold.update(sku for _, _, sku in paid)
            # the shops' change events: headers first, their lines a moment later
            orders = [
                {"system": c, "key": o, "number": o, "status": "open", "placed_at": time.time_ns() // 1000}
                for o, c, _ in paid
            ]
            sale.feed("order", orders)
            sale.feed(
                "order_line", [{"system": c, "key": o, "parent": o, "sku": s, "quantity": UNIT} for o, c, s in paid]
            )
            now = time.monotonic()
            waiting += [(now + lag_s, *one) for one in paid]
            due = [one for one in waiting if one[0] <= now]
            waiting = waiting[len(due) :]
            if due:  # the ERP books late, and its stock falls with it
                booked = [
                    {"system": "erp", "key": f"{c}-{o}", "number": f"{c}-{o}", "order_ref": o, "order_system": c}
                    for _, o, c, _ in due
                ]
                sale.feed("document", booked)
                sale.feed(
                    "document_line",
                    [
                        {"system": "erp", "key": f"{c}-{o}", "parent": f"{c}-{o}", "sku": s, "quantity": UNIT}
                        for _, o, c, s in due
                    ],
                )
                for _, _, _, sku in due:
                    left[sku] -= 1
                sale.feed("stock_level", [_level(sku, left[sku]) for sku in {sku for *_, sku in due}])
            sale.tick()
            time.sleep(0.05)
            number += 1
        for one in shops:
            one.join()
            assert one.exitcode == 0, "a shop died"
        time.sleep(max(EXPIRES_S, 2.0) + 0.5)  # abandoned checkouts expire, bookings' grace ends
        for _ in range(5):
            sale.tick()
        leaked = sale.held()[0]
        # later buyers get what abandoned checkouts gave back, to the last piece
        late = 0
        with open_shop(settings) as last:
            for sku in stock:
                free = last.available([sku], "web", "PL")[sku]
                for at in range(int(free) + 1):
                    late += bool(last.reserve(f"late-{sku}-{at}", [Line("1", sku, 1)], "web", "PL"))
                assert not last.reserve(f"last-{sku}", [Line("1", sku, 1)], "app", "PL"), "a piece too many"
        total = sum(stock.values())
        oversold = sum(max(0, sold[sku] - stock[sku]) for sku in stock)
        unsold, without = without_nurt(seed, processes, share, count, stock)
        return DrillOutcome(
            share * processes, seconds, sold.total(), refused, wrongly, oversold, total - sold.total() - late, leaked,
            unsold, without,
        )  # fmt: skip


def _level(sku: str, left: int) -> dict[str, Any]:
    return {"system": "erp", "key": sku, "sku": sku, "location": "MAIN", "quantity": left * UNIT}


def without_nurt(seed: int, processes: int, share: int, count: int, stock: dict[str, int]) -> tuple[int, int]:
    """Run the same sale with shops that read the ERP's figure; this figure is a tenth of the sale behind."""
    sold: Counter[str] = Counter()
    seen = Counter(stock)
    lag, behind = max(1, share * processes // 10), []
    serving = [buyers(seed, number, share, count) for number in range(processes)]
    for _ in range(share):
        for one in serving:
            buyer = next(one)
            if buyer.pays and seen[buyer.sku] > 0:
                sold[buyer.sku] += 1
                behind.append(buyer.sku)
            else:
                behind.append("")
            if len(behind) > lag:
                seen[behind.pop(0)] -= 1
    return sum(max(0, stock[s] - sold[s]) for s in stock), sum(max(0, sold[s] - stock[s]) for s in stock)
