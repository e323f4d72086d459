"""Put the flow of stock together: its own prefix, control log, commits and outputs, beside the flow of profiles."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing

from nurt.adapters.clock import SystemClock
from nurt.adapters.kafka.stock_sink import KafkaStockSink
from nurt.adapters.redis.client import Redis, open_redis
from nurt.adapters.redis.delivery.stock_sink import RedisStockSink
from nurt.adapters.redis.errors import RedisError, naming_failures
from nurt.adapters.redis.store import read_fences
from nurt.app.assembly import Assembly
from nurt.app.launch import Launched, launch
from nurt.errors import ConfigurationError, NurtError
from nurt.mapping.load import read_mapping
from nurt.model.entities import STOCK_KINDS
from nurt.model.keys import Keys
from nurt.model.stock.published import StockBatch
from nurt.model.units import Millis
from nurt.ports.clock import MomentClock
from nurt.ports.sinks import StockSink
from nurt.runtime.steps import Outputs, Stage
from nurt.runtime.stock_steps import StockSteps
from nurt.settings import Settings
from nurt.stock.routes import compile_routes
from nurt.stock.stages.backlog import AGAIN, MARK
from nurt.stock.stages.worker import StockWorker
from nurt_client import Stock

_logger = logging.getLogger(__name__)


def open_shop(settings: Settings, realm: str = "default") -> Stock:
    """Open a deployment's stock as a shop does.

    Args:
        settings: of the deployment.

    Raises ConfigurationError when the mapping has no such realm.
    """
    realms = {system.realm for system in read_mapping(settings.mapping_files).systems.values()}
    if realm not in realms:
        raise ConfigurationError(
            f"opening stock of realm {realm!r}: the mapping has no system of it (expected one of "
            f"{', '.join(sorted(realms))}); name one"
        )
    return Stock(open_redis(settings.redis_url), settings.ids_secret(), settings.prefix, realm)


def launch_stock(settings: Settings, rebuild: bool = False, confirmed: bool = False) -> Launched:
    """Begin a run of stock; reservations wait until the replay is done.

    Args:
        settings: as `stock_settings` derives them.
        rebuild, confirmed: see `launch`.
    """
    wanted = settings.stock
    outputs = [topic for topic in (wanted.topic, wanted.orders_topic, wanted.events_topic) if topic is not None]
    launched = launch(settings, rebuild, confirmed, outputs, tell_stock_again)
    if launched.decision.rewound or launched.decision.offsets is None:
        with closing(open_redis(settings.redis_url)) as client, naming_failures(client):
            client.delete(*(place + b"o" for place in _realm_places(settings)))
    return launched


def tell_stock_again(settings: Settings, client: Redis) -> None:
    """Let all figures and orders be published again."""
    for place in _realm_places(settings):
        client.set(place + MARK, AGAIN)


def close_reservations(settings: Settings, run: int) -> None:
    """Close reservations when the server was restored from an older copy: it has lost some. Never raises.

    The next run opens reservations again when it has caught up. When a later run has taken over, that run decides.
    """
    places = _realm_places(settings)
    try:
        with closing(open_redis(settings.redis_url)) as client:
            if all(head is None or head.run <= run for head in read_fences(client, places).values()):
                client.delete(*(place + b"o" for place in places))
                _logger.warning("reservations are refused until the next run of stock has caught up")
    except (NurtError, RedisError) as failed:
        # reservations close by themselves when the worker was not seen for a minute
        _logger.warning("closing the ledger of reservations: %s", type(failed).__name__)


def _realm_places(settings: Settings) -> list[bytes]:
    keys = Keys(settings.prefix, settings.shards)
    return [
        keys.realm_place(realm)
        for realm in {one.realm for one in read_mapping(settings.mapping_files).systems.values()}
    ]


class StockAssembly(Assembly[Millis]):
    """Assembly of one deployment's stock flow, in one process of a run.

    Args:
        settings: as `stock_settings` derives them.
    """

    KINDS = STOCK_KINDS

    def __init__(
        self,
        settings: Settings,
        launched: Launched,
        clock: MomentClock | None = None,
        stop: threading.Event | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__(settings, launched, (clock or SystemClock()).now, stop, threads)
        if self.mapping.stock is None:
            raise ConfigurationError(
                f"reading the mapping {self.mapping.file_name}: it has no section `stock` (expected locations and "
                'channels); docs/mapping.md, "Stock", says what to write'
            )
        self._plan = compile_routes(self.mapping.stock)
        self._steps: dict[int, StockSteps] = {}
        self._kept: dict[int, RedisStockSink] = {}

    def stage(self, name: str) -> Callable[[object], Stage]:
        """Make the builder of a stage's logic, by the name of its method in `StockSteps`."""
        return lambda _resume_state: Stage(name, self._steps_of, of=" of stock", is_last=name == "stock")

    def outputs(self) -> Outputs[StockBatch]:
        """Make the sink of all that the stock flow publishes."""
        return Outputs(self._open_sinks, list, lambda _batches: "stock", of=" of stock")

    def _steps_of(self, index: int) -> StockSteps:
        with self.lock:
            if index not in self._steps:
                store = self.open_store(index)
                kept, logs = self._kept_of(index), self.logs()
                worker = StockWorker(store, self.keys, self.context, self._plan, self.sweeps(), kept, logs, self.joins)
                self._steps[index] = StockSteps(worker, self.routes, index, self.settings.stock.conflate_ms)
            return self._steps[index]

    def _kept_of(self, index: int) -> RedisStockSink | None:
        """Open what a worker keeps in Redis, once: its stages can begin it again, its output writes it."""
        with self.lock:
            names = self.settings.stock_kept()
            if names and index not in self._kept:
                self._kept[index] = RedisStockSink(open_redis(self.settings.redis_url), self.keys, names)
            return self._kept.get(index)

    def _open_sinks(self, index: int) -> list[StockSink]:
        settings, wanted = self.settings, self.settings.stock
        sinks: list[StockSink] = []
        if wanted.topic or wanted.orders_topic or wanted.events_topic:
            assert settings.kafka is not None
            sinks.append(
                KafkaStockSink(
                    settings.kafka,
                    self.registry(),
                    wanted.topic,
                    wanted.orders_topic,
                    wanted.events_topic,
                    deployment=settings.prefix,
                    worker=index,
                    workers=settings.workers,
                    fence_workers=self.launched.fence_workers,
                    partitions=settings.partitions,
                )
            )
        if (kept := self._kept_of(index)) is not None:
            sinks.append(kept)
        if wanted.duckdb is not None:
            from nurt.adapters.analytics.duckdb_stock import DuckdbStockSink

            sinks.append(DuckdbStockSink(wanted.duckdb, self.threads == settings.workers, shared=settings.shared))
        return sinks
