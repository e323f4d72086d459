"""The real stages as a deployment that histories and mishaps can be played on: several workers over one memory.

Everything but Bytewax, Redis and Kafka is the product's own: launch decisions, heads, routes, steps, stages. Parcels
between workers keep their order from one sender to one receiver, as Bytewax's exchange does, and no other order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import polars as pl

from nurt.columnar.ids import Ids
from nurt.contracts import schemas
from nurt.contracts.profile_reader import read_profile
from nurt.control.launch import Deployment, LaunchDecision, begin_record, checkpoint_record, decide, run_number
from nurt.control.reconcile import UNRECONCILED, DirtyKey, encode_unreconciled, find_unreconciled, is_behind
from nurt.model.entities import IDENTIFIED_KINDS
from nurt.model.entity_frame import EntityFrame, Translated, Truncated
from nurt.model.keys import Keys
from nurt.model.log import Committed, Offsets
from nurt.model.published import PublishedBatch
from nurt.model.stored_profile import KeptProfile
from nurt.model.tick import Tick
from nurt.normalise.context import FoldContext
from nurt.normalise.identifiers import normalise_column
from nurt.ports.store import Store
from nurt.profiles.worker import Worker
from nurt.runtime.profile_steps import ProfileSteps
from nurt.runtime.routing import WorkerRoutes
from nurt.testing.memory_store import Memory, MemoryStore
from tests.oracle.batch import FIRST_OF_TILLS
from tests.oracle.deployment import Killed, Published
from tests.oracle.final_row import SystemLike

SHARDS = 4
PLACE = ("arrivals", 0)
"""The one partition that histories arrive in; a late event keeps its own offset within its row's topic."""
STAGES = ("rows", "references", "orders", "accounts", "identity", "profiles")


@cache
def normalise_really(kind: str, value: str, country: str | None) -> str | None:
    """Normalise one value as the product does."""
    values, countries = pl.Series([value], dtype=pl.String), pl.Series([country], dtype=pl.String)
    found: str | None = normalise_column(kind, values, countries, {})[0]
    return found


def context_of(systems: Mapping[str, SystemLike], rules: Mapping[str, Sequence[str]], ids: Ids) -> FoldContext:
    """Say to the folds what a history says of its systems."""
    return FoldContext(
        ids,
        realm={name: system.realm for name, system in systems.items()},
        priority={name: system.priority for name, system in systems.items()},
        country={name: system.country for name, system in systems.items() if system.country},
        currency={name: system.currency for name, system in systems.items() if system.currency},
        market={name: system.market for name, system in systems.items() if system.market},
        rules=rules,
        referred={"order": {"number": ()}, "till": {"number": FIRST_OF_TILLS}},
        identified=frozenset(IDENTIFIED_KINDS - {"customer"}),
    )


@dataclass(slots=True)
class Topic:
    """What readers of the published profiles hold: the newest revision of each id; survives everything."""

    newest: dict[bytes, tuple[int, bytes | None]] = field(default_factory=dict)
    messages: int = 0

    def write(self, batch: PublishedBatch) -> None:
        """Absorb repeats and late-comers by revision, as every sink does."""
        for profile, revision, value in zip(batch.ids, batch.revisions, batch.values, strict=True):
            self.messages += 1
            if profile not in self.newest or revision >= self.newest[profile][0]:
                self.newest[profile] = revision, value

    def published(self) -> Published:
        """Return every profile that is not a tombstone."""
        return {profile.hex(): read_profile(value) for profile, (_, value) in self.newest.items() if value is not None}


class Engine:
    """A cluster of the real stages; implements `Deployment` and `Stream`.

    Args:
        workers_of: how a worker is made of its store; tests put broken ones here.
        seed: of the order in which workers take what waits for them.
        levels: of the mapping's joins.
    """

    def __init__(
        self,
        systems: Mapping[str, SystemLike],
        rules: Mapping[str, Sequence[str]],
        ids: Ids,
        as_of: int,
        worker_of: Callable[[Store, Keys, FoldContext], Worker] | None = None,
        seed: int = 0,
        levels: int = 0,
    ) -> None:
        self._stages = (STAGES[0], *(f"assemble_{level}" for level in range(1, levels + 1)), *STAGES[1:])
        self.context = context_of(systems, rules, ids)
        self.keys = Keys("t", SHARDS)
        self.realms = tuple(sorted({system.realm for system in systems.values()}))
        self.memory = Memory()
        self.topic = Topic()
        self.records: list[tuple[int, dict[str, Any]]] = []
        self.committed: Committed | None = None
        self.as_of = as_of
        self.decision: LaunchDecision | None = None
        self.writes = 0
        """How many writes there have been, to the store or to the topic: each is a place to crash at."""
        self._worker_of = worker_of or _worker
        self._choose = Random(seed)
        self._steps: list[ProfileSteps] = []
        self._stores: list[MemoryStore] = []
        self._run = self._epoch = self._done = 0
        self._writes_left: int | None = None
        self._deployment = Deployment(SHARDS, "s", self.realms)

    # -- Stream

    def feed(self, batch: Sequence[EntityFrame | Truncated]) -> None:
        """Take one micro-batch through all stages of all workers."""
        if not self._steps:
            self.start(1)
        translated = Translated(
            [item for item in batch if isinstance(item, EntityFrame)],
            [item for item in batch if isinstance(item, Truncated)],
        )
        self._carry(self.routes.split_translated(translated, 0))

    def drain(self, as_of: int) -> Published:
        """Let the day come, and the clock change whatever it changes."""
        if not self._steps:
            self.start(1)
        self.as_of = max(self.as_of, as_of)
        for _ in range(3):
            self._tick(caught_up=True)
        return self.topic.published()

    # -- Deployment

    def start(self, workers: int) -> int:
        """Launch a run as `wiring.launch` does."""
        self._writes_left = None
        self.routes = WorkerRoutes(SHARDS, workers)
        number = self._append({"kind": "start"})
        self._run = run_number(self.records, number)
        names = {f"{shard:02x}": self.keys.shard_place(shard) for shard in range(SHARDS)}
        names |= {f"r:{realm}": self.keys.realm_place(realm) for realm in self.realms}
        heads = {name: self.memory.fences.get(place) for name, place in names.items()}
        commits = [] if self.committed is None else [self.committed]
        self.decision = decide(self.records, commits, heads)
        self._append(begin_record(self._run, workers, self._deployment, self.decision))
        self.memory.claim(self._run, list(names.values()))
        told = self._told()
        if self.decision.rewound or is_behind(
            told, {names[name]: head for name, head in heads.items()}, self.keys.place_of
        ):
            self._note_strays(told)
        self._stores = [
            MemoryStore(
                self.memory, self._run, self.routes.places(index, self.realms, self.keys), before_write=self._count
            )
            for index in range(workers)
        ]
        self._steps = [
            ProfileSteps(self._worker_of(store, self.keys, self.context), self.routes, index)
            for index, store in enumerate(self._stores)
        ]
        for steps in self._steps:
            steps.fan_out_s = float("inf")
        self._epoch = 0
        self._done = (self.decision.offsets or {}).get(PLACE, 0)
        self.committed = Committed(self._offsets(), self._run, 0)
        self._tick()
        return self._done

    def feed_until(self, batch: Sequence[EntityFrame | Truncated], done: int) -> None:
        """Take the batch that ends before the arrival `done`."""
        self.feed(batch)
        self._done = done

    def commit(self) -> None:
        """Close the epoch, begin the next, and commit the closed one: all heads are above it now."""
        epoch = self._epoch
        self._tick()
        self.committed = Committed(self._offsets(), self._run, epoch)
        self._append(checkpoint_record(self._run, epoch, 0, 1, self._offsets()))

    def crash_after_writes(self, writes: int) -> None:
        """Die instead of the write after so many."""
        self._writes_left = writes

    def kill(self) -> None:
        """Forget what only the process knew."""
        self._steps, self._stores = [], []
        self._writes_left = None

    def save(self) -> Memory:
        """Copy the store."""
        return self.memory.copy()

    def restore(self, saved: Memory) -> None:
        """Put an older copy in place."""
        self.memory = saved.copy()

    # -- inside

    def _offsets(self) -> Offsets:
        return {PLACE: self._done}

    def _append(self, record: dict[str, Any]) -> int:
        number = len(self.records) + 1
        self.records.append((number, record))
        return number

    def _count(self) -> None:
        if self._writes_left is not None:
            if self._writes_left == 0:
                raise Killed
            self._writes_left -= 1
        self.writes += 1

    def _told(self) -> dict[bytes, tuple[int, str] | None]:
        return {
            profile: None if value is None else (revision, str(read_profile(value)["realm"]))
            for profile, (revision, value) in self.topic.newest.items()
        }

    def _note_strays(self, told: Mapping[bytes, tuple[int, str] | None]) -> None:
        """Compare what was published with the state, as `wiring.note_strays` does."""
        kept = {
            profile: KeptProfile.decode(self.memory.values.get(key))
            for profile, key in zip(told, self.keys.of(b"f", told), strict=True)
        }
        by_place: dict[bytes, list[DirtyKey]] = {}
        for dirty_key in find_unreconciled(told, kept, lambda one: str(read_profile(one.body, one.version)["realm"])):
            by_place.setdefault(self.keys.place_of(dirty_key[1]), []).append(dirty_key)
        for place, dirty_keys in by_place.items():
            self.memory.values[place + UNRECONCILED] = encode_unreconciled(dirty_keys)

    def _tick(self, caught_up: bool = False) -> None:
        self._epoch += 1
        tick = Tick(self._epoch, self.as_of, self.decision.horizon if self.decision else 0, caught_up)
        self._carry([(worker, tick) for worker in range(self.routes.workers)])

    def _carry(self, parcels: list[tuple[int, Any]]) -> None:
        """Carry parcels through all stages; workers take turns by chance, so do the parcels of different senders."""
        waiting: dict[int, list[Any]] = {worker: [] for worker in range(self.routes.workers)}
        for worker, item in parcels:
            waiting[worker].append(item)
        for stage in self._stages:
            order = list(waiting)
            self._choose.shuffle(order)
            sent: list[list[tuple[int, Any]]] = []
            for worker in order:
                if waiting[worker]:
                    sent.append(list(getattr(self._steps[worker], stage)(waiting[worker])))
            if stage == "profiles":
                for published in sent:
                    self._publish(published)
                return
            waiting = self._mixed(sent)

    def _mixed(self, sent: list[list[tuple[int, Any]]]) -> dict[int, list[Any]]:
        """Let what senders sent arrive by chance, each sender's own in its order."""
        waiting: dict[int, list[Any]] = {worker: [] for worker in range(self.routes.workers)}
        while sent:
            one = self._choose.choice(sent)
            if not one:
                sent.remove(one)
                continue
            worker, item = one.pop(0)
            waiting[worker].append(item)
        return waiting

    def _publish(self, batches: list[PublishedBatch]) -> None:
        if any(len(batch) for batch in batches):
            self._count()
            for batch in batches:
                self.topic.write(batch)


def _worker(store: Store, keys: Keys, context: FoldContext) -> Worker:
    return Worker(store, keys, context, schemas.load(schemas.PROFILE_VALUE))
