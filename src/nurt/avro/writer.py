"""Write columns as Avro bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from nurt.avro import encode_loop as put
from nurt.avro import opcodes as op
from nurt.avro.schema import Node, parse_schema
from nurt.columnar.types import Bytes, Int64s
from nurt.errors import ConfigurationError

_VALUE_BYTES_MAX = 24  # a varint's 10 and a union's branch; behind them 12 of a short text, copied whole
_INT64 = pa.int64()
_VIEWS = pl.CompatLevel.newest()  # texts as polars holds them, not copied

_WRONG = {
    put.IS_NULL: ("a null", "a value, for the schema has no null there"),
    put.OUT_OF_RANGE: ("a number out of range", "one that the schema's type holds"),
    put.WRONG_SIZE: ("bytes of another size", "the schema's fixed size"),
    put.NO_SUCH_SYMBOL: ("a text that is no symbol", "one of the enum's symbols"),
}


class Writer:
    """Writer of a record schema, compiled; writes any number of frames whose columns have the fields' names.

    Records are Struct columns, arrays List columns (a null list of a required array is an empty one), enums String,
    decimals whole numbers of the schema's scale (their precision is not checked), dates Date or days, timestamps
    Datetime or whole numbers of the schema's unit. A null struct is the union's null. Other columns are ignored.
    """

    __slots__ = ("_program", "_root", "_slots", "_symbol_offsets", "_symbols")

    def __init__(self, root: Node) -> None:
        compiler = _Compiler()
        compiler.fields(root, "")
        compiler.emit(op.END, -1)
        self._root = root
        self._program = np.array(compiler.rows, dtype=np.int64)
        self._slots = compiler.slots
        texts = [symbol.encode() for symbol in compiler.symbols]
        self._symbols = np.frombuffer(b"".join(texts) + b"\0", dtype=np.uint8)
        self._symbol_offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)

    def write(self, frame: pl.DataFrame) -> list[bytes]:
        """Return one body a row, in order, without a wire header.

        Raises ValueError when a column is missing, has a type that cannot become the schema's, or holds a value that
        the schema does not allow; names the column, never a value.
        """
        if frame.height == 0:
            return []
        names = [name for name, _ in self._root.fields]
        if frame.columns != names:
            for name in names:
                if name not in frame.columns:
                    raise _refused(name, "no such column", "one for every field of the schema")
            frame = frame.select(names)
        table = frame.rechunk().to_arrow(compat_level=_VIEWS)
        arrays = {name: table.column(name).chunk(0) for name in names}
        joined, places = self.write_joined(arrays, frame.height)
        whole = joined.tobytes()
        return [whole[begin:end] for begin, end in pairwise(places.tolist())]

    def write_joined(self, arrays: Mapping[str, Any], rows: int) -> tuple[Bytes, Int64s]:
        """Write the rows of Arrow arrays; return all bodies together, and where each begins (rows + 1).

        Args:
            arrays: by name of field, each of one chunk; texts as views, lists large.
            rows: the length of each array.

        Raises ValueError like `write`.
        """
        columns = _Columns(self._slots)
        for name, type_ in self._root.fields:
            columns.add(type_, arrays[name], name)
        room_bytes = columns.bytes_max + put.count_text_bytes(columns.table)
        out: Any = np.frombuffer(pa.allocate_buffer(room_bytes), dtype=np.uint8)  # Arrow's pool keeps its pages
        places = np.empty(rows + 1, dtype=np.int64)
        wrong, column, _ = put.write_rows(
            self._program, columns.table, columns.buffers(), self._symbols, self._symbol_offsets, out, places
        )
        if wrong != put.FINE:
            path = next(path for path, slot in self._slots.items() if slot == column)
            raise _refused(path, *_WRONG[wrong])
        return out[: places[-1]], places


def compile_writer(schema: Mapping[str, Any] | Sequence[Any] | str) -> Writer:
    """Compile a record schema (parsed JSON) into a Writer.

    Raises ConfigurationError when the schema is not Avro, or columns cannot write it: a map, a recursive record, a
    union of several types besides null.
    """
    root = parse_schema(schema)
    if root.kind != "record":
        raise _unwritable("the root", root.kind)
    return Writer(root)


class _Compiler:
    """Compiler of the writing program; a slot is a row of the table of columns, found by path."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.slots: dict[str, int] = {}
        self.symbols: list[str] = []
        self.within: list[int] = []  # records on the way, by id(node)

    def emit(self, code: int, slot: int, b: int = 0, spare: int = 0, optional: tuple[int, int] | None = None) -> int:
        null, present = optional or (0, 0)
        here = len(self.rows)
        self.rows.append([code, int(optional is not None), null, present, slot, b, here + 1, spare])
        return here

    def fields(self, record: Node, path: str) -> None:
        if id(record) in self.within:
            raise _unwritable(path, "a record within itself")
        self.within.append(id(record))
        for name, type_ in record.fields:
            self.value(type_, f"{path}.{name}" if path else name)
        self.within.pop()

    def value(self, node: Node, path: str) -> None:
        split = node.without_null()
        if split is None or split[0].kind in ("map", "null"):
            raise _unwritable(path, "a union of several types" if split is None else split[0].kind)
        inner, null, branches = split
        optional = None
        if branches:
            optional = (2 * null if null >= 0 else op.NEVER, 2 if null == 0 else 0)
        slot = self.slots.setdefault(path, len(self.slots))
        if inner.kind == "record":
            entered = self.emit(put.PUT_RECORD, slot, optional=optional)
            self.fields(inner, path)
            self.rows[entered][op.JUMP] = len(self.rows)
        elif inner.kind == "array":
            begun = self.emit(put.PUT_ITEMS, slot, optional=optional)
            self.value(inner.item, f"{path}[]")
            self.rows[self.emit(put.PUT_NEXT, -1)][op.JUMP] = begun + 1
            self.rows[begun][op.JUMP] = len(self.rows)
        elif inner.kind == "enum":
            self.emit(put.PUT_ENUM, slot, len(inner.symbols), len(self.symbols), optional)
            self.symbols.extend(inner.symbols)
        else:
            self.emit(_code_of(inner), slot, 0, inner.size_bytes, optional)


_CODES = {
    "boolean": put.PUT_BOOLEAN,
    "int": put.PUT_INT,
    "long": put.PUT_LONG,
    "float": put.PUT_HALF,
    "double": put.PUT_WORD,
    "string": put.PUT_TEXT,
    "bytes": put.PUT_TEXT,
    "fixed": put.PUT_FIXED,
    "enum": put.PUT_ENUM,
}


def _code_of(node: Node) -> int:
    if node.logical == "decimal":
        return put.PUT_FIXED_DECIMAL if node.kind == "fixed" else put.PUT_DECIMAL
    return _CODES[node.kind]


class _Columns:
    """Addresses of a frame's columns, and the most room that its rows take. Keeps the buffers alive."""

    def __init__(self, slots: Mapping[str, int]) -> None:
        self._slots = slots
        self._kept_alive: list[Any] = []
        self._buffers: list[int] = []
        self.table: Int64s = np.zeros((len(slots), put.COLUMN_WIDTH), dtype=np.int64)
        self.table[:, put.BUFFERS] = -1
        self.bytes_max = 1

    def add(self, node: Node, array: Any, path: str) -> None:
        split = node.without_null()
        assert split is not None, path  # refused when compiled
        inner, slot = split[0], self._slots[path]
        entry = self.table[slot]
        if pa.types.is_null(array.type):  # only nulls: nothing below them is read
            nothing = np.zeros(len(array) // 8 + 1, dtype=np.uint8)
            self._kept_alive.append(nothing)
            entry[put.VALID] = nothing.ctypes.data
            self.bytes_max += len(array)
            return
        array = _as_needed(inner, array, path)
        self._kept_alive.append(array)
        buffers = array.buffers()
        entry[put.VALID] = buffers[0].address if buffers[0] is not None and array.null_count else 0
        entry[put.FIRST], entry[put.LENGTH] = array.offset, len(array)
        self.bytes_max += max(_VALUE_BYTES_MAX, inner.size_bytes + 1) * len(array)
        if inner.kind == "record":
            for name, type_ in inner.fields:
                child = array.type.get_field_index(name)
                if child < 0:
                    raise _refused(f"{path}.{name}", "no such field in the struct", "one for every field of the schema")
                self.add(type_, array.field(child), f"{path}.{name}")
            return
        entry[put.VALUES] = buffers[1].address if buffers[1] is not None else 0
        if inner.kind == "array":
            self.add(inner.item, array.values, f"{path}[]")
        elif _code_of(inner) in (put.PUT_TEXT, put.PUT_FIXED, put.PUT_ENUM):
            entry[put.BUFFERS] = len(self._buffers)
            self._buffers += [0 if buffer is None else buffer.address for buffer in buffers[2:]]

    def buffers(self) -> Int64s:
        """Return the addresses of all texts' buffers, column after column."""
        return np.array([*self._buffers, 0], dtype=np.int64)


def _as_needed(node: Node, array: Any, path: str) -> Any:
    """Bring an Arrow array to the one type that the loop reads for this node, exactly or not at all."""
    kind = array.type
    if node.kind == "record":
        fits = pa.types.is_struct(kind)
    elif node.kind == "array":
        fits = pa.types.is_large_list(kind)
    else:
        wanted = _arrow_type(node)
        if kind == wanted:
            return array
        if pa.types.is_dictionary(kind):
            array = pl.Series(array).cast(pl.String).to_arrow(compat_level=_VIEWS)
            kind = array.type
        if pa.types.is_date32(kind) and node.logical in ("date", None):
            array = array.cast(pa.int32())
        elif pa.types.is_timestamp(kind) and node.logical in _UNITS:
            array = array.cast(pa.timestamp(_UNITS[node.logical], kind.tz))
        elif not _alike(kind, wanted):
            raise _refused(path, f"a column of {kind}", f"one of {wanted}")
        return array.cast(wanted)
    if not fits:
        raise _refused(path, f"a column of {kind}", "a struct" if node.kind == "record" else "a list")
    return array


_UNITS = {"timestamp-millis": "ms", "timestamp-micros": "us"}
_UNITS |= {"local-timestamp-millis": "ms", "local-timestamp-micros": "us"}


_ARROW_TYPES = {
    put.PUT_BOOLEAN: pa.bool_(),
    put.PUT_HALF: pa.float32(),
    put.PUT_WORD: pa.float64(),
    put.PUT_FIXED: pa.binary_view(),
    put.PUT_ENUM: pa.string_view(),
}


def _arrow_type(node: Node) -> Any:
    """Return the one Arrow type that the loop reads for a scalar."""
    code = _code_of(node)
    if code == put.PUT_TEXT:
        return pa.string_view() if node.kind == "string" else pa.binary_view()
    return _ARROW_TYPES.get(code, _INT64)


def _alike(kind: Any, wanted: Any) -> bool:
    families = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string_view, pa.types.is_binary_view)
    return any(family(kind) and family(wanted) for family in families)


def _refused(path: str, found: str, expected: str) -> ValueError:
    return ValueError(f"writing Avro column {path}: {found} (expected {expected}); correct the frame")


def _unwritable(path: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"compiling an Avro writer at {path}: {found} (expected records, arrays, scalars and their optional forms); "
        "change the schema"
    )
