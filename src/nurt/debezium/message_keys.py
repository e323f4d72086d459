"""Read a row's key from the message's key, and a renamed row's new key from headers.

Off the hot path: a row's values hold its key, except for deletes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from nurt.avro import ColumnType, Reader, compile_reader
from nurt.avro.raw_column import RawColumn
from nurt.columnar.types import Bools, Int64s
from nurt.debezium.change_reader import ColumnReader
from nurt.debezium.conventions import Conventions
from nurt.debezium.semantics import meaning_of, scale_of
from nurt.debezium.text_keys import boolean, decimal_text, fields_of, from_base64, integer, plain_text, real
from nurt.debezium.wire import NOT_CONFLUENT, split_wire
from nurt.model.raw import Headers

_logger = logging.getLogger(__name__)

Schemas = Callable[[int], Any]
"""Schema id -> parsed JSON of the schema, or None when there is none."""

NEW_KEY, OLD_KEY = "__debezium.newkey", "__debezium.oldkey"
"""Headers of the two halves of a re-key: the delete has the row's new key, the insert its old one.

Source: Debezium connector documentation, "Primary key updates".
"""

_RAW: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "boolean": (pl.Boolean, boolean),
    "int": (pl.Int64, integer),
    "long": (pl.Int64, integer),
    "float": (pl.Float64, real),
    "double": (pl.Float64, real),
    "string": (pl.String, plain_text),
    "enum": (pl.String, plain_text),
    "bytes": (pl.Binary, from_base64),
    "fixed": (pl.Binary, from_base64),
    "null": (pl.Null, lambda _value: None),
}
"""Avro type -> type of its columns, and how a value from JSON becomes one."""


@dataclass(frozen=True, slots=True)
class MessageKeys:
    """Key columns of messages, in order; a column is null where the message's key does not have it.

    Attributes:
        columns: by name; a column that no key has is absent.
        there: which messages have a readable key.
    """

    columns: Mapping[str, pl.Series]
    there: Bools


class KeyReader:
    """Reader of one table's key columns from the keys of its messages, which may be of many schemas."""

    def __init__(self, columns: Sequence[str], told: Conventions, schemas: Schemas) -> None:
        self.columns = tuple(columns)
        self._told, self._schemas = told, schemas
        self._known: dict[int, tuple[ColumnReader, Reader] | None] = {}
        self.types: dict[str, ColumnType] = {}  # of the last schema seen

    def read(self, keys: Sequence[bytes | None]) -> MessageKeys:
        """Read keys in Confluent's format; JSON objects and, for a key of one column, plain texts are read too."""
        wire = split_wire(keys)
        there = np.zeros(len(keys), dtype=np.bool_)
        parts: list[tuple[Int64s, dict[str, pl.Series]]] = []
        for schema_id, rows in wire.by_schema():
            if schema_id == NOT_CONFLUENT:
                found = self._read_texts([keys[row] for row in rows.tolist()])
                there[rows] = True
                parts.append((rows, found))
            elif schema_id >= 0 and (reader := self._reader(schema_id)) is not None:
                read = reader[1].read_joined(wire.joined, rows)
                there[rows] = read.bad == 0
                parts.append((rows, {name: decoded.column for name, decoded in reader[0].decode(read.columns).items()}))
        return MessageKeys(
            {name: column for name in self.columns if (column := _put(name, parts, len(keys))) is not None}, there
        )

    def read_moved(self, headers: Sequence[Headers | None], name: str = NEW_KEY) -> dict[str, pl.Series] | None:
        """Read the keys that rows were renamed to, or from; null for rows that were not renamed, None when no row was.

        A header is JSON (of the key alone, or with its schema), Connect's text of a struct, or a key in Confluent's
        format, as the worker's `header.converter` writes it.
        """
        named = [_header(of_one, name) for of_one in headers]
        if not any(named):
            return None
        binary = [text if text is not None and text[:1] == b"\0" else None for text in named]
        texts = [None if text is None or text[:1] == b"\0" else text for text in named]
        columns = dict(self.read(binary).columns) if any(binary) else {}
        if any(texts):
            for part, column in self._read_texts(texts).items():
                earlier = columns.get(part)
                columns[part] = column if earlier is None else _coalesce(earlier, column)
        return columns

    def _reader(self, schema_id: int) -> tuple[ColumnReader, Reader] | None:
        if schema_id not in self._known:
            schema = self._schemas(schema_id)
            if schema is None:
                return None
            try:
                self._known[schema_id] = self._compiled(schema)
            except Exception as failed:  # whatever somebody registered, only its messages suffer
                _logger.warning("compiling schema %s of keys: %s; none is read", schema_id, type(failed).__name__)
                self._known[schema_id] = None
        found = self._known[schema_id]
        if found is not None:
            self.types = found[0].types or self.types
        return found

    def _compiled(self, schema: Any) -> tuple[ColumnReader, Reader]:
        columns = ColumnReader(schema, "", self.columns, self._told)
        if not columns.paths and len(self.columns) == 1:  # a key of one value, without a record
            columns = _RootReader(schema, self.columns[0], self._told)
        reader = compile_reader(schema, columns.paths)
        columns.decode(reader.read([]).columns)
        return columns, reader

    def _read_texts(self, texts: Sequence[bytes | None]) -> dict[str, pl.Series]:
        rows = [{} if text is None else fields_of(text, self.columns) for text in texts]
        return {
            name: self._typed(name, [row.get(name) for row in rows])
            for name in self.columns
            if any(row.get(name) is not None for row in rows)
        }

    def _typed(self, name: str, values: list[Any]) -> pl.Series:
        """Give values from JSON the type and meaning that the key's Avro schema declares."""
        type_ = self.types.get(name)
        meaning = meaning_of(type_) if type_ is not None else None
        if type_ is None or meaning is None:
            return pl.Series(name, [plain_text(value) for value in values], dtype=pl.String)
        if meaning.dtype.is_decimal():
            texts = [decimal_text(value, scale_of(type_) or 0) for value in values]
            return pl.Series(name, texts, dtype=pl.String).cast(meaning.dtype, strict=False)
        dtype, read = _RAW[type_.avro]
        column = pl.Series(name, [read(value) for value in values], dtype=dtype)
        return meaning.convert((column,), type_, self._told).column


class _RootReader(ColumnReader):
    """Reader of a key of one value, without a record."""

    __slots__ = ("_name",)

    def __init__(self, schema: Any, name: str, told: Conventions) -> None:
        super().__init__(schema, "", [""], told)
        self._name = name
        if "" in self.types:
            self.types[name] = self.types[""]

    def decode(self, columns: Mapping[str, RawColumn]) -> dict[str, Any]:
        """Take the value from the root as it was read."""
        decoded = super().decode(columns)
        return {self._name: decoded[""]} if "" in decoded else {}


def _put(name: str, parts: Sequence[tuple[Int64s, Mapping[str, pl.Series]]], n: int) -> pl.Series | None:
    """Put one column's parts, of several schemas, into the order of the messages."""
    earlier = [(rows, found[name]) for rows, found in parts if name in found]
    if not earlier:
        return None
    if len(earlier) == 1 and len(earlier[0][0]) == n:
        return earlier[0][1].alias(name)
    dtype = earlier[0][1].dtype
    joined = pl.concat([as_type(column, dtype).alias(name) for _, column in earlier])
    place = np.full(n, -1, dtype=np.int64)
    place[np.concatenate([rows for rows, _ in earlier])] = np.arange(len(joined))
    return take(joined, place)


def as_type(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Give a column another type; null where a value has none, and everywhere when no value of its type has."""
    try:
        return column.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        return pl.Series(column.name, [None] * len(column), dtype=dtype)


def take(column: pl.Series, places: Int64s) -> pl.Series:
    """Take values by place; null where the place is negative."""
    missing = places < 0
    if not missing.any():
        return column.gather(places)
    index = pl.Series(places).set(pl.Series(missing), None)
    if not len(column):
        return pl.Series(column.name, [None] * len(places), dtype=column.dtype)
    return pl.select(pl.lit(column).gather(index)).to_series().alias(column.name)


def _coalesce(first: pl.Series, second: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(first, as_type(second, first.dtype))).to_series()


def _header(headers: Headers | None, name: str) -> bytes | None:
    return next((value for key, value in headers or () if key == name), None)
