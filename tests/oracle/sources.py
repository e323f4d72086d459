"""Source databases and their connectors in miniature: rows change, and events stand in topics as Debezium puts them.

A system has one connector, which writes all its tables' events in one order; a table has one topic of some partitions;
a row's events lie in the partition of its key. Databases are not our model: they have keys and values only, so what
they hold at the end is the truth that every stream of these events must arrive at.

Source: what the captured corpus teaches (tests/corpus/README.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from zlib import crc32

from nurt.control.generations import first_epoch
from nurt.model.entities import ENTITIES, IDENTIFIED_KINDS
from nurt.model.entity_frame import (
    DELETE,
    FULL_SNAPSHOT,
    INCREMENTAL_SNAPSHOT,
    STREAMED,
    UNAVAILABLE_PARENT_BIT,
    UPSERT,
)
from tests.oracle.final_row import Position, System
from tests.oracle.places import highest_after, is_old_news, is_truncated
from tests.oracle.values import DAY_US, TODAY, some_identifiers, some_value

TRUNCATE = 2
"""Value of `Event.op` beside UPSERT and DELETE."""

Parent = tuple[str, str, str]
"""(kind, entity, key) of the row that a row points at."""
Table = tuple[str, str]
"""(kind, entity) within a system."""


@dataclass(frozen=True, slots=True)
class Source:
    """How one system is captured.

    `connector` is postgres, mysql, sqlserver or none (a connector whose events have no position).
    """

    system: System
    connector: str
    partitions: int
    customers: tuple[str, ...]  # names of its customer tables
    orders: tuple[str, ...]  # names of its order tables
    incremental_without_p0: bool
    twins: bool = False
    """Whether a customer's row is a consent, too, while it has identifiers: one message, two rows."""
    topics: str = "one"
    """How many topics hold a table: `one`; `parts`: a topic for each partition of a partitioned table, between which
    rows move; `renamed`: the prefix may change, with a snapshot; `twice`: two connectors write the same."""


PARTS = 3
RENAMES_MAX = 3


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as its database holds it."""

    fields: dict[str, Any]
    identifiers: str | None
    parent: Parent | None


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a topic, decoded and mapped."""

    number: int  # order in which all connectors together wrote
    system: str
    kind: str
    entity: str
    key: str  # empty for a truncate
    op: int
    snapshot: int
    source_epoch: int
    position: Position
    partition: int
    offset: int
    ts_ms: int
    stored: Stored | None = None  # what the event says; held columns are null
    held: int = 0
    moved_to: str | None = None
    branch: str = ""  # what the topic's name has behind the table's
    topics: str = "one"  # see Source
    partitions: int = 0  # of the topic at the end; 0: nobody asks
    moved_from: str | None = None
    table: str = ""  # the topic's, when the entity has another name
    twin: Event | None = None  # what the row is, too

    @property
    def topic(self) -> str:
        return f"{self.system}.{self.table or self.entity}{self.branch}"

    @property
    def parts(self) -> tuple[Event, ...]:
        """All that the row is."""
        return (self,) if self.twin is None else (self, self.twin)

    @property
    def order(self) -> tuple[str, ...]:
        """What the mapping says of the order of the table's topics."""
        if self.topics != "renamed":
            return ()
        table = self.table or self.entity
        return tuple(f"{self.system}.{table}{branch}" for branch in ("", "@1", "@2", "@3"))

    @property
    def row(self) -> tuple[str, str, str]:
        return (self.system, self.entity, self.key)


def changed(event: Event, **values: Any) -> Event:
    """Return an event, and its twin, with other values."""
    twin = None if event.twin is None else replace(event.twin, **values)
    return replace(event, **values, twin=twin)


def twin_of(entity: str, key: str, stored: Stored) -> Stored | None:
    """Return the consent that a customer's row is, too; None: it is none."""
    if stored.identifiers is None:
        return None
    said = {"purpose": entity, "channel": stored.identifiers}
    return Stored(dict.fromkeys(ENTITIES["consent"].fields) | said, None, ("customer", entity, key))


@dataclass(slots=True)
class Connector:
    """One system's database and the connector that writes its events."""

    source: Source
    log: list[Event]  # of all systems; appended to
    tables: dict[Table, dict[str, Stored]] = field(default_factory=dict)
    clock_ms: int = TODAY * DAY_US // 1000
    capturing: bool = True
    value_of: Callable[[str, str, Random], Any] = some_value  # (kind, field, choose)
    _lsn: int = 100
    _last_commit: int | None = None
    _statement: tuple[int, int] = (0, 0)
    _offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    _epochs: dict[tuple[str, int], int] = field(default_factory=dict)
    _generation: int = 0
    _replayable: list[Event] = field(default_factory=list)
    _heads: dict[tuple[str, ...], Event] = field(default_factory=dict)
    _highest: dict[tuple[str, ...], Position | None] = field(default_factory=dict)
    _truncates: dict[str, Event] = field(default_factory=dict)
    _unsaid: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _parts: dict[tuple[str, str], int] = field(default_factory=dict)
    _renames: int = 0
    _partitions: int = 0  # after the topics got more

    # -- what the application does

    def put(self, kind: str, entity: str, key: str, parent: Parent | None, choose: Random) -> None:
        """Insert the row, or update some of its columns."""
        rows = self.tables.setdefault((kind, entity), {})
        before = rows.get(key)
        names = ENTITIES[kind].fields
        if before is None:
            values = {name: self.value_of(kind, name, choose) for name in names}
            after = Stored(values, some_identifiers(choose, kind) if kind in IDENTIFIED_KINDS else None, parent)
            rows[key] = after
            self._write(kind, entity, key, UPSERT, after)
            return
        values = {
            name: self.value_of(kind, name, choose) if choose.random() < 0.3 else value
            for name, value in before.fields.items()
        }
        identifiers = before.identifiers
        if kind in IDENTIFIED_KINDS and choose.random() < 0.3:
            identifiers = some_identifiers(choose, kind)
        after = Stored(values, identifiers, before.parent if choose.random() < 0.5 else parent)
        rows[key] = after
        if self.source.topics == "parts" and choose.random() < 0.3:
            self._write(kind, entity, key, DELETE)
            self._parts[entity, key] = choose.randrange(PARTS)
            self._write(kind, entity, key, UPSERT, after)
            return
        held = self._held(before, after, list(names), choose)
        self._write(kind, entity, key, UPSERT, _without_held(after, held, list(names)), held=held)

    def set_row(self, kind: str, entity: str, key: str, parent: Parent | None = None, **fields: Any) -> None:
        """Insert or replace the row with just these values, the others null."""
        after = Stored(dict.fromkeys(ENTITIES[kind].fields) | fields, None, parent)
        self.tables.setdefault((kind, entity), {})[key] = after
        self._write(kind, entity, key, UPSERT, after)

    def delete(self, kind: str, entity: str, key: str) -> None:
        """Delete the row if it is there."""
        if self.tables.get((kind, entity), {}).pop(key, None) is not None:
            self._write(kind, entity, key, DELETE)

    def rekey(self, kind: str, entity: str, key: str, new_key: str, cascade: bool) -> None:
        """Change a row's primary key, and maybe the foreign keys that point at it."""
        rows = self.tables.get((kind, entity), {})
        if key not in rows or new_key in rows or self._unsaid.get((kind, entity, key)):
            return  # a key that changes again before its large values were said: the chain breaks, and is counted
        after = rows[new_key] = rows.pop(key)
        names = list(ENTITIES[kind].fields)
        held = self._held(after, after, names, Random(self._lsn))
        position = self._write(kind, entity, key, DELETE, moved_to=new_key)
        without = _without_held(after, held, names)
        self._write(kind, entity, new_key, UPSERT, without, position=position, held=held, moved_from=key)
        if cascade:
            for (child_kind, child_entity), children in self.tables.items():
                for child_key, child in children.items():
                    if child.parent == (kind, entity, key):
                        children[child_key] = replace(child, parent=(kind, entity, new_key))
                        self._write(child_kind, child_entity, child_key, UPSERT, children[child_key])

    def truncate(self, kind: str, entity: str, choose: Random) -> None:
        """Remove all rows of a table at once, where the connector can say so across its partitions."""
        partitions = range(self.partitions)
        part = choose.randrange(PARTS) if self.source.topics == "parts" else None
        branches = self._branches(entity, "") if part is None else [f"_p{part}"]
        epochs = {
            self._epochs.get((f"{self._topic(entity)}{branch}", partition), first_epoch(self._generation)) // 2
            for partition in partitions
            for branch in branches
        }
        cannot = self.source.connector == "sqlserver" or len(epochs) > 1
        if cannot or (self.source.connector == "none" and len(partitions) > 1):
            return
        self.truncate_in(kind, entity, choose.choice(partitions), part)

    def truncate_in(self, kind: str, entity: str, partition: int, part: int | None = None) -> None:
        """Remove all rows of a table, or of one part, at once; the event has no key, so it may lie in any partition."""
        rows = self.tables.setdefault((kind, entity), {})
        for key in list(rows):
            if part is None or self._part_of(entity, key) == part:
                del rows[key]
        self.commit()
        self._write(kind, entity, "", TRUNCATE, partition=partition, branch=None if part is None else f"_p{part}")
        self.commit()

    def _part_of(self, entity: str, key: str) -> int:
        return self._parts.get((entity, key), crc32(f"{entity} {key}".encode()) % PARTS)

    def _branches(self, entity: str, key: str) -> list[str]:
        """Name the topics that an event of a row goes to, by what their names have behind the table's."""
        if self.source.topics == "parts":
            return [f"_p{self._part_of(entity, key)}"]
        if self.source.topics == "twice":
            return ["", "_again"]
        return [f"@{self._renames}" if self._renames else ""]

    # -- what the operator does

    def read_again(self, kind: str, entity: str) -> None:
        """Run an incremental snapshot of a table: every row once more, amid the stream."""
        self.commit()
        for key, stored in self.tables.get((kind, entity), {}).items():
            self._write(kind, entity, key, UPSERT, stored, snapshot=INCREMENTAL_SNAPSHOT)
        self.commit()

    def snapshot(self) -> None:
        """Read all tables from the start: a new source epoch in each partition that has rows."""
        self._replayable.clear()
        self.commit()
        position = self._read_position()
        for (kind, entity), rows in self.tables.items():
            for key, stored in rows.items():
                self._write(kind, entity, key, UPSERT, stored, snapshot=FULL_SNAPSHOT, position=position)
        self.commit()

    def make_anew(self) -> None:
        """Move the database to another server, and make all topics anew: lower positions, and offsets from 0 again."""
        if self.source.topics != "one":  # positions of two servers do not decide between two topics of a table
            return
        self._generation += 1
        self._offsets, self._epochs = {}, {}
        self._lsn, self._last_commit, self._statement = 10, None, (0, 0)
        self.snapshot()

    def rename(self) -> None:
        """Register the connector again under another prefix: it reads all tables and writes to other topics."""
        if self.source.topics == "renamed" and self._renames < RENAMES_MAX:
            self._renames += 1
            self.snapshot()

    @property
    def partitions(self) -> int:
        """How many partitions each topic has now."""
        return self._partitions or self.source.partitions

    @property
    def may_read_again(self) -> bool:
        """Say whether a full snapshot's positions can be compared with those of a key's former partition."""
        return not self._partitions or self.source.connector != "sqlserver"

    def grow(self) -> None:
        """Give the topics more partitions, once: keys that hash elsewhere now leave their older events behind."""
        if not self._partitions:
            self._partitions = self.source.partitions + 1 + self.source.partitions % 2
            self._replayable.clear()

    def redeliver(self, events: int) -> None:
        """Kill the connector: after its restart it writes its last events again, at new offsets."""
        self.commit()
        for event in self._replayable[-events:] if events else []:
            self._append(event)

    def echo(self, choose: Random) -> None:
        """Write one older event alone again, where its position can tell that it is older."""
        candidates = [event for event in self._replayable if self._is_surely_older(event)]
        if candidates:
            self._append(choose.choice(candidates))

    def _is_surely_older(self, event: Event) -> bool:
        if event.op == TRUNCATE or None in event.position:
            return False
        floor = self._truncates.get(event.topic)
        if floor is not None and None in floor.position:
            return False
        head = self._heads.get((event.topic, *event.row))
        if head is None or None not in head.position:
            return True
        return is_old_news(
            replace(event, offset=head.offset + 1, source_epoch=head.source_epoch),
            head,
            self._highest[event.topic, *event.row],
        )

    def commit(self) -> None:
        """End the transaction that is open."""
        self._lsn += 3
        self._last_commit = self._lsn
        self._statement = (self._statement[0] + 40, 0)

    # -- how it is written

    def _held(self, before: Stored, after: Stored, names: list[str], choose: Random) -> int:
        if self.source.connector != "postgres" or choose.random() < 0.6:
            return 0
        held = 0
        for bit, name in enumerate(names):
            if before.fields[name] == after.fields[name] and choose.random() < 0.5:
                held |= 1 << bit
        twin = self.source.twins and names == list(ENTITIES["customer"].fields)  # its `where` needs identifiers
        if before.identifiers == after.identifiers and not twin and choose.random() < 0.3:
            held |= 1 << len(names)
        if before.parent == after.parent and choose.random() < 0.3:
            held |= 1 << UNAVAILABLE_PARENT_BIT
        return held

    def _topic(self, entity: str) -> str:
        return f"{self.source.system.name}.{entity}"

    def _read_position(self) -> Position:
        self._lsn += 1
        self._statement = (self._statement[0] + 40, 0)
        if self.source.connector == "postgres":
            return (None, self._lsn, 0, 0)
        if self.source.connector == "mysql":
            return (1 + self._statement[0] // 400, self._statement[0], 0, 0)
        if self.source.connector == "sqlserver":
            return (self._lsn, 1, None, None)
        return (None, None, None, None)

    def _position(self, snapshot: int, truncate: bool) -> Position:
        if snapshot == INCREMENTAL_SNAPSHOT:
            position = self._read_position()
            if self.source.connector == "postgres" and not self.source.incremental_without_p0:
                return (self._lsn, self._lsn, 0, 0)
            return (None, None, None, None) if self.source.connector == "sqlserver" else position
        self._lsn += 1
        pos, row = self._statement
        self._statement = (pos, row + 1)
        if self.source.connector == "postgres":
            # rows of a long transaction have lsns from before their neighbours' commits; a truncate holds a lock
            # (no transaction is so long that its topic grew meanwhile, and its row was read by a snapshot before)
            prompt = truncate or self._last_commit is None or self._partitions
            lag = 0 if prompt or self._last_commit is None else self._last_commit % 3 * 50
            return (self._last_commit, max(1, self._lsn - lag), 0, 0)
        if self.source.connector == "mysql":
            return (1 + pos // 400, pos, row, 0)
        if self.source.connector == "sqlserver":
            return (10_000 + (self._last_commit or 0), 1, self._lsn, row)
        return (None, None, None, None)

    def _write(
        self,
        kind: str,
        entity: str,
        key: str,
        op: int,
        stored: Stored | None = None,
        *,
        snapshot: int = STREAMED,
        position: Position | None = None,
        partition: int | None = None,
        held: int = 0,
        moved_to: str | None = None,
        moved_from: str | None = None,
        branch: str | None = None,
    ) -> Position:
        if position is None:
            position = self._position(snapshot, op == TRUNCATE)
        if not self.capturing:
            return position
        before = -1 if moved_from is not None else self._unsaid.get((kind, entity, key), 0)
        self._unsaid[kind, entity, key] = held & before
        self.clock_ms += self._lsn % 2
        if partition is None:
            partition = _hash(key) % self.partitions
        event = Event(
            0, self.source.system.name, kind, entity, key, op, snapshot, 0, position, partition, 0, self.clock_ms,
            stored, held, moved_to, "", self.source.topics, moved_from=moved_from,
        )  # fmt: skip
        if self.source.twins and kind == "customer":
            event = replace(event, twin=self._twin(event))
        for one in self._branches(entity, key) if branch is None else [branch]:
            self._append(changed(event, branch=one))
            if snapshot == STREAMED:
                self._replayable.append(changed(event, branch=one))
        return position

    def _twin(self, event: Event) -> Event:
        stored = None if event.stored is None else twin_of(event.entity, event.key, event.stored)
        op = DELETE if event.op == UPSERT and stored is None else event.op
        entity = f"{event.entity}_twin"
        return replace(event, kind="consent", entity=entity, table=event.entity, op=op, stored=stored, held=0)

    @property
    def truth(self) -> dict[Table, dict[str, Stored]]:
        """What the database holds, by all that its rows are."""
        found = {table: dict(rows) for table, rows in self.tables.items()}
        for (kind, entity), rows in self.tables.items() if self.source.twins else ():
            if kind == "customer":
                twins = {key: twin_of(entity, key, stored) for key, stored in rows.items()}
                found["consent", f"{entity}_twin"] = {key: twin for key, twin in twins.items() if twin is not None}
        return found

    def _append(self, event: Event) -> None:
        place = (event.topic, event.partition)
        offset = self._offsets.get(place, -1) + 1 + (len(self.log) % 5 == 4)  # a gap: a transaction's marker
        self._offsets[place] = offset
        epoch = self._epochs.get(place, first_epoch(self._generation))  # even: a snapshot, odd: the stream behind it
        if (epoch % 2 == 0) != (event.snapshot == FULL_SNAPSHOT):
            epoch += 1
        self._epochs[place] = epoch
        event = changed(event, number=len(self.log), offset=offset, source_epoch=epoch)
        self.log.append(event)
        self._keep_heads(event)

    def _keep_heads(self, event: Event) -> None:
        topic = event.topic
        if event.op == TRUNCATE:
            if topic not in self._truncates or not is_old_news(event, self._truncates[topic]):
                self._truncates[topic] = event
            return
        place = (topic, *event.row)
        head = self._heads.get(place)
        floor = self._truncates.get(topic)
        if head is not None and is_old_news(event, head, self._highest[place]):
            return
        if floor is None or not is_truncated(event, floor):
            self._highest[place] = None if head is None else highest_after(event, head, self._highest[place])
            self._heads[place] = event


def _without_held(stored: Stored, held: int, names: list[str]) -> Stored:
    if not held:
        return stored
    fields = {name: None if held >> bit & 1 else stored.fields[name] for bit, name in enumerate(names)}
    identifiers = None if held >> len(names) & 1 else stored.identifiers
    return Stored(fields, identifiers, None if held >> UNAVAILABLE_PARENT_BIT & 1 else stored.parent)


def _hash(key: str) -> int:
    return crc32(key.encode()) >> 1


def compacted(connectors: Sequence[Connector], choose: Random) -> None:
    """Let topics that got more partitions be compacted; then nothing but a tombstone is left of a deleted key.

    A tombstone has no position, and neither has any event of a connector without an order. They have the number of
    partitions and their key's hash instead, as a reader finds them now.
    """
    grown = {connector.source.system.name: connector for connector in connectors if connector._partitions}
    if not grown:
        return
    log, names = connectors[0].log, [connector.source.system.name for connector in connectors]
    last: dict[tuple[str, ...], Event] = {}
    for event in log:
        last[event.topic, str(event.partition), *event.row] = event
    ended = {
        place
        for place, event in last.items()
        if event.op == DELETE
        and choose.random() < 0.7
        and (head := connectors[names.index(event.system)]._heads.get((event.topic, *event.row))) is not None
        and (head.number == event.number or head.partition != event.partition)
    }
    kept = []
    for event in log:
        if event.system not in grown:
            kept.append(event)
            continue
        partitions = grown[event.system].partitions
        event = changed(event, partitions=partitions)
        if event.op != TRUNCATE:
            place = (event.topic, str(event.partition), *event.row)
            if place in ended and event.number != last[place].number:
                continue
            if place in ended or event.position[:2] == (None, None):
                event = changed(event, position=(None, None, partitions, _hash(event.key) + 1))
            if place in ended:
                event = changed(event, moved_to=None)
        kept.append(event)
    log[:] = kept
