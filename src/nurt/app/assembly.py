"""What the assemblies of profiles and stock share: from settings to adapters and steps."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar, Generic

from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.outage import patiently
from nurt.adapters.redis.store import RedisStore, read_counted
from nurt.app.launch import Launched
from nurt.app.opening import (
    fold_context,
    numbered_mapping,
    open_control_log,
    open_log,
    open_partitioning,
    open_registry,
    stored_kinds,
)
from nurt.columnar.ids import Ids
from nurt.control.counted_offsets import Passed
from nurt.control.logs import KnownLogs, halted_log_record, known_logs, log_record, read_record
from nurt.control.source_records import known_epochs, restarts_of
from nurt.mapping.joins.plan import NO_JOINS, Joins
from nurt.mapping.load import read_mapping
from nurt.model.keys import Keys
from nurt.model.log import LogStand
from nurt.model.raw import RawBatch
from nurt.model.tick import Tick
from nurt.model.units import Now
from nurt.ports.log import ControlLog
from nurt.ports.registry import SchemaRegistry
from nurt.rows.counting import HEIGHTS, NOT_OURS, counted_of
from nurt.rows.sweeps import Sweep, ordered_sweeps
from nurt.runtime.routing import WorkerRoutes
from nurt.runtime.source import Reading, TopicSource
from nurt.runtime.steps import Outputs, Parcel, Stage
from nurt.runtime.translating import Translate
from nurt.settings import Settings
from nurt.translate.translator import Translator


class Assembly(ABC, Generic[Now]):
    """Assembly of one deployment's flow, in one process of a run; its pieces are opened when they are asked for.

    Implements runtime.assembly.FlowAssembly with what both flows share.

    Args:
        launched: the result of `launch`; the same in every process of a run.
        now: returns the time that the flow calls now.
        stop: set when the run must end; the run drains, commits and ends.
        threads: how many of the run's workers are threads of this process.
    """

    KINDS: ClassVar[frozenset[str]]

    def __init__(
        self, settings: Settings, launched: Launched, now: Callable[[], Now], stop: threading.Event | None, threads: int
    ) -> None:
        self.settings = settings
        self.ids = Ids(settings.ids_secret())
        self.keys = Keys(settings.prefix, settings.shards)
        mapping = read_mapping(settings.mapping_files).narrowed(self.KINDS)
        self.mapping = numbered_mapping(mapping, settings, self.keys)
        self.routes = WorkerRoutes(settings.shards, settings.workers)
        self.context = fold_context(mapping, self.ids)
        self.stop = stop or threading.Event()
        self.threads = threads
        self.launched = launched
        self.lock = threading.RLock()
        self._now: Callable[[], Now] = now
        self._register: ControlLog | None = None
        self._logs: KnownLogs | None = None
        self._registry: SchemaRegistry | None = None

    @property
    def joins(self) -> Joins:
        """Return the joins of the mapping."""
        return self.mapping.joins or NO_JOINS

    @property
    def levels(self) -> int:
        """Return how many levels of joins the mapping has."""
        return len(self.joins.levels)

    @property
    def run(self) -> int:
        """The run's number."""
        return self.launched.run

    def topics(self) -> TopicSource[Now]:
        """Make the source of all topics."""
        settings, launched = self.settings, self.launched
        return TopicSource(
            Reading(
                launched.run,
                settings.workers,
                settings.rows_max,
                lambda index: open_log(settings, index, settings.workers, self.logs(), self._meet, self._note_cut),
                launched.decision.offsets,
                launched.decision.leaders,
                launched.decision.horizon,
                self.control_log(),
                self._now,
                self.stop.is_set,
            )
        )

    def translate(self) -> Callable[[Sequence[RawBatch] | Tick[Any]], list[Parcel]]:
        """Make the translating step; every worker thread gets a translator of its own.

        Threads have numbers: `threading.local` loses the values of a thread of Bytewax as soon as the thread leaves
        Python.
        """
        translates: dict[int, Translate] = {}
        records = self.control_log().records()
        with closing(open_redis(self.settings.redis_url)) as client:
            counted = patiently(client, lambda: read_counted(client, self.keys.shard_place(0)))
        logs = self.logs()
        passed, heights = counted_of(NOT_OURS, counted, logs), counted_of(HEIGHTS, counted, logs)

        def step(item: Sequence[RawBatch] | Tick[Any]) -> list[Parcel]:
            me = threading.get_ident()
            if me not in translates:
                epochs = known_epochs(records, heights, lambda: restarts_of(self.control_log().records()))
                translator = Translator(
                    self.mapping,
                    self.registry(),
                    self.ids,
                    epochs,
                    Passed(passed),
                    open_partitioning(self.settings),
                )
                translates[me] = Translate(translator, self.routes, 0, self.control_log())
            return translates[me](item)

        return step

    def address(self, parcel: Parcel) -> tuple[str, Parcel]:
        """Add to a parcel the routing key of its worker."""
        return self.routes.keys[parcel[0]], parcel

    @abstractmethod
    def stage(self, name: str) -> Callable[[object], Stage]:
        """Make the builder of a stage's logic, by the name of its method in the flow's steps."""

    @abstractmethod
    def outputs(self) -> Outputs[Any]:
        """Make the sink of published batches, over every output that the settings name."""

    def control_log(self) -> ControlLog:
        """Return the control log."""
        with self.lock:
            if self._register is None:
                self._register = open_control_log(self.settings)
            return self._register

    def registry(self) -> SchemaRegistry:
        """Return the schema registry."""
        with self.lock:
            if self._registry is None:
                self._registry = open_registry(self.settings)
            return self._registry

    def open_store(self, index: int) -> RedisStore:
        """Open a worker's state, with a connection of its own."""
        realms = tuple(sorted(set(self.context.realm.values())))
        places = self.routes.places(index, realms, self.keys)
        return RedisStore(open_redis(self.settings.redis_url), self.keys, self.launched.run, places)

    def logs(self) -> KnownLogs:
        """Return what is known of the topics' logs; the same during the run."""
        with self.lock:
            if self._logs is None:
                self._logs = known_logs(self.control_log().records())
            return self._logs

    def _meet(self, topic: str, id_: str) -> None:
        """Write down the id of a topic that the run met first."""
        self.control_log().append(log_record(topic, replace(self.logs().of(topic), id=id_)))

    def _note_cut(self, topic: str, stand: LogStand, why: str) -> None:
        """Write down that a topic was cut while the run read it."""
        self.control_log().append(read_record(topic, stand, self.run))
        self.control_log().append(halted_log_record(topic, why))

    @property
    def has_references(self) -> bool:
        """See runtime.assembly.FlowAssembly."""
        return bool(self.context.referred)

    def sweeps(self) -> list[Sweep]:
        """Read the ordered sweeps, with the kinds under which the state stores the rows."""
        found = []
        for sweep in ordered_sweeps(self.control_log().records()):
            entry = self.mapping.for_topic(sweep.table.topic)
            order = sweep.order if entry is None else entry.order
            for kind in stored_kinds(self.mapping, sweep.table):
                found.append(replace(sweep, order=order, table=replace(sweep.table, kind=kind)))
        return found
