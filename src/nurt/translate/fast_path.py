"""Map rows with the same result as `general_path`: hot path for whole upserts, nearly all rows of a batch.

Plain columns become fields in compiled loops, and all expressions of a mapping are one call of polars. An odd
row (a delete, an unavailable or unfit value, no key, a false `where`) is left out, and `general_path` maps it. When an
expression fails, every row is odd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from nurt.avro.raw_column import RawColumn
from nurt.columnar.ids import Ids
from nurt.columnar.types import INLINE_BYTES, Bools, Int8s, Int64s
from nurt.debezium.change_reader import Changes, ColumnReader
from nurt.debezium.conventions import Conventions
from nurt.debezium.positions import POSITION_COLUMNS, Positions
from nurt.debezium.semantics import Form
from nurt.mapping.convert import blank_to_null, refused
from nurt.mapping.plan import WHERE, KeyText, Plan, Step, plan_for
from nurt.mapping.sql.evaluate import FAILURES
from nurt.mapping.types import TopicMapping
from nurt.model.entities import FieldType
from nurt.model.entity_frame import POLARS_TYPES, UPSERT, entity_columns
from nurt.translate.fast_columns import Maker, bitmap_of, maker_of, mark_odd_texts, number_array, text_array
from nurt.translate.fast_keys import ArrowTexts, joined_texts, texts_of_column, texts_of_series

_ARROW_TYPES: dict[pl.DataType, Any] = {
    pl.String(): pa.string_view(),
    pl.Binary(): pa.binary_view(),
    pl.Int64(): pa.int64(),
    pl.Int8(): pa.int8(),
    pl.Boolean(): pa.bool_(),
}
_RESULT = "\0"
"""First character of the name of an expression's result before its conversion; no field's name begins so."""


@dataclass(frozen=True, slots=True)
class EventMetadata:
    """Metadata of change events, for all messages of a group."""

    snapshot: Int8s
    source_epoch: Int64s
    position: Positions
    partition: Int64s
    offset: Int64s
    ts_ms: Int64s
    topic: Int64s | None = None  # codes; None: one topic holds the table


@dataclass(frozen=True, slots=True)
class _Key:
    """A recipe of a key, part by part: from columns as read, or from results of polars."""

    text: KeyText
    columns: tuple[str, ...] | None  # one a part; None: from expressions


class FastRows:
    """A mapper of whole upserts of one table and one writer schema."""

    def __init__(self, topic: TopicMapping, reader: ColumnReader, ids: Ids, plan: Plan, told: Conventions) -> None:
        assert plan.key is not None, "`quick_rows` has asked"
        self._topic, self._reader, self._ids, self._plan = topic, reader, ids, plan
        self._told = told
        self._key = self._how(plan.key)
        self._parent = self._how(plan.parents[0]) if plan.parents else None
        types = topic.field_types
        self._direct: dict[str, tuple[str, Maker]] = {}  # field -> column and its maker
        self._evaluated: list[Step] = []
        self._nothing: set[str] = set()  # fields of absent columns
        for step in (*plan.steps, *((plan.where,) if plan.where is not None else ())):
            self._place(step, types.get(step.name, FieldType.BOOL))
        keys = [key for key in (self._key, self._parent) if key is not None and key.columns is None]
        self._expressions = [part.expr for key in keys for part in key.text.parts]
        for step in self._evaluated:
            if step.value is None:
                self._expressions.append(step.wanted.expr)
            else:
                self._expressions.append(step.wanted.expr.alias(_RESULT + step.name))
                self._expressions.append(step.convert.value(step.wanted.expr).alias(step.name))
        wanted = [name for step in self._evaluated for name in step.columns]
        wanted += [name for key in keys for name in key.text.columns]
        self._wanted = sorted(set(wanted))

    def map(self, changes: Changes, keep: Bools, metadata: EventMetadata) -> tuple[pl.DataFrame, Bools] | None:
        """Map whole rows; return them, and which of all messages they are. None: no row could be mapped here."""
        odd = ~keep
        if changes.op.any():  # UPSERT is 0
            odd |= changes.op != UPSERT
        rows = len(odd)
        arrays = {
            name: make(self._raw(column, changes), self._reader.meaning(column), self._told, odd)
            for name, (column, make) in self._direct.items()
        }
        values: dict[str, pl.Series] = {}
        if self._expressions:
            frame = self._frame(changes, rows, odd)
            try:
                evaluated = frame.select_seq(self._expressions)
            except FAILURES:
                return None
            values = self._results(evaluated, odd)
        else:
            evaluated = pl.DataFrame()
        key = self._texts(self._key, changes, evaluated, odd)
        if key.known is not None:
            odd |= ~key.known
        if self._plan.where is not None:
            holds = values.pop(WHERE).to_arrow() if WHERE in values else arrays.pop(WHERE)
            odd |= ~np.asarray(holds.fill_null(False))
        arrays |= self._metadata(metadata, rows)
        arrays["key"] = key.array()
        arrays["row"] = self._ids.of_views(self._key.text.id_prefix, key.views, key.body, key.bitmap)
        if self._parent is not None:
            arrays |= self._parents(self._texts(self._parent, changes, evaluated, odd))
        return self._assembled(arrays, values, rows, odd), ~odd

    def _how(self, text: KeyText) -> _Key:
        names = [part.column for part in text.parts]
        forms = {self._reader.meaning(name).form for name in names if name in self._reader.types}
        plain = all(name in self._reader.types for name in names) and forms <= {Form.INTEGER, Form.TEXT}
        return _Key(text, tuple(name for name in names if name is not None) if plain else None)

    def _place(self, step: Step, field_type: FieldType) -> None:
        column = step.wanted.column
        if column in self._plan.stand_ins and step.name != WHERE:
            self._nothing.add(step.name)
        elif step.is_number:
            self._evaluated.append(step)
        elif column in self._reader.types and (make := maker_of(self._reader.meaning(column), field_type)) is not None:
            self._direct[step.name] = column, make
        else:
            self._evaluated.append(step)

    def _raw(self, name: str, changes: Changes) -> RawColumn:
        return self._reader.raw(name, changes.raw)

    def _frame(self, changes: Changes, rows: int, odd: Bools) -> pl.DataFrame:
        """Give the columns of the expressions, with their meaning."""
        series = []
        for name in self._wanted:
            if name in self._plan.stand_ins:
                nothing = pl.Series(name, [None], dtype=self._plan.stand_ins[name])
                series.append(nothing.new_from_index(0, rows))
            elif self._reader.meaning(name).form is Form.TEXT:
                raw = self._raw(name, changes)
                mark_odd_texts(raw, self._told.placeholders, odd)
                series.append(raw.series(name))
            else:
                decoded = self._reader.decode_one(name, changes.raw)
                for strange in (decoded.unavailable, decoded.unfit, decoded.unread):
                    if strange is not None:
                        odd |= strange
                series.append(decoded.column.alias(name))
        if not series:  # constants alone: a column that gives the frame its height
            series.append(pl.Series(_RESULT, np.zeros(rows, dtype=np.int8)))
        return pl.DataFrame(series)

    def _results(self, evaluated: pl.DataFrame, odd: Bools) -> dict[str, pl.Series]:
        values = {step.name: evaluated[step.name] for step in self._evaluated}
        blank_to_null(values)
        for step in self._evaluated:
            if step.value is None:
                continue
            lost = refused(evaluated[_RESULT + step.name], values[step.name])
            if lost is not None:
                odd |= lost.to_numpy()
        return values

    def _texts(self, key: _Key, changes: Changes, evaluated: pl.DataFrame, odd: Bools) -> ArrowTexts:
        """Write a key as text."""
        if key.columns is not None:
            columns = [self._raw(name, changes) for name in key.columns]
            for column in columns:
                if column.views is not None:
                    mark_odd_texts(column, self._told.placeholders, odd)
            parts = [texts_of_column(column) for column in columns]
            return parts[0] if len(parts) == 1 else joined_texts(parts, odd)
        wanted = [part.name for part in key.text.parts]
        whole = evaluated.select(wanted) if len(wanted) != evaluated.width else evaluated
        if key.text.refused is not None:
            odd |= whole.select(key.text.refused.alias("bad"))["bad"].to_numpy()
        return texts_of_series(whole.select_seq(key.text.text)["key"])

    def _parents(self, key: ArrowTexts) -> dict[str, Any]:
        assert self._parent is not None
        parent, bitmap, rows = self._topic.parents[0], key.bitmap, len(key.views)
        return {
            "parent_key": key.array(),
            "parent_kind": _constant(parent.kind, rows, bitmap),
            "parent_entity": _constant(parent.name, rows, bitmap),
            "parent": self._ids.of_views(self._parent.text.id_prefix, key.views, key.body, bitmap),
        }

    def _metadata(self, metadata: EventMetadata, rows: int) -> dict[str, Any]:
        position = metadata.position
        codes = {} if metadata.topic is None else {"topic": number_array(metadata.topic, None)}
        return {
            **codes,
            "system": _constant(self._topic.system.name, rows, None),
            "entity": _constant(self._topic.name, rows, None),
            "op": pa.array(np.full(rows, UPSERT, dtype=np.int8)),
            "snapshot": pa.array(metadata.snapshot),
            "source_epoch": number_array(metadata.source_epoch, None),
            **{
                name: number_array(position.numbers[part], bitmap_of(position.known[part]))
                for part, name in enumerate(POSITION_COLUMNS)
            },
            "partition": number_array(metadata.partition, None),
            "offset": number_array(metadata.offset, None),
            "ts_ms": number_array(metadata.ts_ms, None),
            "unavailable": number_array(np.zeros(rows, dtype=np.int64), None),
        }

    def _assembled(self, arrays: dict[str, Any], values: dict[str, pl.Series], rows: int, odd: Bools) -> pl.DataFrame:
        columns = entity_columns(self._topic.kind)
        made = [name for name in columns if name not in values]
        parts = [arrays[name] if name in arrays else pa.nulls(rows, _ARROW_TYPES[columns[name]]) for name in made]
        frame = pl.Series(pa.StructArray.from_arrays(parts, names=made)).struct.unnest()  # half the cost of a batch
        for place, name in enumerate(columns):
            if name in values:
                frame.insert_column(place, values[name].alias(name))
        return frame[np.flatnonzero(~odd)] if odd.any() else frame


def fast_rows(topic: TopicMapping, reader: ColumnReader, ids: Ids, told: Conventions) -> FastRows | None:
    """Prepare the fast path for rows of one schema; None where only `general_path` can map them."""
    if reader.unholdable or topic.identifiers or len(topic.parents) > 1 or any(one.field for one in topic.parents):
        return None
    plan = plan_for(topic, tuple(reader.dtypes.items()))
    if plan.key is None or plan.broken_key is not None or plan.broken:
        return None
    return FastRows(topic, reader, ids, plan, told)


def _constant(text: str, rows: int, bitmap: Any) -> Any:
    """Repeat a text, null where the bitmap has no bit."""
    encoded = text.encode()
    view = np.zeros(16, dtype=np.uint8)
    view[:4] = np.frombuffer(np.uint32(len(encoded)).tobytes(), dtype=np.uint8)
    inline = encoded if len(encoded) <= INLINE_BYTES else encoded[:4]
    view[4 : 4 + len(inline)] = np.frombuffer(inline, dtype=np.uint8)
    views = np.empty((rows, 2), dtype=np.uint64)
    views[:] = view.view(np.uint64)
    return text_array(views, pa.py_buffer(encoded + b"\0"), bitmap)


assert set(POLARS_TYPES.values()) <= set(_ARROW_TYPES), "every field type has its Arrow type"
