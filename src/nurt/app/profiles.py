"""Put a deployment together: from settings to adapters, stages and steps. The only place that knows them all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from redis import Redis

from nurt.adapters.analytics.shared_sink import SharedSink
from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.control_log import FileRegister
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.control_log import KafkaRegister
from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.profile_sink import KafkaProfileSink
from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.errors import naming_failures
from nurt.adapters.redis.layouts import agree
from nurt.adapters.redis.outage import patiently
from nurt.adapters.redis.store import RedisStore, claim, forget_counts, read_counted, read_heads
from nurt.columnar.ids import Ids
from nurt.contracts.schemas import PROFILE_KEY, PROFILE_VALUE, load
from nurt.control.counted_offsets import Passed
from nurt.control.launch import (
    Decision,
    Deployment,
    begin_record,
    check_deployment,
    decide,
    earlier_workers,
    run_number,
)
from nurt.control.reconcile import STRAYS, Touch, encode_strays, find_strays, is_behind
from nurt.control.source_records import check_halts, known_epochs
from nurt.inspect.profile_reader import read_profile
from nurt.inspect.published_back import Published as PublishedProfiles
from nurt.inspect.published_back import published_in_duckdb, published_on_topic
from nurt.mapping.load import Mapping, read_mapping
from nurt.model.entities import PROFILE_KINDS
from nurt.model.keys import Keys
from nurt.model.log import Committed
from nurt.model.raw import RawBatch
from nurt.model.stored_profile import KeptProfile
from nurt.model.tick import Tick
from nurt.model.units import Day, Millis, Now, day_of
from nurt.normalise.context import FoldContext
from nurt.ports.clock import DayClock
from nurt.ports.log import MessageLog, Register
from nurt.ports.registry import SchemaRegistry
from nurt.ports.sinks import ProfileSink
from nurt.profiles.worker import Worker
from nurt.rows.counting import NOT_OURS, counted_of
from nurt.rows.sweeps import ordered_sweeps
from nurt.runtime.profile_steps import Parcel, Published, Stage, Steps, Translate
from nurt.runtime.routing import Routes
from nurt.runtime.source import Reading, Topics
from nurt.settings import Settings
from nurt.translate.translator import Translator
from nurt_client.ids import fingerprint
from nurt_client.keys import config_text

START_AWAY_MAX_S = 30.0
"""How long a start waits for Redis: what supervises us may be quicker than its restart or failover."""

_logger = logging.getLogger(__name__)


class SystemClock:
    """The machine's clock, in UTC; implements ports.clock.DayClock and ports.clock.MomentClock."""

    def today(self) -> Day:
        """See ports.clock.DayClock."""
        return day_of(self.now())

    def now(self) -> Millis:
        """See ports.clock.MomentClock."""
        return Millis(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Launched:
    """A run that may begin: its number, where it begins, and how many workers any earlier run had."""

    run: int
    decision: Decision
    fence_workers: int


class Current:
    """One deployment's pieces, opened when they are asked for; one process of a run.

    Args:
        launched: what `launch` decided; the same in every process of a run.
        stop: set when the run is asked to end; it drains, commits and ends.
        threads: how many of the run's workers are threads of this process.
    """

    KINDS = PROFILE_KINDS

    def __init__(
        self,
        settings: Settings,
        launched: Launched,
        clock: DayClock | None = None,
        stop: threading.Event | None = None,
        threads: int = 1,
    ) -> None:
        self.settings = settings
        self.mapping = read_mapping(settings.mapping_files).narrowed(self.KINDS)
        self.ids = Ids(settings.ids_secret())
        self.keys = Keys(settings.prefix, settings.shards)
        self.routes = Routes(settings.shards, settings.workers)
        self.stop = stop or threading.Event()
        self._clock = clock or SystemClock()
        self._threads = threads
        self._launched = launched
        self._context = fold_context(self.mapping, self.ids)
        self._register: Register | None = None
        self._registry: SchemaRegistry | None = None
        self._steps: dict[int, Steps] = {}
        self._files: list[ProfileSink] | None = None
        self._lock = threading.RLock()

    @property
    def run(self) -> int:
        """The run's number."""
        return self._launched.run

    def topics(self) -> Topics[Any]:
        """Make the source of all topics, in the flow's unit of time."""
        return Topics(self._reading(self._clock.today))

    def _reading(self, now: Callable[[], Now]) -> Reading[Now]:
        settings, launched = self.settings, self._launched
        return Reading(
            launched.run,
            settings.workers,
            settings.rows_max,
            lambda index: open_log(settings, index, settings.workers),
            launched.decision.offsets,
            launched.decision.horizon,
            self.register(),
            now,
            self.stop.is_set,
        )

    def translate(self) -> Callable[[RawBatch | Tick[Any]], list[Parcel]]:
        """Make the translating step; every worker thread gets a translator of its own.

        Threads are told apart by number: what `threading.local` holds of a thread that Bytewax made is gone as soon as
        it lets go of Python.
        """
        translates: dict[int, Translate] = {}
        records = self.register().records()
        with closing(open_redis(self.settings.redis_url)) as client:
            held = patiently(client, lambda: read_counted(client, self.keys.shard_place(0)))
        passed = counted_of(NOT_OURS, held)

        def step(item: RawBatch | Tick[Any]) -> list[Parcel]:
            me = threading.get_ident()
            if me not in translates:
                translator = Translator(self.mapping, self.registry(), self.ids, known_epochs(records), Passed(passed))
                translates[me] = Translate(translator, self.routes, 0, self.register())
            return translates[me](item)

        return step

    def address(self, parcel: Parcel) -> tuple[str, Parcel]:
        """Write on a parcel the routing key of the worker that it is for."""
        return self.routes.keys[parcel[0]], parcel

    def stage(self, name: str) -> Callable[[object], Stage]:
        """Make the builder of a stage's logic, by the name of its method in `Steps`."""
        return lambda _resume_state: Stage(name, self._steps_of)

    def sinks(self) -> Published:
        """Make the sink of profiles, over every output that the settings name."""
        return Published(self._open_sinks)

    def register(self) -> Register:
        """Return the register."""
        with self._lock:
            if self._register is None:
                self._register = open_register(self.settings)
            return self._register

    def registry(self) -> SchemaRegistry:
        """Return the schema registry."""
        with self._lock:
            if self._registry is None:
                self._registry = open_registry(self.settings)
            return self._registry

    def _steps_of(self, index: int) -> Steps:
        """Open a worker's stages, with a connection of its own; all of them run in one thread."""
        with self._lock:
            if index not in self._steps:
                places = self.routes.places(index, tuple(sorted(set(self._context.realm.values()))), self.keys)
                store = RedisStore(open_redis(self.settings.redis_url), self.keys, self._launched.run, places)
                sweeps = ordered_sweeps(self.register().records())
                worker = Worker(store, self.keys, self._context, load(PROFILE_VALUE), sweeps)
                self._steps[index] = Steps(worker, self.routes, index, self.settings.linger_ms)
            return self._steps[index]

    def _open_sinks(self, index: int) -> list[ProfileSink]:
        settings = self.settings
        sinks: list[ProfileSink] = []
        if settings.topic is not None:
            assert settings.kafka is not None
            sinks.append(
                KafkaProfileSink(
                    settings.kafka,
                    self.registry(),
                    load(PROFILE_VALUE),
                    load(PROFILE_KEY),
                    deployment=settings.prefix,
                    topic=settings.topic,
                    worker=index,
                    workers=settings.workers,
                    fence_workers=self._launched.fence_workers,
                    partitions=settings.partitions,
                )
            )
        return sinks + self._analytics()

    def _analytics(self) -> list[ProfileSink]:
        """Open the analytics files once a process; its worker threads take turns."""
        settings = self.settings
        alone = self._threads == settings.workers
        with self._lock:
            if self._files is None:
                self._files = []
                # imported when they are asked for: DuckDB alone takes 30 MB of every worker
                if settings.duckdb is not None:
                    from nurt.adapters.analytics.duckdb import DuckdbSink

                    self._files.append(SharedSink(DuckdbSink(settings.duckdb, hold=alone), self._threads))
                if settings.parquet is not None:
                    from nurt.adapters.analytics.parquet import ParquetSink

                    self._files.append(SharedSink(ParquetSink(settings.parquet), self._threads))
            return list(self._files)


def fold_context(mapping: Mapping, ids: Ids) -> FoldContext:
    """Take from a mapping what the folds need."""
    systems = mapping.systems.values()
    return FoldContext(
        ids,
        realm={system.name: system.realm for system in systems},
        priority={system.name: system.priority for system in systems},
        country={system.name: system.country for system in systems if system.country},
        currency={system.name: system.currency for system in systems if system.currency},
        market={system.name: system.market for system in systems if system.market},
        rules=mapping.rules,
        identifier_rules=mapping.identifier_rules,
    )


def open_register(settings: Settings) -> Register:
    """Open the register: a topic where the input is one, else a file."""
    if settings.kafka_input is not None:
        assert settings.kafka is not None
        return KafkaRegister(settings.kafka, settings.control_topic)
    return FileRegister(settings.data / "control.jsonl")


def open_registry(settings: Settings) -> SchemaRegistry:
    """Open the schema registry: Confluent's protocol where there is a URL, else folders."""
    if settings.registry_url is not None:
        from nurt.adapters.kafka.schema_registry import ConfluentRegistry

        return ConfluentRegistry(settings.registry_url, settings.registry_options)
    return FolderRegistry(settings.data / "schemas", settings.archives)


def open_log(settings: Settings, index: int, workers: int) -> MessageLog:
    """Open one worker's share of the input."""
    if settings.kafka_input is not None:
        assert settings.kafka is not None
        source = settings.kafka_input
        return KafkaLog(
            settings.kafka,
            source.topics,
            source.group,
            worker=index,
            workers=workers,
            stop_at_end=source.stop_at_end,
            ahead=settings.rows_max,
        )
    return ArchiveLog(
        settings.archives, settings.data / "commits", worker=index, workers=workers, follow=settings.follow
    )


def launch(settings: Settings, rebuild: bool = False) -> Launched:
    """Begin a run, once for all its processes: take a number, decide where to begin, claim the state.

    Waits while Redis is away for a moment. Raises Fenced when a later run holds the state, ConfigurationError when the
    state was written otherwise, ConnectionFailed when Redis does not answer.
    """
    with closing(open_redis(settings.redis_url)) as client, naming_failures(client):
        patiently(client, client.ping, START_AWAY_MAX_S)
        return _launch(settings, client, rebuild)


def _launch(settings: Settings, client: Redis, rebuild: bool) -> Launched:
    settings.data.mkdir(parents=True, exist_ok=True)
    context = fold_context(read_mapping(settings.mapping_files), Ids(settings.ids_secret()))
    realms = tuple(sorted(set(context.realm.values())))
    secret = fingerprint(settings.ids_secret())
    deployment = Deployment(settings.shards, secret, realms)
    register = open_register(settings)
    check_deployment(register.records(), deployment)
    check_halts(register.records())
    keys = Keys(settings.prefix, settings.shards)
    agree(client, keys, config_text(settings.shards, secret))
    number = register.append({"kind": "start"})
    records = register.records()
    run = run_number(records, number)
    places = {f"{shard:02x}": keys.shard_place(shard) for shard in range(settings.shards)}
    places |= {f"r:{realm}": keys.realm_place(realm) for realm in realms}
    heads = read_heads(client, list(places.values()))
    decision = decide(records, commits_of(settings), {name: heads[place] for name, place in places.items()}, rebuild)
    register.append(begin_record(run, settings.workers, deployment, decision))
    claim(client, run, list(places.values()))
    if decision.offsets is None:
        forget_counts(client, keys)
    published = read_published(settings, TAIL_ROWS)
    if decision.rewound or is_behind(published, heads, keys.place_of):
        note_strays(settings, client, keys)
    log = _logger.warning if decision.rewound else _logger.info
    log("run %d of %s: %s", run, settings.prefix, decision.why)
    return Launched(run, decision, earlier_workers(records))


def note_strays(settings: Settings, client: Redis, keys: Keys) -> None:
    """Note in the state which profiles were published otherwise than the state, come back older, knows."""
    published = read_published(settings)
    if settings.parquet is not None and settings.duckdb is None and settings.topic is None:
        _logger.warning("Parquet cannot be asked what it was told; profiles that are no more may stay there")
    if not published:
        return
    ids = list(published)
    values: Any = client.mget(keys.of(b"f", ids))
    kept = dict(zip(ids, map(KeptProfile.decode, values), strict=True))
    by_place: dict[bytes, list[Touch]] = {}
    for realm, profile in find_strays(published, kept, _realm_of):
        by_place.setdefault(keys.place_of(profile), []).append((realm, profile))
    for place, touches in by_place.items():
        client.set(place + STRAYS, encode_strays(touches))
    strays = sum(map(len, by_place.values()))
    _logger.warning("%d published profiles are not as the state knows them; they are published anew", strays)


def _realm_of(kept: KeptProfile) -> str:
    return str(read_profile(kept.body, kept.version)["realm"])


TAIL_ROWS = 10_000
"""How many messages at the end of each partition of the profile topic a start looks at."""


def read_published(settings: Settings, tail_rows: int | None = None) -> PublishedProfiles:
    """Read back what was published, of the topic only the last messages when `tail_rows` says so."""
    published: PublishedProfiles = {}
    if settings.duckdb is not None:
        published |= published_in_duckdb(settings.duckdb)
    if settings.topic is not None:
        assert settings.kafka is not None
        published |= published_on_topic(settings.kafka, settings.topic, open_registry(settings), tail_rows)
    return published


def commits_of(settings: Settings) -> list[Committed]:
    """Read what was committed, over all shares."""
    log = open_log(settings, 0, 1)
    try:
        committed = log.committed()
    finally:
        log.close()
    return [] if committed is None else [committed]
