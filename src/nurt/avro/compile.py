"""Compile a writer's schema and the wanted paths into a program that reads exactly these paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nurt.avro import opcodes as op
from nurt.avro.schema import Node
from nurt.columnar.types import Int64s
from nurt.errors import ConfigurationError

READERS = {
    "boolean": op.READ_BOOLEAN,
    "int": op.READ_LONG,
    "long": op.READ_LONG,
    "float": op.READ_FLOAT,
    "double": op.READ_DOUBLE,
    "string": op.READ_TEXT,
    "bytes": op.READ_BYTES,
    "fixed": op.READ_FIXED,
    "enum": op.READ_ENUM,
}
FIXED_BYTES = {"null": 0, "boolean": 1, "float": 4, "double": 8}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """Type of one column as the writer declares it."""

    avro: str  # the Avro type without null: long, string, bytes, fixed, enum, record, ...
    nullable: bool  # the value, or a record on its path, can be null
    logical: str | None = None  # logicalType
    precision: int | None = None  # of a decimal
    scale: int | None = None  # of a decimal: the writer's own
    size_bytes: int | None = None  # of a fixed
    symbols: tuple[str, ...] = ()  # of an enum
    connect_name: str | None = None  # connect.name: Debezium's semantic type
    connect_parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    """Column of one wanted path: `store` is words, views, symbols, flags, presence or null."""

    path: str
    type: ColumnType
    store: str
    row: int  # of its store
    index: int  # of its validity


@dataclass(frozen=True, slots=True)
class Projection:
    """Program and the columns that it fills, in the order asked for."""

    program: Int64s  # (instructions, WIDTH)
    targets: Int64s  # addresses of union branches
    enums: tuple[tuple[str, ...], ...]  # symbols of each enum read
    columns: tuple[Column, ...]
    words: int
    views: int
    flags: int
    not_columnar: frozenset[str]


PATHS_MAX = 100_000
INSTRUCTIONS_MAX = 50_000
"""Of one program: a table of 3,000 columns with images before and after takes a third of that."""

Wanted = dict[str, Any]
"""Field name -> wanted below it; the key "" says that the value itself is wanted."""


def project(root: Node, paths: Sequence[str]) -> Projection:
    """Compile the program; paths that the schema does not have are left out of `columns`."""
    compiler = _Compiler()
    wanted: Wanted = {}
    for path in paths:
        below = wanted
        for name in path.split(".") if path else ():
            below = below.setdefault(name, {})
        below[""] = {}
    compiler.read(root, wanted, "", nullable=False)
    return compiler.finish(paths)


def columnar_paths(root: Node) -> list[str]:
    """List every path that columns can hold, in schema order; a recursive record is followed once.

    Raises ConfigurationError when there are more than PATHS_MAX: types that name each other twice double them.
    """
    paths: list[str] = []

    def walk(node: Node, path: str, within: tuple[int, ...]) -> None:
        inner, _ = _optional(node)
        if inner is None or inner.kind in ("array", "map"):
            return
        if path or inner.kind != "record":
            paths.append(path)
        if len(paths) > PATHS_MAX:
            raise _too_large(f"more than {PATHS_MAX} paths")
        if inner.kind == "record" and id(inner) not in within:
            for name, type_ in inner.fields:
                walk(type_, f"{path}.{name}" if path else name, (*within, id(inner)))

    walk(root, "", ())
    return paths


class _Compiler:
    """Compiler that emits instructions; a jump's address is filled in once known."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.targets: list[int] = []
        self.enums: list[tuple[str, ...]] = []
        self.columns: dict[str, Column] = {}
        self.not_columnar: set[str] = set()
        self.counts = {"words": 0, "views": 0, "flags": 0}
        self.label = -1  # the last address that a jump leads to: instructions are not merged across it
        self.routines: dict[int, Node] = {}  # by id(node): records that a routine skips
        self.calls: list[tuple[int, int]] = []  # instruction, id(node)
        self.empty: dict[int, bool] = {}  # by id(node): records that take no bytes

    # -- emitting

    def emit(self, code: int, a: int = 0, b: int = 0, optional: tuple[int, int] | None = None, spare: int = 0) -> int:
        null, present = optional or (0, 0)
        here = len(self.rows)
        if here >= INSTRUCTIONS_MAX:
            raise _too_large(f"a program of more than {INSTRUCTIONS_MAX} instructions")
        self.rows.append([code, int(optional is not None), null, present, a, b, here + 1, spare])
        return here

    def skip_more(self, code: int, amount: int, optional: tuple[int, int] | None = None) -> None:
        """Skip `amount` more of what the last instruction skips, or begin a new one."""
        null, present = optional or (0, 0)
        last = self.rows[-1] if self.rows and self.label != len(self.rows) else None
        if last is not None and last[: op.A] == [code, 0, null, present]:
            last[op.A] += amount
        else:
            self.rows[self.emit(code, amount)][op.NULL : op.A] = [null, present]

    def land(self, jumps: Sequence[int], column: int = op.JUMP) -> None:
        """Let earlier instructions jump to the next instruction."""
        for jump in jumps:
            self.rows[jump][column] = len(self.rows)
        self.label = len(self.rows)

    # -- reading

    def read(self, node: Node, wanted: Wanted, path: str, nullable: bool) -> None:
        """Emit what reads one type with a wanted part."""
        inner, optional = _optional(node)
        if inner is None:
            self.not_columnar.update(_paths_into_union(node, wanted, path))
            self.skip(node)
            return
        nullable = nullable or (optional is not None and optional[0] != op.NEVER)
        if inner.kind == "record":
            self.read_record(inner, wanted, path, optional, nullable)
        elif "" not in wanted:
            self.skip(node)
        elif inner.kind in ("array", "map"):
            self.not_columnar.add(path)
            self.skip(node)
        else:
            self.read_value(node, inner, path, optional, nullable)

    def read_record(
        self, node: Node, wanted: Wanted, path: str, optional: tuple[int, int] | None, nullable: bool
    ) -> None:
        flag = self.add_column(path, node, "presence", nullable) if "" in wanted else -1
        entered = []
        if optional is not None or flag >= 0:
            entered = [self.emit(op.ENTER, flag, optional=optional)]
            self.label = len(self.rows)
        for name, type_ in node.fields:
            below = wanted.get(name)
            if below is None:
                self.skip(type_)
            else:
                self.read(type_, below, f"{path}.{name}" if path else name, nullable)
        self.land(entered)

    def read_value(self, node: Node, inner: Node, path: str, optional: tuple[int, int] | None, nullable: bool) -> None:
        if inner.kind == "null":
            self.add_column(path, inner, "null", True)
            self.skip(node)
            return
        code = READERS[inner.kind]
        spare = 0
        if inner.kind == "boolean":
            store = "flags"
        elif inner.kind == "enum":
            store, spare = "symbols", len(self.enums)
            self.enums.append(inner.symbols)
        elif inner.kind in ("string", "bytes", "fixed"):
            store, spare = "views", inner.size_bytes
        else:
            store = "words"
        column = len(self.columns)
        row = self.add_column(path, inner, store, nullable)
        self.emit(code, row, column, optional, spare)
        self.label = len(self.rows)

    def add_column(self, path: str, node: Node, store: str, nullable: bool) -> int:
        family = {"presence": "flags", "symbols": "views", "null": ""}.get(store, store)
        row = -1
        if family:
            row = self.counts[family]
            self.counts[family] += 1
        self.columns[path] = Column(path, _describe(node, nullable), store, row, len(self.columns))
        return row

    # -- skipping

    def skip(self, node: Node) -> None:
        """Emit what passes over one type."""
        inner, optional = _optional(node)
        if inner is None:
            self.skip_union(node)
        elif inner.kind == "enum":
            self.emit(op.SKIP_ENUM, len(inner.symbols), optional=optional)
            self.label = len(self.rows)
        elif inner.kind in ("int", "long"):
            self.skip_more(op.SKIP_OPTIONAL_VARINTS if optional else op.SKIP_VARINTS, 1, optional)
        elif inner.kind in ("string", "bytes"):
            self.skip_more(op.SKIP_OPTIONAL_TEXTS if optional else op.SKIP_TEXTS, 1, optional)
        elif optional is None:
            self.skip_present(inner)
        else:
            entered = self.emit(op.ENTER, -1, optional=optional)
            self.label = len(self.rows)
            self.skip_present(inner)
            self.land([entered])

    def skip_present(self, node: Node) -> None:
        if node.kind in ("array", "map"):
            self.skip_items(node)
        elif node.kind != "record":
            size_bytes = FIXED_BYTES.get(node.kind, node.size_bytes)
            if size_bytes:
                self.skip_more(op.SKIP_BYTES, size_bytes)
        elif all(type_.kind not in ("record", "array", "map", "union") for _, type_ in node.fields):
            for _, type_ in node.fields:
                self.skip(type_)
        else:
            self.routines[id(node)] = node
            self.calls.append((self.emit(op.CALL), id(node)))
            self.label = len(self.rows)

    def skip_items(self, node: Node) -> None:
        if node.kind == "array" and _takes_no_bytes(node.item, (), self.empty):
            self.emit(op.LOOP_EMPTY)
            self.label = len(self.rows)
            return
        loop = self.emit(op.LOOP)
        self.label = len(self.rows)
        if node.kind == "map":
            self.skip_more(op.SKIP_TEXTS, 1)
        self.skip(node.item)
        self.emit(op.REPEAT, loop)
        self.land([loop])

    def skip_union(self, node: Node) -> None:
        first = len(self.targets)
        self.emit(op.UNION, len(node.branches), first)
        self.targets.extend(0 for _ in node.branches)
        leaving = []
        for i, branch in enumerate(node.branches):
            self.targets[first + i] = self.label = len(self.rows)
            self.skip(branch)
            leaving.append(self.emit(op.GOTO))
        self.land(leaving, op.A)

    # -- finishing

    def finish(self, paths: Sequence[str]) -> Projection:
        self.emit(op.END)
        starts: dict[int, int] = {}
        while waiting := [key for key in self.routines if key not in starts]:
            for key in waiting:
                self.label = starts[key] = len(self.rows)
                for _, type_ in self.routines[key].fields:
                    self.skip(type_)
                self.emit(op.RETURN)
        for caller, key in self.calls:
            self.rows[caller][op.A] = starts[key]
        return Projection(
            np.array(self.rows, dtype=np.int64).reshape(-1, op.WIDTH),
            np.array([*self.targets, 0], dtype=np.int64),
            tuple(self.enums),
            tuple(self.columns[path] for path in dict.fromkeys(paths) if path in self.columns),
            self.counts["words"],
            self.counts["views"],
            self.counts["flags"],
            frozenset(self.not_columnar),
        )


def _optional(node: Node) -> tuple[Node | None, tuple[int, int] | None]:
    """Return the type of a value when present, and how its union writes (null, present); None is a wide union."""
    split = node.without_null()
    if split is None:
        return None, None
    inner, null, branches = split
    if branches == 0:
        return inner, None
    return inner, (2 * null if null >= 0 else op.NEVER, 0 if null != 0 else 2)


def _paths_into_union(node: Node, wanted: Wanted, path: str) -> set[str]:
    """List the wanted paths inside unions of several types: columns cannot hold these paths."""
    found = {path} if "" in wanted else set()
    for branch in node.branches:
        for name, type_ in branch.fields:
            if name in wanted:
                below = f"{path}.{name}" if path else name
                found.update(_paths_into_union(Node("union", branches=[type_]), wanted[name], below))
    return found


def _takes_no_bytes(node: Node, within: tuple[int, ...], known: dict[int, bool]) -> bool:
    """Say whether a type takes no bytes; `known` keeps the answer, for records that name each other twice."""
    if node.kind == "record":
        if id(node) not in known:
            inner = (*within, id(node))
            known[id(node)] = id(node) not in within and all(
                _takes_no_bytes(type_, inner, known) for _, type_ in node.fields
            )
        return known[id(node)]
    return node.kind == "null" or (node.kind == "fixed" and node.size_bytes == 0)


def _too_large(found: str) -> ConfigurationError:
    return ConfigurationError(f"compiling an Avro schema: {found} (a schema of a table); correct it in the registry")


def _describe(node: Node, nullable: bool) -> ColumnType:
    attributes = node.attributes
    return ColumnType(
        node.kind,
        nullable,
        node.logical,
        _integer(attributes.get("precision")),
        _integer(attributes.get("scale", 0 if node.logical == "decimal" else None)),
        node.size_bytes if node.kind == "fixed" else None,
        node.symbols,
        attributes.get("connect.name"),
        parameters if isinstance(parameters := attributes.get("connect.parameters"), Mapping) else {},
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) else None
