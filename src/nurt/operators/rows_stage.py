"""The first stage: translated messages into rows, and what the rows say to orders and accounts.

Hot path: per entity kind of a micro-batch one fold; per micro-batch one read and one write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from nurt.core.columns import encode_ids
from nurt.core.context import FoldContext
from nurt.core.contributions import Said, join_said, said_by_rows
from nurt.core.rows import ROW, ROW_TABLES, Floor, at_or_before, fold_rows
from nurt.core.tables import OWNER
from nurt.limits import SWEEP_ROWS_MAX
from nurt.model.change import Change
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, EntityFrame, Translated, Truncated, entity_columns
from nurt.model.keys import Keys
from nurt.operators.counting import Counting
from nurt.ports import Store

FLOORS_MAX = 16
"""How many truncates of one table and source epoch are remembered; events from before an older one may come back."""


T = TypeVar("T")


class Voice(Protocol[T]):
    """What the rows of a flow say to its next stage."""

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Return changes of rows as they are to be folded: a flow may give parents of its own."""
        ...

    def say(self, kind: str, state: pl.DataFrame, row_ids: pl.Series, stamp: int) -> T:
        """Say the stored contribution of every row (columns `row_table(kind)` and owner)."""
        ...

    def join(self, many: list[T]) -> T:
        """Put what was said one after another."""
        ...


class ProfileVoice:
    """Says rows to orders and accounts."""

    def __init__(self, context: FoldContext) -> None:
        self._context = context

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """See Voice."""
        return frame

    def say(self, kind: str, state: pl.DataFrame, row_ids: pl.Series, stamp: int) -> Said:
        """See Voice."""
        return said_by_rows(kind, state, row_ids, stamp, self._context)

    def join(self, many: list[Said]) -> Said:
        """See Voice."""
        return join_said(many)


class RowsStage(Generic[T]):
    """Owns the rows of a worker's shards."""

    def __init__(self, store: Store, keys: Keys, voice: Voice[T]) -> None:
        self._store = store
        self._keys = keys
        self._voice = voice
        self._counting = Counting(store, keys)
        self._floors: dict[bytes, list[Floor]] | None = None

    def fold(self, batches: Sequence[Translated]) -> T:
        """Fold everything that was translated, in order, and say it; truncates apply where they stand."""
        said: list[T] = []
        waiting: list[Translated] = []
        for batch in batches:
            waiting.append(batch)
            if batch.truncated:
                said.append(self._fold_rows(waiting))
                waiting = []
                in_order = sorted(batch.truncated, key=lambda one: (one.partition, one.offset))
                said += [self._truncate(truncated) for truncated in in_order]
        if waiting:
            said.append(self._fold_rows(waiting))
        return self._voice.join(said)

    def _fold_rows(self, batches: Sequence[Translated]) -> T:
        change = Change()
        for batch in batches:
            change.refused += batch.refused
        self._counting.count_rest(change, batches)
        parts: dict[str, list[EntityFrame]] = {}
        for batch in batches:
            for one in batch.entities:
                parts.setdefault(one.kind, []).append(one)
        frames = {
            kind: self._voice.prepare(kind, pl.concat([one.frame for one in some]))
            for kind, some in sorted(parts.items())
        }
        return self._settle(frames, change, parts)

    def _settle(
        self, frames: dict[str, pl.DataFrame], change: Change, parts: Mapping[str, Sequence[EntityFrame]] | None = None
    ) -> T:
        """Read, fold, write, say.

        Args:
            parts: what the frames were joined from, to be counted by topic; a sweep's rows are no messages.
        """
        coded = {kind: encode_ids(frame["row"]) for kind, frame in frames.items()}
        keys = {kind: self._keys.of(row_kind(kind), ids) for kind, (_, ids) in coded.items()}
        flat = [key for kind in frames for key in keys[kind]]
        values = self._store.read(flat) if flat else []
        stamp = self._store.next_stamp()
        said = []
        at = 0
        for kind, frame in frames.items():
            codes, ids = coded[kind]
            mine = values[at : at + len(ids)]
            at += len(ids)
            incoming = frame.with_columns(pl.Series(OWNER, codes))
            fallen = self._below_floor(kind, incoming)
            news = incoming.filter(pl.Series(~fallen)) if fallen.any() else incoming
            if fallen.any():
                # who is not there any more has nothing to say; who is says what is stored
                there = np.fromiter((value is not None for value in mine), dtype=np.bool_, count=len(mine))
                there[news[OWNER].to_numpy()] = True
                known = np.flatnonzero(there)
                news = news.with_columns(pl.Series(OWNER, np.searchsorted(known, news[OWNER].to_numpy())))
                ids, mine = [ids[owner] for owner in known], [mine[owner] for owner in known]
                keys[kind] = [keys[kind][owner] for owner in known]
            folded = fold_rows(kind, news, mine)
            packed = ROW_TABLES[kind].pack(folded.state, len(ids))
            for key, value, changed in zip(keys[kind], packed, folded.changed.tolist(), strict=True):
                if changed:
                    assert value is not None, "a row is kept, be it as a tombstone"
                    change.put[key] = value
            said.append(self._voice.say(kind, folded.state, pl.Series(ids, dtype=pl.Binary), stamp))
            if parts is not None:
                self._count(change, parts[kind], fallen, folded.accepted)
        self._store.write(change)
        return self._voice.join(said)

    def _count(
        self,
        change: Change,
        parts: Sequence[EntityFrame],
        fallen: npt.NDArray[np.bool_],
        accepted: npt.NDArray[np.bool_],
    ) -> None:
        news = np.zeros(len(fallen), dtype=np.bool_)
        news[np.flatnonzero(~fallen)] = accepted
        at = 0
        for part in parts:
            self._counting.count_rows(change, part.topic, part.frame, news[at : at + part.frame.height])
            at += part.frame.height

    # --- truncates: off the hot path -------------------------------------------------------------

    def _known_floors(self) -> dict[bytes, list[Floor]]:
        if self._floors is None:
            self._floors = {table: _decode_floors(value) for table, value in self._store.floors().items()}
        return self._floors

    def _below_floor(self, kind: str, incoming: pl.DataFrame) -> npt.NDArray[np.bool_]:
        fallen = np.zeros(incoming.height, dtype=np.bool_)
        for table, floors in self._known_floors().items():
            floor_kind, system, entity = table.decode().split("\x1f")
            if floor_kind != kind:
                continue
            of_table = incoming.select((pl.col("system") == system) & (pl.col("entity") == entity))[:, 0]
            if of_table.any():
                rows = incoming.filter(of_table)
                fallen[of_table.to_numpy()] = np.any([at_or_before(rows, floor) for floor in floors], axis=0)
        return fallen

    def _truncate(self, truncated: Truncated) -> T:
        """Delete every row of a table that stands at or before the truncate.

        The sweep runs to its end here, a bounded write at a time; the truncate's replay mends a crash in it.
        """
        floor = Floor(truncated.source_epoch, truncated.position, truncated.partition, truncated.offset)
        table = f"{truncated.kind}\x1f{truncated.system}\x1f{truncated.entity}".encode()
        said = []
        for ids in self._store.scan(row_kind(truncated.kind)):
            for at in range(0, len(ids), SWEEP_ROWS_MAX):
                some = ids[at : at + SWEEP_ROWS_MAX]
                fallen = self._fallen_rows(truncated, floor, some)
                if fallen.height:
                    said.append(self._settle({truncated.kind: fallen}, Change()))
        known = self._known_floors()
        known[table] = _raised(known.get(table, []), floor)
        change = Change()
        change.floors = {place: {table: _encode_floors(known[table])} for place in self._store.places}
        self._counting.count_truncate(change, truncated)
        self._store.write(change)
        return self._voice.join(said)

    def _fallen_rows(self, truncated: Truncated, floor: Floor, ids: list[bytes]) -> pl.DataFrame:
        """Turn the stored rows that a truncate takes into deletes at its place."""
        ROW_TABLES[truncated.kind]
        values = self._store.read(self._keys.of(row_kind(truncated.kind), ids))
        stored = ROW_TABLES[truncated.kind].unpack(values)
        rows = stored.filter(
            (pl.col("part") == ROW) & (pl.col("system") == truncated.system) & (pl.col("entity") == truncated.entity)
        )
        rows = rows.filter(pl.Series(at_or_before(rows, floor), dtype=pl.Boolean))
        columns = entity_columns(truncated.kind)
        keep = {"system", "entity", "key", "source_epoch", "partition", "offset", "ts_ms", "p0", "p1", "p2", "p3"}
        return rows.with_columns(pl.Series("row", [ids[owner] for owner in rows[OWNER]], dtype=pl.Binary)).select(
            *[
                pl.lit(DELETE, pl.Int8).alias("op")
                if name == "op"
                else pl.lit(0).cast(dtype).alias(name)
                if name in ("held", "snapshot")
                else pl.col(name).cast(dtype)
                if name in keep or name == "row"
                else pl.lit(None, dtype).alias(name)
                for name, dtype in columns.items()
            ]
        )


def _encode_floors(floors: list[Floor]) -> bytes:
    return orjson.dumps([asdict(floor) for floor in floors])


def _decode_floors(value: bytes) -> list[Floor]:
    return [
        Floor(held["source_epoch"], tuple(held["position"]), held["partition"], held["offset"])
        for held in orjson.loads(value)
    ]


def _raised(floors: list[Floor], floor: Floor) -> list[Floor]:
    """Add a truncate to its table's: what is below one of them need not be below a later one, for parts may be null.

    Those of earlier source epochs are below it in any case.
    """
    kept = [other for other in floors if other.source_epoch >= floor.source_epoch and other != floor]
    return [*kept, floor][-FLOORS_MAX:]


def row_kind(kind: str) -> bytes:
    """Name the key kind of an entity's rows: `r` and the entity's code, so that a table can be swept."""
    return b"r%c" % ENTITIES[kind].code
