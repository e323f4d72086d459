"""Read batches of Avro messages into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from nurt.avro.compile import ColumnType, Projection, columnar_paths, project
from nurt.avro.decode_loop import run
from nurt.avro.raw_column import ARROW_TYPES, RawColumn
from nurt.avro.scan import put_view
from nurt.avro.schema import parse_schema
from nurt.columnar.types import Bytes, Int64s, Words
from nurt.columnar.values import PADDING_BYTES

JOINED_BYTES_MAX = (1 << 31) - 1
"""Arrow's views address their text by int32; a larger batch is read in parts."""


@dataclass(frozen=True, slots=True)
class JoinedMessages:
    """Messages laid end to end, for compiled loops: message i is `data[starts[i]:ends[i]]`.

    `data` has PADDING_BYTES behind the last message.
    """

    data: pa.Buffer
    starts: Int64s
    ends: Int64s

    def __len__(self) -> int:
        return len(self.starts)


class ReadFrame:
    """One row a message, in order; an unreadable message is null everywhere and has its DecodeErrorCode in `bad`.

    Attributes:
        bad: shape (messages,), of DecodeErrorCode; 0 is fine.
        columns: by path, in the order asked for; a batch that was read in parts has only the frame.
    """

    __slots__ = ("_frame", "bad", "columns")

    def __init__(self, columns: Mapping[str, RawColumn], bad: Bytes, frame: pl.DataFrame | None = None) -> None:
        self.columns = columns
        self.bad = bad
        self._frame = frame

    @property
    def frame(self) -> pl.DataFrame:
        """Wrap the columns as a frame, without copying; made at the first call."""
        if self._frame is None:
            self._frame = _frame(self.columns, len(self.bad))
        return self._frame


def join(messages: Sequence[bytes]) -> JoinedMessages:
    """Lay messages end to end. Raises TypeError when a message is not bytes."""
    # Arrow's pool keeps its pages between batches; the C library hands them back, and faulting them in again costs
    # more than decoding does.
    array: Any = pa.array([*messages, bytes(PADDING_BYTES)], type=pa.large_binary())
    if array.null_count:
        raise TypeError(f"joining messages: {array.null_count} nulls (expected bytes); leave tombstones out")
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, dtype=np.int64, count=len(messages) + 1)
    return JoinedMessages(data, places[:-1].copy(), places[1:].copy())


class Reader:
    """Reader of a schema's wanted paths, compiled; reads any number of batches, also in several threads.

    `types` has the paths that the schema holds, as columns of `read` in the order asked for. `not_columnar` are wanted
    paths that the schema has and columns cannot hold (array, map, union of several types): decode the message alone for
    these.
    """

    __slots__ = ("_enums", "_projection", "_symbol_text", "_symbols", "not_columnar", "types")

    types: Mapping[str, ColumnType]
    not_columnar: frozenset[str]

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.types = {column.path: column.type for column in projection.columns}
        self.not_columnar = projection.not_columnar
        self._enums, self._symbols, self._symbol_text = _lay_out_symbols(projection.enums)

    def read(self, messages: Sequence[bytes], skip: int = 5) -> ReadFrame:
        """Read messages whose Avro body begins behind `skip` bytes (the Confluent wire header has 5)."""
        joined = join(messages)
        if joined.data.size > JOINED_BYTES_MAX and len(messages) > 1:
            half = len(messages) // 2
            return _concatenated(self.read(messages[:half], skip), self.read(messages[half:], skip))
        return self.read_joined(joined, None, skip)

    def read_joined(self, joined: JoinedMessages, rows: Int64s | None = None, skip: int = 5) -> ReadFrame:
        """Read messages that already lie end to end; `rows` (int64) are the messages to read, in that order.

        At most JOINED_BYTES_MAX of them.
        """
        plan = self._projection
        starts = joined.starts if rows is None else joined.starts[rows]
        ends = joined.ends if rows is None else joined.ends[rows]
        stores = _Stores(plan, len(starts))
        bad = np.zeros(len(starts), dtype=np.uint8)
        run(
            as_bytes(joined.data),
            starts + skip,
            ends,
            plan.program,
            plan.targets,
            self._enums,
            self._symbols,
            stores.words,
            stores.views,
            stores.flags,
            stores.valid,
            bad,
        )
        return ReadFrame(stores.columns(plan, joined.data, self._symbol_text, bad), bad)


class _Stores:
    """Memory that a batch is read into; it becomes the columns without a copy."""

    __slots__ = ("flags", "n", "valid", "views", "words")

    def __init__(self, plan: Projection, n: int) -> None:
        bitmap_bytes = (n + 7) // 8
        self.n = n
        sizes_bytes = [plan.views * n * 16, plan.words * n * 8, plan.flags * bitmap_bytes]
        sizes_bytes.append(len(plan.columns) * bitmap_bytes)
        memory: Any = np.frombuffer(pa.allocate_buffer(sum(sizes_bytes) + 1), dtype=np.uint8)  # see `join`
        memory.fill(0)
        views, words, flags, valid, _ = np.split(memory, np.cumsum(sizes_bytes))
        self.views = views.view(np.uint64).reshape(plan.views, n, 2)
        self.words = words.view(np.uint64).reshape(plan.words, n)
        self.flags = flags.reshape(plan.flags, bitmap_bytes)
        self.valid = valid.reshape(len(plan.columns), bitmap_bytes)

    def columns(self, plan: Projection, text: pa.Buffer, symbol_text: pa.Buffer, bad: Bytes) -> dict[str, RawColumn]:
        """Return every column, without copying."""
        present = np.bitwise_count(self.valid).sum(axis=1, dtype=np.int64).tolist()
        read = np.packbits(bad == 0, bitorder="little") if bad.any() else None
        columns = {}
        for column in plan.columns:
            row, index = column.row, column.index
            valid = self.valid[index] if present[index] < self.n else None
            words = views = flags = own = None
            store = column.store
            if store == "words":
                words = self.words[row]
            elif store == "views":
                views, own = self.views[row], text
            elif store == "symbols":
                store, views, own = "views", self.views[row], symbol_text
            elif store == "flags":
                flags = self.flags[row]
            elif store == "presence":
                store, flags, valid = "flags", self.flags[row], read
            columns[column.path] = RawColumn(column.type, store, self.n, words, views, flags, own, valid)
        return columns


def compile_reader(schema: Mapping[str, Any] | Sequence[Any] | str, paths: Sequence[str]) -> Reader:
    """Compile a writer's schema (parsed JSON) and the wanted paths into a Reader.

    A path is field names joined with dots, through records and optional records; a record's own path gives a Boolean
    column that says whether it is there, "" is the root. A path that the schema does not have is absent from
    `Reader.types`.

    Raises ConfigurationError when the schema is not Avro.
    """
    return Reader(project(parse_schema(schema), paths))


def list_paths(schema: Mapping[str, Any] | Sequence[Any] | str) -> list[str]:
    """List the paths of a schema that columns can hold, records (their presence) among them, in schema order.

    Raises ConfigurationError when the schema is not Avro.
    """
    return columnar_paths(parse_schema(schema))


def _frame(columns: Mapping[str, RawColumn], rows: int) -> pl.DataFrame:
    if rows == 0:
        return pl.DataFrame(schema={path: _polars_type(column) for path, column in columns.items()})
    names = list(columns)
    arrays = [column.array() for column in columns.values()]
    frame: Any = pl.from_arrow(pa.RecordBatch.from_arrays(arrays, names=names))
    if "" in names:
        frame.columns = names  # polars makes up a name for a column without one
    return frame


def _concatenated(first: ReadFrame, second: ReadFrame) -> ReadFrame:
    return ReadFrame({}, np.concatenate([first.bad, second.bad]), pl.concat([first.frame, second.frame]))


def _polars_type(column: RawColumn) -> Any:
    return pl.Series(pa.array([], type=ARROW_TYPES[column.type.avro])).dtype


def as_bytes(buffer: pa.Buffer) -> Bytes:
    """View a buffer as read-only bytes: always one type, so the loop is compiled once."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    data.setflags(write=False)
    return data


def _lay_out_symbols(enums: Sequence[Sequence[str]]) -> tuple[Int64s, Words, pa.Buffer]:
    """Return for each enum where its symbols begin and how many there are; a view for each symbol; and the text."""
    texts = [symbol.encode() for symbols in enums for symbol in symbols]
    joined = join(texts)
    views = np.zeros((len(texts) + 1, 2), dtype=np.uint64)  # never empty: one signature for the loop
    data = as_bytes(joined.data)
    for i in range(len(texts)):
        put_view(data, joined.starts[i], len(texts[i]), views[i])
    sizes = np.array([*map(len, enums), 0], dtype=np.int64)
    return np.column_stack([np.cumsum(sizes) - sizes, sizes]), views, joined.data
