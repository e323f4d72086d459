"""Fold change events into rows: the only place that compares source positions.

Hot path: one frame in, one kernel call, one gather. A row's state is its newest event, and the parents that it left.
Whatever arrives, old or new, the row says its stored contribution again to its parent and "gone" to the parents it
left, for a replay must say again what a crash swallowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.tables import OWNER, Table
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import HELD_PARENT_BIT, entity_columns

ROOTS = frozenset({"customer", "order", "product", "document"})
"""Kinds whose row says itself to the level that bears its own id; they leave no parent here."""

ROW, LEFT = 0, 1
"""Values of the column `part`: the row itself, and a parent that it left."""

POSITION = ("p0", "p1", "p2", "p3")
HIGHEST = ("h0", "h1", "h2", "h3")
"""The highest position that a row is known to have had, where its newest event's own lacks a part; else null."""

_PARENT = ("parent_kind", "parent", "parent_entity", "parent_key")

_STORED = (
    *("system", "entity", "key", "op", "source_epoch", *POSITION, "partition", "offset", "ts_ms"),
    *(*_PARENT, "moved_to"),
)


def row_table(kind: str) -> Table:
    """Name the columns of a stored row of one entity kind."""
    columns = entity_columns(kind)
    stored: dict[str, pl.DataType] = {"part": pl.Int64()}
    for name in _STORED:
        stored[name] = pl.Int64() if columns[name].is_integer() else columns[name]
    for name in field_names(kind):
        stored[name] = columns[name]
    return Table(stored | dict.fromkeys(HIGHEST, pl.Int64()))


def field_names(kind: str) -> list[str]:
    """Name the columns that hold what a row of this kind says, extra identifiers included."""
    return [*ENTITIES[kind].fields, *(["identifiers"] if kind == "customer" else [])]


ROW_TABLES: dict[str, Table] = {kind: row_table(kind) for kind in ENTITIES}


@dataclass(frozen=True, slots=True)
class Floor:
    """The place of a table's last truncate: rows at or before it are gone and their events are old news."""

    source_epoch: int
    position: tuple[int | None, int | None, int | None, int | None]
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class RowsFolded:
    """Rows after a fold.

    Attributes:
        state: every row as it is now, and the parents it left: `row_table(kind)` and owner, sorted by owner.
        accepted: for each incoming event, whether it was news.
        changed: by owner: whether there is something new to store.
    """

    state: pl.DataFrame
    accepted: npt.NDArray[np.bool_]
    changed: npt.NDArray[np.bool_]


_PLACE = ("part", "op", "source_epoch", *POSITION, *HIGHEST, "partition", "offset", "parent_kind", "parent", "system")
"""What is read of every stored row; the rest only of those that nothing newer replaces."""


def fold_rows(kind: str, incoming: pl.DataFrame, values: Sequence[bytes | None]) -> RowsFolded:
    """Apply events to rows in arrival order; an event strictly older than its row is old news.

    Args:
        kind: the entity kind.
        incoming: `entity_columns(kind)` and `owner`, in arrival order.
        values: by owner, as read.
    Source: PostgreSQL `source.sequence`, MySQL `file, pos, row`, SQL Server LSNs; equal or null parts are decided by
        the Kafka offset within one partition, which has a row's events in order.
    """
    table, owners = ROW_TABLES[kind], len(values)
    columns = [OWNER, *table.columns]
    held = incoming["held"].to_numpy()
    stored = table.unpack(values, None if held.any() else _PLACE)
    was = stored.filter(pl.col("part") == ROW)
    news = incoming.with_columns(
        pl.lit(ROW, pl.Int64).alias("part"),
        incoming["op"].cast(pl.Int64),
        *[pl.lit(None, pl.Int64).alias(name) for name in HIGHEST],
    )
    places = pl.concat([frame.select(OWNER, *_PLACE) for frame in (was, news)])
    owner = places[OWNER].to_numpy()
    winner, accepted, highest = _settled(places, owner, was.height, owners)
    changed = winner >= was.height
    if held.any():
        both = pl.concat([was.select(columns), news.select(columns)])
        state = _with_held(kind, both[winner], both, owner, was.height, accepted, held, owners)
    else:
        state = news[winner[changed] - was.height].select(columns)
        if not changed.all():
            state = pl.concat([state, _unreplaced(table, values, changed).select(columns)]).sort(OWNER)
    if (highest >= 0).any():
        state = _with_highest(state, places, highest)
    left = state.clear() if kind in ROOTS else _left_parents(stored, places, accepted, state, table)
    if left.height:
        state = pl.concat([state, left.select(columns)]).sort(OWNER, "part", maintain_order=True)
    return RowsFolded(state, accepted[was.height :], changed)


def _unreplaced(table: Table, values: Sequence[bytes | None], changed: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """Read whole the rows that stay as they are stored."""
    owners = np.flatnonzero(~changed)
    rows = table.unpack([values[owner] for owner in owners.tolist()])
    return rows.with_columns(pl.Series(OWNER, owners[rows[OWNER].to_numpy()])).filter(pl.col("part") == ROW)


def _settled(
    both: pl.DataFrame, owner: npt.NDArray[np.int64], stored: int, owners: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return each row's newest event, which events were news, and whose position is the row's highest.

    The last is the number of an event, the number of events and more when it is a stored highest one, and -1 where
    the newest event's own position says all.
    """
    events = both.height
    width = 2 if stored and both["h0"].null_count() < events else 1
    parts = np.zeros((4, events * width), dtype=np.int64)
    known = np.ones((4, events * width), dtype=np.bool_)
    for index, name in enumerate((*POSITION, *HIGHEST)[: 4 * width]):
        series = both[name]
        at = slice(index // 4 * events, (index // 4 + 1) * events)
        if series.null_count():
            known[index % 4, at] = series.is_not_null().to_numpy()
            series = series.fill_null(0)
        parts[index % 4, at] = series.to_numpy()
    winner = np.full(owners, -1, dtype=np.int64)
    highest = np.full(owners, -1, dtype=np.int64)
    accepted = np.zeros(events, dtype=np.bool_)
    _settle(
        owner,
        both["source_epoch"].to_numpy(),
        parts,
        known,
        both["partition"].to_numpy(),
        both["offset"].to_numpy(),
        winner,
        accepted,
        highest,
    )
    return winner, accepted, highest


def _with_highest(state: pl.DataFrame, places: pl.DataFrame, highest: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Keep, beside positions that lack a part, the highest that the row is known to have had."""
    nothing = np.flatnonzero(highest < 0)
    index = pl.Series(highest).scatter(nothing, None) if len(nothing) else pl.Series(highest)
    columns = []
    for position, name in zip(POSITION, HIGHEST, strict=True):
        both = pl.concat([places[position], places[name]])
        columns.append(pl.select(pl.lit(both).gather(index)).to_series().alias(name))
    return state.with_columns(columns)


def _with_held(
    kind: str,
    state: pl.DataFrame,
    both: pl.DataFrame,
    owner: npt.NDArray[np.int64],
    stored: int,
    accepted: npt.NDArray[np.bool_],
    held: npt.NDArray[np.int64],
    owners: int,
) -> pl.DataFrame:
    """Take each unavailable column from the event before; off the hot path, since TOAST columns are rare.

    Source: Debezium `__debezium_unavailable_value`.
    """
    masks = np.concatenate([np.zeros(stored, dtype=np.int64), held])
    groups = [(bit, [name]) for bit, name in enumerate(field_names(kind))]
    groups.append((HELD_PARENT_BIT, list(_PARENT)))
    for bit, names in groups:
        keeps = (masks >> bit) & 1 == 1
        if not (keeps & accepted).any():
            continue
        source = np.full(owners, -1, dtype=np.int64)
        takes = np.flatnonzero(accepted & ~keeps)
        source[owner[takes]] = takes  # the last one wins: rows are in arrival order
        # a row whose every event lacks the column has nothing to hold: it stays null
        for name in names:
            picked = both[name].gather(np.maximum(source, 0))
            if (source < 0).any():
                picked = picked.set(pl.Series(source < 0), None)
            state = state.with_columns(picked.alias(name))
    return state


def _left_parents(
    stored: pl.DataFrame, places: pl.DataFrame, accepted: npt.NDArray[np.bool_], state: pl.DataFrame, table: Table
) -> pl.DataFrame:
    """List the parents that rows were at and are no longer: stored ones, and those passed within the batch."""
    was_left = stored.filter(pl.col("part") == LEFT)
    passed = places.filter(pl.Series(accepted) & places["parent"].is_not_null())
    names = (OWNER, "system", "parent_kind", "parent")
    candidates = pl.concat([was_left.select(names), passed.select(names)]) if was_left.height else passed.select(names)
    now = state["parent"].gather(candidates[OWNER])
    candidates = candidates.filter(candidates["parent"].ne_missing(now))
    if not candidates.height:
        return candidates
    candidates = candidates.unique(maintain_order=True)
    blank = {name: dtype for name, dtype in table.columns.items() if name not in (*names, "part")}
    return candidates.with_columns(
        pl.lit(LEFT, pl.Int64).alias("part"), *[pl.lit(None, dtype).alias(name) for name, dtype in blank.items()]
    )


def at_or_before(frame: pl.DataFrame, floor: Floor) -> npt.NDArray[np.bool_]:
    """Say of each event or row whether it stands at or before a truncate of its table.

    A truncate has no key, so it may lie in any partition: rows are compared by the connector's order. Where a
    part is unknown (a snapshot's rows, a first transaction) the offset decides within a partition, else the next part.
    Source epochs are counted by partition, so they say nothing of two partitions.
    """
    epoch = pl.col("source_epoch")
    other_epoch = (pl.col("partition") == floor.partition) & (epoch != floor.source_epoch)
    older = pl.when(other_epoch).then(epoch < floor.source_epoch).otherwise(_up_to(floor, 0))
    return frame.select(older.alias("older"))["older"].to_numpy()


def _up_to(floor: Floor, part: int) -> pl.Expr:
    same = pl.col("partition") == floor.partition
    by_offset = same & (pl.col("offset") <= floor.offset)
    if part == len(POSITION):
        return by_offset
    after = _up_to(floor, part + 1)
    unknown = pl.when(same).then(by_offset).otherwise(after)
    limit = floor.position[part]
    if limit is None:
        return unknown
    here = pl.col(POSITION[part])
    return pl.when(here.is_null()).then(unknown).when(here != limit).then(here < limit).otherwise(after)


@numba.njit(nogil=True, cache=True)
def _compare(parts, known, one, other):  # type: ignore[no-untyped-def]
    """Compare two positions as far as both are known: -1, 0, 1."""
    for k in range(4):
        if not (known[k, one] and known[k, other]):
            return 0
        if parts[k, one] != parts[k, other]:
            return -1 if parts[k, one] < parts[k, other] else 1
    return 0


@numba.njit(nogil=True, cache=True)
def _settle(owner, epoch, parts, known, partition, offset, winner, accepted, highest):  # type: ignore[no-untyped-def]
    events = len(owner)
    for row in range(events):
        at = owner[row]
        held = winner[at]
        if held < 0:
            winner[at] = row
            accepted[row] = True
            if parts.shape[1] > events and known[0, events + row]:
                highest[at] = events + row  # stored rows come first
            continue
        older = False
        decided = False
        begins = partition[row] == partition[held] and epoch[row] != epoch[held]
        if begins:
            older = epoch[row] < epoch[held]
            decided = True
        k = 0
        while not decided and k < 4:
            if not (known[k, row] and known[k, held]):
                if partition[row] == partition[held]:
                    break
            elif parts[k, row] != parts[k, held]:
                older = parts[k, row] < parts[k, held]
                decided = True
            k += 1
        if not decided and highest[at] >= 0 and _compare(parts, known, row, highest[at]) < 0:
            older = True  # what it stands behind was replaced by an event that does not say where it stands
            decided = True
        if not decided and partition[row] == partition[held]:
            older = offset[row] < offset[held]
        if older:
            continue
        winner[at] = row
        accepted[row] = True
        whole = known[0, row] and known[1, row] and known[2, row] and known[3, row]
        if whole or begins:
            highest[at] = -1
            continue
        best = highest[at] if highest[at] >= 0 else held
        highest[at] = best if known[0, best] and _compare(parts, known, row, best) <= 0 else -1
