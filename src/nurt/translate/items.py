"""Translate rows of one topic into rows of each entity that they are: one, or several under `into`.

A message that cannot become a row of one of them becomes a row of none: it is folded whole or refused whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s
from nurt.debezium.change_keys import put_keys
from nurt.debezium.change_reader import ChangeReader
from nurt.debezium.conventions import Conventions
from nurt.debezium.message_keys import OLD_KEY, KeyReader, as_type
from nurt.debezium.operations import TRUNCATE, Times
from nurt.debezium.payloads import int64s
from nurt.debezium.positions import POSITION_COLUMNS, server_numbers
from nurt.debezium.translation_batch import Group, TranslationBatch
from nurt.mapping.load import TopicMapping
from nurt.model.entity_frame import (
    DELETE,
    IMPLIED,
    LEFT_OUT,
    LEFT_OUT_ABSENT,
    TOPIC_BITS,
    UPSERT,
    EntityFrame,
    Truncated,
    entity_title,
    topic_code,
)
from nurt.model.raw import RawBatch
from nurt.model.refusal import Reason
from nurt.translate.fast_path import EventMetadata, FastRows, fast_rows
from nurt.translate.general_path import map_rows

Mapped = tuple[pl.DataFrame, Int64s]
"""Rows of an entity, and the places of their messages in the batch."""


class ItemTranslation:
    """A translator of a topic's rows into one entity; `topic` is the mapping of that entity alone."""

    def __init__(self, topic: TopicMapping, ids: Ids, keys: KeyReader, told: Conventions) -> None:
        self.topic = topic
        self._ids, self._keys, self._told = ids, keys, told
        self._fast: dict[ChangeReader | None, FastRows | None] = {}

    def learn(self, reader: ChangeReader) -> None:
        """Prepare for rows of one schema."""
        self._fast[reader] = fast_rows(self.topic, reader.wanted, self._ids, self._told)

    def map(self, batch: TranslationBatch, epochs: Int64s) -> Mapped | None:
        """Map all kept messages, in their order; None: no message became a row."""
        frames, places = [], []
        for group in batch.groups:
            for frame, rows in self._map(batch, group, epochs):
                if frame.height:
                    frames.append(frame)
                    places.append(rows)
        if len(frames) <= 1:
            return (frames[0], places[0]) if frames else None
        rows = np.concatenate(places)
        order = np.argsort(rows, kind="stable")
        return pl.concat(frames)[order], rows[order]

    def frame(self, batch: TranslationBatch, rows: pl.DataFrame) -> EntityFrame:
        """Make the frame of the rows of a batch."""
        return EntityFrame(self.topic.kind, rows, batch.raw.topic, self._absent(batch, rows), self.topic.order)

    def _absent(self, batch: TranslationBatch, rows: pl.DataFrame) -> tuple[str, ...]:
        """Name the columns of `where` that rows lack which are left out."""
        where = self.topic.where
        if where is None or not (rows["op"] == LEFT_OUT_ABSENT).any():
            return ()
        readers = [group.reader for group in batch.groups if group.reader is not None]
        return tuple(sorted(where.columns - frozenset.intersection(*(frozenset(one.types) for one in readers))))

    def _map(self, batch: TranslationBatch, group: Group, epochs: Int64s) -> Iterator[tuple[pl.DataFrame, Int64s]]:
        """Map the kept messages of a group, whole upserts first; return rows and their places in the batch."""
        keep, fast = group.keep, self._fast.get(group.reader)
        if batch.spoilt is not None:
            keep = keep & ~batch.spoilt[group.rows]
        slow = np.isin(group.rows, batch.rekeyed) & keep if batch.rekeyed is not None else None
        if slow is not None:
            keep = keep & ~slow
        if fast is not None and 2 * np.count_nonzero(keep & (group.changes.op == UPSERT)) > len(keep):
            rows, changes = group.rows, group.changes
            times = _times(changes.times, batch.raw, np.arange(len(rows)), rows)
            partitions, offsets = batch.partitions[rows], batch.offsets[rows]
            metadata = EventMetadata(
                changes.snapshot, epochs[rows], changes.position, partitions, offsets, times, self._codes(batch, group)
            )
            mapped = fast.map(changes, keep, metadata)
            if mapped is not None:
                frame, whole = mapped
                yield frame, rows if whole.all() else rows[whole]
                keep = keep & ~whole
        if slow is not None:
            keep = keep | slow
        if keep.any():
            yield from self._map_by_the_book(batch, group, keep, epochs)

    def _codes(self, batch: TranslationBatch, group: Group) -> Int64s | None:
        """Name the topic and the server of each message of a group; None where one topic holds the table."""
        if not self.topic.shared:
            return None
        codes = np.full(len(group.rows), topic_code(batch.raw.topic), dtype=np.int64)
        if group.reader is not None:
            codes |= server_numbers(group.reader.layout.family, group.changes.servers, len(codes)) << TOPIC_BITS
        return codes

    def _map_by_the_book(
        self, batch: TranslationBatch, group: Group, keep: Bools, epochs: Int64s
    ) -> Iterator[tuple[pl.DataFrame, Int64s]]:
        """Map some rows of a group on the general path, one by one if needed; return rows and their places."""
        at = np.flatnonzero(keep)
        changes, codes = group.changes, self._codes(batch, group)
        for name, decoded in changes.decoded.items():
            more = f"more digits than {decoded.column.dtype}"
            for strange, reason, detail in (
                (decoded.unfit, Reason.OUT_OF_RANGE, more),
                (decoded.unread, Reason.UNREAD, "text that cannot be read as the time that its schema declares"),
            ):
                if strange is not None:
                    wrong = np.zeros_like(keep)
                    wrong[at] = ((changes.op == UPSERT) & strange)[at]
                    batch.refuse(group.rows[wrong], reason, f"column {name}: {detail}")
                    at = at[~wrong[at]]
        rows = group.rows[at]
        if not len(rows):
            return
        everything = len(at) == len(group.rows)
        op = changes.op[at]
        columns = {
            name: decoded.column if everything else decoded.column.gather(at)
            for name, decoded in changes.decoded.items()
        }
        # a delete's row may lack the key, which some tables have in the message's key only
        has_key = all(name in columns for name in self._keys.columns)
        which = np.flatnonzero(op == DELETE) if has_key else np.arange(len(rows))
        moved = put_keys(self._keys, batch, group.reader, rows, which, columns) if len(which) else None
        metadata = {
            "op": pl.Series(op),
            "snapshot": pl.Series(changes.snapshot[at]),
            "source_epoch": pl.Series(epochs[rows]),
            **dict(zip(POSITION_COLUMNS, changes.position.take(at).series(), strict=True)),
            "partition": pl.Series(batch.partitions[rows]),
            "offset": pl.Series(batch.offsets[rows]),
            "ts_ms": pl.Series(_times(changes.times, batch.raw, at, rows)),
            "topic": pl.Series([None] * len(rows), dtype=pl.Int64) if codes is None else pl.Series(codes[at]),
        }
        unavailable = {name: decoded.unavailable for name, decoded in changes.decoded.items()}
        moved_from = self._moved_from(batch, rows, columns)
        frame, problems = map_rows(
            self.topic,
            pl.DataFrame(metadata),
            pl.DataFrame(columns),
            self._ids,
            {name: pl.Series(flags[at] & (op == UPSERT)) for name, flags in unavailable.items() if flags is not None},
            moved,
            moved_from,
        )
        for problem in problems:
            batch.refuse([int(rows[problem.row])], problem.reason, problem.detail)
        fine = np.delete(np.arange(len(rows)), [problem.row for problem in problems])
        if moved_from is not None and group.reader is not None and group.reader.layout.tells_no_deletes:
            yield self._implied(pl.DataFrame(metadata)[fine], pl.DataFrame(columns)[fine], moved_from[fine], rows[fine])
        yield frame, rows[fine]

    def _moved_from(self, batch: TranslationBatch, rows: Int64s, columns: dict[str, pl.Series]) -> pl.DataFrame | None:
        """Read the old keys of rows whose key changed, in the types of `columns`; None: no key changed."""
        if batch.rekeyed is None or not np.isin(rows, batch.rekeyed).any():
            return None
        old = self._keys.read_moved([batch.raw.headers[row] for row in rows.tolist()], OLD_KEY) or {}
        nothing = pl.Series([None] * len(rows), dtype=pl.String)
        return pl.DataFrame(
            {name: as_type(old.get(name, nothing), columns[name].dtype).alias(name) for name in self._keys.columns}
        )

    def _implied(
        self, metadata: pl.DataFrame, columns: pl.DataFrame, moved_from: pl.DataFrame, rows: Int64s
    ) -> tuple[pl.DataFrame, Int64s]:
        """Make the deletes of old keys, which a transformation has dropped: only the insert's header tells of them.

        Source: ExtractNewRecordState, `delete.tombstone.handling.mode=drop`.
        """
        keys = list(self._keys.columns)
        known, differs = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.bool_)
        for name in keys:
            known |= moved_from[name].is_not_null().to_numpy()
            differs |= moved_from[name].ne_missing(columns[name]).to_numpy()
        at = np.flatnonzero(known & differs & (metadata["op"] == UPSERT).to_numpy())
        deletes = metadata[at].with_columns(pl.lit(DELETE, pl.Int8).alias("op"))
        frame, problems = map_rows(self.topic, deletes, moved_from[at], self._ids, None, columns[at].select(keys))
        at = np.delete(at, [problem.row for problem in problems])
        return frame.with_columns(pl.lit(IMPLIED, pl.Int8).alias("op")), rows[at]

    def truncates(
        self, batch: TranslationBatch, epochs: Int64s, behind: Callable[[int], tuple[int, ...]]
    ) -> list[Truncated]:
        """Return the truncates of the entity's table; `behind` tells what was written behind a message of the batch."""
        topic, truncated = self.topic, []
        for group in batch.groups:
            if not (group.changes.op == TRUNCATE).any():
                continue
            for at in np.flatnonzero((group.changes.op == TRUNCATE) & (group.changes.bad == 0)).tolist():
                row = int(group.rows[at])
                one = np.array([at]), np.array([row])
                truncated.append(
                    Truncated(
                        topic.kind,
                        topic.system.name,
                        topic.name,
                        int(epochs[row]),
                        group.changes.position.of(at),
                        batch.raw.topic,
                        int(batch.partitions[row]),
                        int(batch.offsets[row]),
                        topic_code(batch.raw.topic) if topic.shared else 0,
                        topic.order,
                        int(_times(group.changes.times, batch.raw, *one)[0]),
                        behind(row),
                    )
                )
        return truncated


def map_items(items: Sequence[ItemTranslation], batch: TranslationBatch, epochs: Int64s) -> list[EntityFrame]:
    """Map a batch into rows of every item; the first item's frame counts the messages."""
    if len(items) == 1:
        (item,) = items
        mapped = item.map(batch, epochs)
        return [] if mapped is None else [item.frame(batch, mapped[0])]
    batch.spoilt = np.zeros(len(batch.offsets), dtype=np.bool_)
    found: list[tuple[ItemTranslation, Mapped]] = []
    for item in items:
        batch.item = f"{entity_title(item.topic.kind, item.topic.name)}: "
        mapped = item.map(batch, epochs)
        if mapped is not None:
            found.append((item, mapped))
    whole = [(item, _without(batch.spoilt, mapped)) for item, mapped in found]
    nowhere = np.logical_and.reduce([_left_out(mapped, len(batch.offsets)) for _, mapped in whole]) if whole else None
    frames = []
    for item, (rows, places) in whole:
        if nowhere is None or not rows.height:
            continue
        made = item.frame(batch, rows)
        # a message is left out, and counted so, when every item leaves it out; for the fold all these are deletes
        op, left_out = rows["op"].to_numpy(), _is_left_out(rows)
        counts = item is items[0]
        deletes = left_out & ~nowhere[places] if counts else left_out
        if deletes.any():
            rows = rows.with_columns(pl.Series("op", np.where(deletes, np.int8(DELETE), op)))
        frames.append(replace(made, frame=rows, counts=counts, left_out=int(np.count_nonzero(left_out))))
    return frames


def _without(spoilt: Bools, mapped: Mapped) -> Mapped:
    """Leave out rows of messages that an item has refused."""
    rows, places = mapped
    if not spoilt.any():
        return mapped
    fine = ~spoilt[places]
    return rows.filter(pl.Series(fine)), places[fine]


def _is_left_out(rows: pl.DataFrame) -> Bools:
    op = rows["op"].to_numpy()
    return (op == LEFT_OUT) | (op == LEFT_OUT_ABSENT)


def _left_out(mapped: Mapped, messages: int) -> Bools:
    """Say of each message of a batch whether an item leaves it out."""
    rows, places = mapped
    found = np.zeros(messages, dtype=np.bool_)
    found[places[_is_left_out(rows)]] = True
    return found


def _times(found: Times | None, raw: RawBatch, at: Int64s, rows: Int64s) -> Int64s:
    """Choose times of the group's messages `at`, the batch's `rows`; fall back to the times of the messages."""
    if found is not None and found.known is None:
        return found.ms[at]
    own = int64s(raw.timestamps_ms)[rows]
    return own if found is None or found.known is None else np.where(found.known[at], found.ms[at], own)
