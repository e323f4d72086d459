"""Read what messages of one writer's schema say about rows of one table, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.avro import ColumnType, Joined, Reader, compile_reader
from nurt.core.envelope import Anatomy, Form
from nurt.core.positions import Family, Parts, read_positions
from nurt.core.semantics import Given, Meaning, meaning_of
from nurt.model.entity_frame import DELETE, FULL_SNAPSHOT, INCREMENTAL_SNAPSHOT, STREAMED, UPSERT

Bools = npt.NDArray[np.bool_]
Int8s = npt.NDArray[np.int8]
Int64s = npt.NDArray[np.int64]

TRUNCATE, LOGICAL, UNKNOWN, ROWLESS = 2, 3, 4, 5
"""Operations besides UPSERT and DELETE: `t`, `m`, any other, and an upsert that holds no row."""

_OPERATIONS = {"c": UPSERT, "r": UPSERT, "u": UPSERT, "d": DELETE, "t": TRUNCATE, "m": LOGICAL}

_SNAPSHOTS = {
    "true": FULL_SNAPSHOT,
    "first": FULL_SNAPSHOT,
    "first_in_data_collection": FULL_SNAPSHOT,
    "last_in_data_collection": FULL_SNAPSHOT,
    "last": FULL_SNAPSHOT,
    "incremental": INCREMENTAL_SNAPSHOT,
}
"""`source.snapshot` -> kind; any other text, and null, is streamed. Source: Debezium SnapshotRecord."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What messages say; arrays and series have one entry a message, in order.

    Attributes:
        bad: Flaw of a message that does not follow its schema; everything else is meaningless there.
        op: UPSERT, DELETE, TRUNCATE, LOGICAL, UNKNOWN or ROWLESS.
        snapshot: STREAMED, FULL_SNAPSHOT or INCREMENTAL_SNAPSHOT.
        position: p0 to p3.
        ts_ms: the source's commit time, else the envelope's, else null.
        servers: MySQL's `server_id`, 0 for unknown.
        columns: the row's columns by name, typed; null where there is no row.
        unavailable: by column, where the source did not send its value.
        unfit: by column, where its value is more than the type can hold.
    """

    bad: npt.NDArray[np.uint8]
    op: Int8s
    snapshot: Int8s
    position: Parts
    ts_ms: pl.Series | None
    servers: Int64s | None
    columns: Mapping[str, pl.Series]
    unavailable: Mapping[str, Bools]
    unfit: Mapping[str, Bools]


class ColumnReader:
    """Reads some columns of one record in a schema, with their declared meaning.

    Attributes:
        types: what the writer says of each column that is there.
        unholdable: columns that are there but that nothing columnar can hold, with what they are.
        paths: what must be read for them.
    """

    __slots__ = ("_meanings", "_prefix", "_zone", "paths", "types", "unholdable")

    def __init__(self, schema: Any, prefix: str, columns: Sequence[str], zone: str) -> None:
        self._prefix, self._zone = prefix, zone
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

    def give(self, frame: pl.DataFrame) -> dict[str, Given]:
        """Take the columns from a frame in which `paths` were read."""
        given = {}
        for name, meaning in self._meanings.items():
            path = self._prefix + name
            raw = tuple(frame[f"{path}.{part}"] for part in meaning.parts) or (frame[path],)
            given[name] = meaning.convert(raw, self.types[name], self._zone)
        return given

    def empty(self) -> dict[str, pl.Series]:
        """Give the columns without rows."""
        return {name: pl.Series(name, [], dtype=meaning.dtype) for name, meaning in self._meanings.items()}

    def _add(self, name: str, path: str, type_: ColumnType) -> None:
        meaning = meaning_of(type_)
        if meaning is None:
            self.unholdable[name] = f"a record ({type_.connect_name or type_.avro})"
            return
        self.types[name] = type_
        self._meanings[name] = meaning
        self.paths.extend([f"{path}.{part}" for part in meaning.parts] or [path])


class ChangeReader:
    """Reads the changes that one schema's messages hold; compiled once for a table's wanted columns."""

    __slots__ = ("_old", "_old_reader", "_reader", "_wanted", "anatomy")

    def __init__(self, schema: Any, anatomy: Anatomy, columns: Sequence[str], key: Sequence[str], zone: str) -> None:
        """Compile for `columns`, `key` among them; `zone` is where readings without offset were made."""
        self.anatomy = anatomy
        prefix = f"{anatomy.row}." if anatomy.row else ""
        self._wanted = ColumnReader(schema, prefix, columns, zone)
        head = [anatomy.op, anatomy.deleted, anatomy.snapshot, anatomy.row, *anatomy.times, anatomy.server]
        paths = [path for path in [*head, *anatomy.position.values()] if path]
        self._reader: Reader = compile_reader(schema, [*paths, *self._wanted.paths])
        self._old = ColumnReader(schema, "before.", key, zone) if anatomy.before else None
        self._old_reader = compile_reader(schema, self._old.paths) if self._old is not None else None

    @property
    def unholdable(self) -> Mapping[str, str]:
        """Name the wanted columns that no column can hold, and what they are."""
        return self._wanted.unholdable

    @property
    def types(self) -> Mapping[str, ColumnType]:
        """Say what the writer declares of each wanted column."""
        return self._wanted.types

    def read(self, joined: Joined, rows: Int64s) -> Changes:
        """Read the messages that stand at `rows`."""
        read = self._reader.read_joined(joined, rows)
        frame, anatomy, height = read.frame, self.anatomy, len(rows)
        given = self._wanted.give(frame)
        fields = {name: frame[path] for name, path in anatomy.position.items() if path in frame.columns}
        servers = self._number(frame, anatomy.server)
        return Changes(
            read.bad,
            self._operations(frame, height),
            _snapshots(frame, anatomy.snapshot, height),
            read_positions(anatomy.family, fields, height),
            self._times(frame),
            servers.fill_null(0).to_numpy() if servers is not None and anatomy.family is Family.MYSQL else None,
            {name: column.column for name, column in given.items()},
            {name: column.unavailable for name, column in given.items() if column.unavailable is not None},
            {name: column.unfit for name, column in given.items() if column.unfit is not None},
        )

    def read_old_key(self, joined: Joined, rows: Int64s) -> dict[str, pl.Series]:
        """Read the key columns as the old row has them; off the hot path, for deletes whose own key lacks some."""
        if self._old is None or self._old_reader is None:
            return {}
        read = self._old_reader.read_joined(joined, rows)
        return {name: given.column for name, given in self._old.give(read.frame).items()}

    def _operations(self, frame: pl.DataFrame, height: int) -> Int8s:
        ops = np.zeros(height, dtype=np.int8)
        if self.anatomy.op in frame.columns:
            text = frame[self.anatomy.op]
            if not _all((text == "c") | (text == "u") | (text == "r")):
                ops = _coded(text, _OPERATIONS, UNKNOWN)
                if self.anatomy.form is Form.FLATTENED:
                    ops[text.is_null().to_numpy()] = UPSERT
        if self.anatomy.deleted in frame.columns:
            marks = frame[self.anatomy.deleted].cast(pl.String)
            ops[_true(marks == "true")] = DELETE
        if self.anatomy.row:
            present = frame[self.anatomy.row]
            if not _all(present):
                ops[(ops == UPSERT) & ~_true(present)] = ROWLESS
        return ops

    def _times(self, frame: pl.DataFrame) -> pl.Series | None:
        found: pl.Series | None = None
        for path in self.anatomy.times:
            times = self._number(frame, path)
            if times is None:
                continue
            known = times > 0
            if not _all(known):
                times = times.set(~known.fill_null(False), None)
            found = times if found is None else pl.select(pl.coalesce(found, times)).to_series()
            if not found.null_count():
                break
        return found

    @staticmethod
    def _number(frame: pl.DataFrame, path: str) -> pl.Series | None:
        if path not in frame.columns or not frame.schema[path].is_integer():
            return None
        return frame[path]


def _snapshots(frame: pl.DataFrame, path: str, height: int) -> Int8s:
    if path not in frame.columns:
        return np.full(height, STREAMED, dtype=np.int8)
    text = frame[path].cast(pl.String)
    if _all(text == "false"):
        return np.full(height, STREAMED, dtype=np.int8)
    return _coded(text, _SNAPSHOTS, STREAMED)


def _coded(text: pl.Series, codes: Mapping[str, int], otherwise: int) -> Int8s:
    """Turn few known texts into codes; what is another, or null, is `otherwise`."""
    coded = np.full(len(text), otherwise, dtype=np.int8)
    for known, code in codes.items():
        coded[_true(text == known)] = code
    return coded


def _true(flags: pl.Series) -> Bools:
    """Say where flags are true: not where they are false or null."""
    return (flags.fill_null(False) if flags.null_count() else flags).to_numpy()


def _all(flags: pl.Series) -> bool:
    return not flags.null_count() and bool(flags.all())
