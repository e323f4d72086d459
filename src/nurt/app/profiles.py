"""Put the flow of profiles together: from settings to adapters, stages and steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

from nurt.adapters.analytics.shared_sink import SharedSink
from nurt.adapters.clock import SystemClock
from nurt.adapters.kafka.profile_sink import KafkaProfileSink
from nurt.app.assembly import Assembly
from nurt.app.launch import Launched
from nurt.contracts.schemas import PROFILE_KEY, PROFILE_VALUE, load
from nurt.model.entities import PROFILE_KINDS
from nurt.model.published import PublishedBatch
from nurt.model.units import Day
from nurt.ports.clock import DayClock
from nurt.ports.sinks import ProfileSink
from nurt.profiles.worker import Worker
from nurt.runtime.profile_steps import ProfileSteps, joined_profiles, told_profiles
from nurt.runtime.steps import Outputs, Stage
from nurt.settings import Settings


class ProfileAssembly(Assembly[Day]):
    """Assembly of one deployment's profile flow, in one process of a run."""

    KINDS = PROFILE_KINDS

    def __init__(
        self,
        settings: Settings,
        launched: Launched,
        clock: DayClock | None = None,
        stop: threading.Event | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__(settings, launched, (clock or SystemClock()).today, stop, threads)
        self._steps: dict[int, ProfileSteps] = {}
        self._files: list[ProfileSink] | None = None

    def stage(self, name: str) -> Callable[[object], Stage]:
        """Make the builder of a stage's logic, by the name of its method in `ProfileSteps`."""
        return lambda _resume_state: Stage(name, self._steps_of, is_last=name == "profiles")

    def outputs(self) -> Outputs[PublishedBatch]:
        """Make the sink of profiles, over every output that the settings name."""
        return Outputs(self._open_sinks, joined_profiles, told_profiles)

    def _steps_of(self, index: int) -> ProfileSteps:
        """Open a worker's stages; all of them run in one thread."""
        with self.lock:
            if index not in self._steps:
                store = self.open_store(index)
                schema, rules = load(PROFILE_VALUE), self.launched.normalisation
                worker = Worker(store, self.keys, self.context, schema, self.sweeps(), self.logs(), rules, self.joins)
                self._steps[index] = ProfileSteps(worker, self.routes, index, self.settings.linger_ms)
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
                    fence_workers=self.launched.fence_workers,
                    partitions=settings.partitions,
                )
            )
        return sinks + self._analytics()

    def _analytics(self) -> list[ProfileSink]:
        """Open the analytics files once a process; its worker threads take turns."""
        settings = self.settings
        alone = self.threads == settings.workers
        with self.lock:
            if self._files is None:
                self._files = []
                # imported when needed: DuckDB alone takes 30 MB of every worker
                if settings.duckdb is not None:
                    from nurt.adapters.analytics.duckdb import DuckdbSink

                    self._files.append(
                        SharedSink(DuckdbSink(settings.duckdb, hold=alone, shared=settings.shared), self.threads)
                    )
                if settings.parquet is not None:
                    from nurt.adapters.analytics.parquet import ParquetSink

                    self._files.append(SharedSink(ParquetSink(settings.parquet, shared=settings.shared), self.threads))
            return list(self._files)
