"""Workers of the real engine that go their own pace: parcels wait between stages, and chance says who goes on.

`Engine` carries each batch through all stages of all workers in step. Here several batches are under way at once, as in
Bytewax within an epoch: a stage of one worker may be batches ahead of another, takes what waits for it or only some of
it, and only parcels from one sender to one receiver keep their order. Epochs, commits, checkpoints and the drain are
those of the real source (`runtime.source.SourcePart`).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any
from unittest.mock import patch

from nurt.columnar.ids import Ids
from nurt.contracts import schemas
from nurt.control.launch import Deployment, begin_record, decide, run_number
from nurt.model.entity_frame import EntityFrame, Translated, Truncated
from nurt.model.keys import Keys
from nurt.model.log import Committed, Leaders, Offsets
from nurt.model.tick import Tick
from nurt.profiles.worker import Worker
from nurt.runtime import source
from nurt.runtime.profile_steps import ProfileSteps
from nurt.runtime.routing import WorkerRoutes
from nurt.testing.memory_store import Memory, MemoryStore
from tests.oracle.deployment import Killed, Published
from tests.oracle.engine import PLACE, STAGES, Topic, context_of
from tests.oracle.final_row import SystemLike

SHARDS = 8
CHECKPOINT_EPOCHS = 2
"""Epochs between checkpoints: short, so that short histories have some."""
EPOCHS_TO_DRAIN = 4


class PushedLog:
    """Gives the source what a harness pushes; implements ports.log.MessageLog. Its commits outlive a run."""

    def __init__(self, commits: list[Committed]) -> None:
        self.commits = commits
        self.waiting: list[Any] = []
        self.at = 0

    def committed(self) -> Committed | None:
        return self.commits[-1] if self.commits else None

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        self.at = 0 if offsets is None else offsets[PLACE]

    def poll(self, rows_max: int) -> list[Any]:
        polled, self.waiting = self.waiting, []
        return polled

    def offsets(self) -> Offsets:
        return {PLACE: self.at}

    def leaders(self) -> Leaders:
        return {}

    def exhausted(self) -> bool:
        return False

    def commit(self, committed: Committed) -> None:
        self.commits.append(committed)

    def lag(self) -> int:
        return 0

    def close(self) -> None:
        pass


class RememberedRegister:
    """A register in memory."""

    def __init__(self) -> None:
        self._held: list[dict[str, Any]] = []

    def append(self, record: Mapping[str, Any]) -> int:
        self._held.append(dict(record))
        return len(self._held) - 1

    def records(self) -> list[tuple[int, dict[str, Any]]]:
        return list(enumerate(self._held))


class ChosenDay:
    """A clock that a harness sets."""

    def __init__(self, day: int) -> None:
        self.day = day

    def today(self) -> int:
        return self.day


class LooseCluster:
    """Workers of the real engine out of step; implements Stream and Deployment.

    Args:
        pace: how many steps are taken after each batch before the next one comes; 0: until nothing waits.
        seed: of who goes on next.
    """

    def __init__(
        self,
        systems: Mapping[str, SystemLike],
        rules: Mapping[str, Sequence[str]],
        ids: Ids,
        as_of: int,
        pace: int = 3,
        seed: int = 0,
    ) -> None:
        self.topic = Topic()
        self._context = context_of(systems, rules, ids)
        self._realms = tuple(sorted({system.realm for system in systems.values()}))
        self._keys = Keys("t", SHARDS)
        self._memory = Memory()
        self._control = RememberedRegister()
        self._commits: list[Committed] = []
        self._clock = ChosenDay(as_of)
        self._pace, self._choose = pace, Random(seed)
        self._writes_left: int | None = None

    # -- Deployment

    def start(self, workers: int) -> int:
        """Launch a run as `wiring.launch` does."""
        self._writes_left = None
        run = run_number(self._control.records(), self._control.append({"kind": "start"}))
        places = {f"{shard:02x}": self._keys.shard_place(shard) for shard in range(SHARDS)}
        places |= {f"r:{realm}": self._keys.realm_place(realm) for realm in self._realms}
        heads = {name: self._memory.fences.get(place) for name, place in places.items()}
        decision = decide(self._control.records(), self._commits[-1:], heads)
        deployment = Deployment(SHARDS, "s", self._realms)
        self._control.append(begin_record(run, workers, deployment, decision))
        self._memory.claim(run, list(places.values()))
        self._routes = WorkerRoutes(SHARDS, workers)
        self._steps = [self._open(run, index) for index in range(workers)]
        self._queues: dict[tuple[str, int], dict[int, deque[Any]]] = defaultdict(lambda: defaultdict(deque))
        self._log = PushedLog(self._commits)
        self._share = source.SourcePart(
            source.Reading(
                run, 1, 1, lambda _: self._log, decision.offsets, decision.leaders, decision.horizon, self._control,
                self._clock.today, lambda: False,
            ),
            0,
        )  # fmt: skip
        self._take()
        self._run(0)
        return self._log.at

    def feed_until(self, batch: Sequence[EntityFrame | Truncated], done: int) -> None:
        """Hand a batch to the source, and let some stages go on."""
        self._log.waiting.append(batch)
        self._log.at = done
        self._take()
        self._run(self._pace)

    def commit(self) -> None:
        """Close the epoch: all of it is done before the source is asked again."""
        with patch.object(source, "CHECKPOINT_EPOCHS", CHECKPOINT_EPOCHS):
            self._share.snapshot()
            self._run(0)
            self._take()
        self._run(self._pace)

    def crash_after_writes(self, writes: int) -> None:
        """Die instead of the write after so many, to the store or to the topic."""
        self._writes_left = writes

    def kill(self) -> None:
        """Forget what only the processes knew."""
        del self._steps, self._queues, self._share

    def save(self) -> Memory:
        """Copy the store."""
        return self._memory.copy()

    def restore(self, saved: Memory) -> None:
        """Put an older copy in place."""
        self._memory = saved.copy()

    def drain(self, as_of: int) -> Published:
        """Let the day come, and finish everything."""
        self._clock.day = as_of
        for _ in range(EPOCHS_TO_DRAIN):
            self.commit()
        self._run(0)
        return self.topic.published()

    # -- what Bytewax does

    def _open(self, run: int, index: int) -> ProfileSteps:
        places = self._routes.places(index, self._realms, self._keys)
        store = MemoryStore(self._memory, run, places, before_write=self._count_write)
        worker = Worker(store, self._keys, self._context, schemas.load(schemas.PROFILE_VALUE))
        return ProfileSteps(worker, self._routes, index)

    def _count_write(self) -> None:
        if self._writes_left is not None:
            if self._writes_left == 0:
                raise Killed
            self._writes_left -= 1

    def _take(self) -> None:
        for item in self._share.next_batch():
            if isinstance(item, Tick):
                for worker in range(self._routes.workers):
                    self._queues["rows", worker][0].append(item)
                continue
            for translated in (one for batch in item for one in _translated(batch)):  # type: ignore[arg-type]
                for worker, mine in self._routes.split_translated(translated, 0):
                    self._queues["rows", worker][0].append(mine)

    def _run(self, steps_max: int) -> None:
        """Let stages go on until nothing waits, or for so many steps (0: no bound)."""
        steps = 0
        while steps_max == 0 or steps < steps_max:
            ready = [place for place, senders in self._queues.items() if any(senders.values())]
            if not ready:
                return
            self._step(*self._choose.choice(ready))
            steps += 1

    def _step(self, stage: str, worker: int) -> None:
        items: list[Any] = []
        while senders := [queue for queue in self._queues[stage, worker].values() if queue]:
            items.append(self._choose.choice(senders).popleft())
            if self._choose.random() < 0.2:
                break
        for said in list(getattr(self._steps[worker], stage)(items)):
            if stage != "profiles":
                receiver, item = said
                self._queues[STAGES[STAGES.index(stage) + 1], receiver][worker].append(item)
            elif len(said):
                self._count_write()
                self.topic.write(said)


def _translated(batch: Sequence[EntityFrame | Truncated]) -> list[Translated]:
    """Make one Translated a topic, as a source reads them."""
    by_topic: dict[tuple[str, str], Translated] = {}
    for item in batch:
        if isinstance(item, Truncated):
            by_topic.setdefault((item.system, item.entity), Translated()).truncated.append(item)
        else:
            topic = (item.frame["system"][0], item.frame["entity"][0])
            by_topic.setdefault(topic, Translated()).entities.append(item)
    return list(by_topic.values())
