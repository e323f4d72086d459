"""Read the changes of one table's rows from messages of one writer's schema, as columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from nurt.avro import ColumnType, JoinedMessages, Reader, compile_reader
from nurt.avro.raw_column import RawColumn
from nurt.columnar.types import Bytes, Int8s, Int64s
from nurt.debezium.conventions import Conventions
from nurt.debezium.envelope import EnvelopeLayout, Form
from nurt.debezium.operations import Times, read_operations, read_snapshots, read_times
from nurt.debezium.positions import Family, Positions, read_positions
from nurt.debezium.semantics import DecodedColumn, Meaning, meaning_of


class Changes:
    """Changes in messages; arrays and series have one entry a message, in order.

    Attributes:
        bad: DecodeErrorCode of a message that does not follow its schema; all other values mean nothing there.
        op: UPSERT, DELETE, TRUNCATE, LOGICAL, UNKNOWN or ROWLESS.
        snapshot: STREAMED, FULL_SNAPSHOT or INCREMENTAL_SNAPSHOT.
        position: p0 to p3.
        times: the source's commit time, else the envelope's; None: no message has one.
        source_ms: the source's own commit time, 0 for unknown; None: no message has one.
        servers: MySQL's `server_id`, 0 for unknown.
        raw: the row's columns as they were read, by path; empty where there is no row.
    """

    __slots__ = ("_decode", "_decoded", "bad", "op", "position", "raw", "servers", "snapshot", "source_ms", "times")

    def __init__(
        self,
        bad: Bytes,
        op: Int8s,
        snapshot: Int8s,
        position: Positions,
        times: Times | None = None,
        servers: Int64s | None = None,
        raw: Mapping[str, RawColumn] | None = None,
        decode: Callable[[], dict[str, DecodedColumn]] = dict,
        source_ms: Int64s | None = None,
    ) -> None:
        self.bad, self.op, self.snapshot, self.position = bad, op, snapshot, position
        self.times, self.servers, self.raw = times, servers, raw or {}
        self.source_ms = source_ms
        self._decode = decode
        self._decoded: dict[str, DecodedColumn] | None = None

    @property
    def decoded(self) -> Mapping[str, DecodedColumn]:
        """Return the row's columns by name, with their declared meaning; made at the first call."""
        if self._decoded is None:
            self._decoded = self._decode()
        return self._decoded


class ColumnReader:
    """Reader of some columns of one record in a schema, with their declared meaning.

    Attributes:
        types: the writer's type of each column that is there.
        unholdable: columns that are there but that no column type can hold, with their types.
        paths: the paths that must be read for these columns.
    """

    __slots__ = ("_meanings", "_prefix", "_told", "paths", "types", "unholdable")

    def __init__(self, schema: Any, prefix: str, columns: Sequence[str], told: Conventions) -> None:
        self._prefix, self._told = prefix, told
        reader = compile_reader(schema, [prefix + name for name in columns])
        self.types: dict[str, ColumnType] = {}
        self.unholdable: dict[str, str] = {}
        self._meanings: dict[str, Meaning] = {}
        self.paths: list[str] = []
        for name in columns:
            path = prefix + name
            if path in reader.not_columnar:
                self.unholdable[name] = "a list, a map or one of several types"
            elif path in reader.types:
                self._add(name, path, reader.types[path])

    def decode(self, columns: Mapping[str, RawColumn]) -> dict[str, DecodedColumn]:
        """Make the columns from what was read at `paths`."""
        return {name: self.decode_one(name, columns) for name in self._meanings}

    def decode_one(self, name: str, columns: Mapping[str, RawColumn]) -> DecodedColumn:
        """Take one column."""
        meaning, path = self._meanings[name], self._prefix + name
        raw = tuple(columns[f"{path}.{part}"].series("") for part in meaning.parts) or (columns[path].series(name),)
        return meaning.convert(raw, self.types[name], self._told)

    def meaning(self, name: str) -> Meaning:
        """Return how a column that is there is read."""
        return self._meanings[name]

    def raw(self, name: str, columns: Mapping[str, RawColumn]) -> RawColumn:
        """Choose a column of one part as it was read."""
        return columns[self._prefix + name]

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """Return the type of each decoded column."""
        return {name: meaning.dtype for name, meaning in self._meanings.items()}

    def empty(self) -> dict[str, pl.Series]:
        """Return the columns without rows."""
        return {name: pl.Series(name, [], dtype=meaning.dtype) for name, meaning in self._meanings.items()}

    def _add(self, name: str, path: str, type_: ColumnType) -> None:
        meaning = meaning_of(type_)
        if meaning is None:
            what = "a record" if type_.avro == "record" else "a decimal whose schema says no scale"
            self.unholdable[name] = f"{what} ({type_.connect_name or type_.avro})"
            return
        self.types[name] = type_
        self._meanings[name] = meaning
        self.paths.extend([f"{path}.{part}" for part in meaning.parts] or [path])


class ChangeReader:
    """Reader of the changes in one schema's messages; compiled once for a table's wanted columns.

    Attributes:
        layout: where the parts of the messages lie.
        wanted: reads the row's columns.
    """

    __slots__ = ("_old", "_old_reader", "_reader", "layout", "wanted")

    def __init__(
        self, schema: Any, layout: EnvelopeLayout, columns: Sequence[str], key: Sequence[str], told: Conventions
    ) -> None:
        """Compile for `columns`, `key` among them."""
        self.layout = layout
        prefix = f"{layout.row}." if layout.row else ""
        self.wanted = ColumnReader(schema, prefix, columns, told)
        head = [layout.op, layout.deleted, layout.snapshot, layout.row, *layout.times, layout.server]
        paths = [path for path in [*head, *layout.position.values()] if path]
        self._reader: Reader = compile_reader(schema, [*paths, *self.wanted.paths])
        self._old = ColumnReader(schema, "before.", key, told) if layout.before else None
        self._old_reader = compile_reader(schema, self._old.paths) if self._old is not None else None

    @property
    def unholdable(self) -> Mapping[str, str]:
        """Return the wanted columns that no column type can hold, with their types."""
        return self.wanted.unholdable

    @property
    def types(self) -> Mapping[str, ColumnType]:
        """Return the writer's type of each wanted column."""
        return self.wanted.types

    def read(self, joined: JoinedMessages, rows: Int64s) -> Changes:
        """Read the messages that stand at `rows`."""
        read = self._reader.read_joined(joined, rows)
        columns, layout, height = read.columns, self.layout, len(rows)
        position = read_positions(
            layout.family,
            {name: columns[path] for name, path in layout.position.items() if path in columns},
            height,
        )
        if read.bad.any():
            position.known[:, read.bad != 0] = False
        return Changes(
            read.bad,
            read_operations(
                columns.get(layout.op),
                columns.get(layout.deleted),
                columns.get(layout.row) if layout.row else None,
                height,
                layout.form is Form.FLATTENED,
            ),
            read_snapshots(columns.get(layout.snapshot), height),
            position,
            read_times([columns.get(path) for path in layout.times]),
            self._servers(columns),
            columns,
            lambda: self.wanted.decode(columns),
            self._source_ms(columns),
        )

    def read_old_key(self, joined: JoinedMessages, rows: Int64s) -> dict[str, pl.Series]:
        """Read the key columns as the old row has them; off the hot path, for deletes whose own key lacks some."""
        if self._old is None or self._old_reader is None:
            return {}
        read = self._old_reader.read_joined(joined, rows)
        return {name: decoded.column for name, decoded in self._old.decode(read.columns).items()}

    def _servers(self, columns: Mapping[str, RawColumn]) -> Int64s | None:
        return _integers(columns.get(self.layout.server)) if self.layout.family is Family.MYSQL else None

    def _source_ms(self, columns: Mapping[str, RawColumn]) -> Int64s | None:
        return _integers(columns.get(self.layout.source_time))


def _integers(column: RawColumn | None) -> Int64s | None:
    """Return integers, 0 for unknown."""
    if column is None or not column.is_integer:
        return None
    known = column.known()
    return column.numbers() if known is None else np.where(known, column.numbers(), 0)
