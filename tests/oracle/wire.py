"""Two ways to the same profiles, both from messages: a history as connectors wrote it, and its final rows alone.

The batch side inserts every row that the databases hold at the end, once, in the order in which the rows were touched
last, and at that time. So it has no history, yet the rule "newest" must choose the same values. Each side goes through
the translator and all stages; no oracle of ours interprets the bytes of the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from nurt.columnar.ids import Ids
from nurt.control.source_records import accepted_record, halts, known_epochs, restarts_of
from nurt.errors import SourceHalted
from nurt.mapping.load import Mapping, load_mapping
from nurt.model.entity_frame import Translated
from nurt.model.log import KeyPlaces
from nurt.model.raw import RawBatch
from nurt.ports.registry import SchemaRegistry
from nurt.rows.counting import HEIGHTS, counted_of
from nurt.runtime.translating import Translate
from nurt.simulate.company.tables import demo_connectors
from nurt.simulate.connector.columns import Key, Row
from nurt.simulate.connector.messages import MemoryWriter, Message
from nurt.testing.histories.history import (
    SYSTEMS,
    History,
    RowOperation,
    Step,
    final_rows,
    tables_of,
    topic_of,
    widened,
)
from nurt.translate.translator import Translator
from tests.oracle.deployment import Published
from tests.oracle.engine import Engine
from tests.oracle.loose_cluster import RememberedRegister
from tests.oracle.values import TODAY

IDS = Ids(bytes(16))

_OF_THE_STREAM = frozenset({"revision", "position", "as_of"})
"""Fields of a profile that name places of messages."""


@cache
def demo_mapping() -> Mapping:
    """Read the mapping of the demo's systems."""
    return load_mapping((files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8"), "demo.yaml")


class WireEngine(Engine):
    """An engine that takes translated messages."""

    def take(self, translated: Translated) -> None:
        """Take one micro-batch through all stages of all workers."""
        self._carry(self.routes.split_translated(translated, 0))


class Written:
    """What was written when; implements `ports.log.Partitioning`."""

    def __init__(self, batches: Sequence[RawBatch]) -> None:
        self._times_ms: dict[str, dict[int, list[int]]] = {}
        for batch in batches:
            times_ms = self._times_ms.setdefault(batch.topic, {})
            for partition, time_ms in zip(batch.partitions, batch.timestamps_ms, strict=True):
                times_ms.setdefault(int(partition), []).append(int(time_ms))

    def partitions(self, _topic: str) -> int:
        """See ports.log.Partitioning: keys never move here, so nobody asks."""
        return 0

    def key_places(self, _topic: str, _partition: int) -> KeyPlaces:
        """See ports.log.Partitioning."""
        return KeyPlaces(1)

    def offsets_at(self, topic: str, time_ms: int) -> tuple[int, ...]:
        """See ports.log.Partitioning."""
        times_ms = self._times_ms[topic]
        every = [times_ms.get(partition, []) for partition in range(max(times_ms) + 1)]
        return tuple(next((at for at, one in enumerate(some) if one >= time_ms), len(some)) for some in every)


def published(
    batches: Sequence[RawBatch], registry: SchemaRegistry, seed: int = 0, workers: int = 1, as_of: int = TODAY + 1
) -> Published:
    """Translate and fold messages; return the profiles that are published at the end, as of a day."""
    mapping = demo_mapping()
    engine = WireEngine(mapping.systems, mapping.rules, IDS, as_of - 1, seed=seed)
    engine.start(workers)
    translator = Translator(mapping, registry, IDS, partitioning=Written(batches))
    for batch in batches:
        translated = translator.translate(batch)
        assert not translated.refused, [(one.reason, one.detail) for one in translated.refused]
        engine.take(translated)
    return engine.drain(as_of)


class Operated:
    """A deployment that is stopped, restarted, and told by its operator what only an operator knows.

    Attributes:
        stops: how often a source was halted.
    """

    def __init__(self, registry: SchemaRegistry, seed: int, workers: int, as_of: int = TODAY + 1) -> None:
        self.stops = 0
        self._registry, self._choose, self._as_of = registry, Random(seed), as_of
        self._mapping, self._log = demo_mapping(), RememberedRegister()
        self._engine = WireEngine(self._mapping.systems, self._mapping.rules, IDS, as_of - 1, seed=seed)
        self._engine.start(workers)

    def published(self, batches: Sequence[RawBatch]) -> Published:
        """Read batches, some a poll, some of them again behind a restart; return the profiles at the end."""
        written = Written(batches)
        at, step = 0, self._start(written)
        while at < len(batches):
            if self._choose.random() < 0.1:
                at, step = max(0, at - self._choose.randint(0, 3)), self._start(written)
            poll = batches[at : at + self._choose.randint(1, 3)]
            try:
                parcels = step(poll)
            except SourceHalted:
                self.stops += 1
                (source,) = halts(self._log.records())
                self._log.append(accepted_record(source))
                step = self._start(written)
                continue
            self._engine._carry(parcels)
            at += len(poll)
        return self._engine.drain(self._as_of)

    def _start(self, written: Written) -> Translate:
        shard = self._engine.keys.shard_place(0)
        heights = counted_of(HEIGHTS, self._engine.memory.counted.get(shard, {}))
        epochs = known_epochs(self._log.records(), heights, lambda: restarts_of(self._log.records()))
        translator = Translator(self._mapping, self._registry, IDS, epochs, partitioning=written)
        return Translate(translator, self._engine.routes, 0, self._log)


def batch_messages(history: History, registry: SchemaRegistry, partitions: int = 2) -> list[Message]:
    """Write the rows that the databases hold at the end, and nothing else."""
    writer = MemoryWriter()
    connectors = demo_connectors(writer, registry, partitions=partitions)
    final, touched = final_rows(history), last_touched(history)
    rows: list[tuple[tuple[int, int], str, str, Row]] = []
    for system in SYSTEMS:
        for name, table in tables_of(system).items():
            columns = {column.name for column in table.columns}
            for key, row in final[topic_of(system, name)].items():
                known = {column: value for column, value in row.items() if column in columns}
                rows.append((touched[system, name, key], system, name, known))
    for (at_us, _), system, name, row in sorted(rows, key=lambda one: one[0]):
        transaction = connectors[system].begin()
        transaction.insert(name, row)
        connectors[system].commit(transaction, at_us)
    return writer.messages


def last_touched(history: History) -> dict[tuple[str, str, Key], tuple[int, int]]:
    """Return when each row's newest event was written: a time, and a number that grows."""
    follower = _Follower()
    for step in history.steps:
        follower.happen(step)
    return follower.touched


class _Follower:
    """A follower of a history: which rows there are, and when each was written last."""

    def __init__(self) -> None:
        self.touched: dict[tuple[str, str, Key], tuple[int, int]] = {}
        self._tables = {(system, name): table for system in SYSTEMS for name, table in tables_of(system).items()}
        self._rows: dict[tuple[str, str, Key], Row] = {}
        self._open: dict[tuple[str, int], tuple[RowOperation, ...]] = {}
        self._number = 0

    def happen(self, step: Step) -> None:
        if step.kind == "begin":
            self._open[step.system, step.transaction] = step.operations
        elif step.kind in ("load", "commit", "move"):
            for operation in self._open.pop((step.system, step.transaction), ()) + step.operations:
                self._operate(step.system, operation, step.at_us)
            if step.kind == "move":
                self._read(step)
        elif step.kind in ("snapshot", "incremental"):
            for inner in step.during:
                self.happen(inner)
            self._read(step)
        elif step.kind == "alter":
            self._tables[step.system, step.table] = widened(self._tables[step.system, step.table])

    def _read(self, step: Step) -> None:
        for system, name, key in self._rows:
            if system == step.system and step.table in ("", name):
                self._touch((system, name, key), step.at_us)

    def _operate(self, system: str, operation: RowOperation, at_us: int) -> None:
        name, table = operation.table, self._tables[system, operation.table]
        if operation.kind == "truncate":
            self._rows = {place: row for place, row in self._rows.items() if place[:2] != (system, name)}
        rows = [operation.values] if operation.kind == "insert" else []
        for key in operation.keys:
            row = self._rows.pop((system, name, key))
            rows += [{**row, **operation.values}] if operation.kind == "update" else []
        for row in map(table.complete, rows):
            self._rows[system, name, table.key_of(row)] = row
            self._touch((system, name, table.key_of(row)), at_us)

    def _touch(self, place: tuple[str, str, Key], at_us: int) -> None:
        self._number += 1
        self.touched[place] = at_us, self._number


def compared(batch: Published, stream: Published) -> list[str]:
    """List where live profiles differ, but for what names places of messages."""
    ours = {name: _plain(profile) for name, profile in stream.items() if profile["state"] == "live"}
    theirs = {name: _plain(profile) for name, profile in batch.items() if profile["state"] == "live"}
    found = [f"{name}: missing" for name in sorted(theirs.keys() - ours.keys())]
    found += [f"{name}: should not be" for name in sorted(ours.keys() - theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        found += [
            f"{name}.{field}: expected {value!r}, got {ours[name].get(field)!r}"
            for field, value in theirs[name].items()
            if ours[name].get(field) != value
        ]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name not in _OF_THE_STREAM}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    return value
