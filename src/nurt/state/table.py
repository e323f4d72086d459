"""State values as small tables: many keyed values, packed from one columnar frame and unpacked to one.

Hot path. A stored value is one byte of version and then rows, one after another. A row is a varint bitmap of the
columns that are not null (bit i: column i), then these columns in order: integers and booleans as zigzag varints,
texts and binaries as a varint length and bytes. Columns are only ever added at the end (`layouts.py` pins them), so an
old value simply lacks the later bits; a value with bits that this version does not know is refused, not misread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl

from nurt.columnar.series import text_buffers, text_series
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import Values
from nurt.limits import TABLE_COLUMNS_MAX
from nurt.state import layouts
from nurt.state.packing import locate, measure, pack, unpack, unreadable

VERSION = 1
_TYPES: Mapping[str, pl.DataType] = {
    layouts.INTEGER: pl.Int64(),
    layouts.COUNT: pl.Int64(),
    layouts.BOOLEAN: pl.Boolean(),
    layouts.TEXT: pl.String(),
    layouts.BYTES: pl.Binary(),
}
_NOTHING: Mapping[str, pl.DataType] = MappingProxyType({})
OWNER = "owner"
"""The frame's column with the index of a row's value in the sequence of values."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Rows of a table as plain arrays, for kernels.

    Attributes:
        owner: shape (rows,): index of a row's value.
        numbers: shape (number columns, rows); 0 where absent.
        present: shape (columns, rows).
        starts, stops: shape (text columns, rows): where each text lies in `texts`.
        texts: the texts.
    """

    owner: Int64s
    numbers: Int64s
    present: Bools
    starts: Int64s
    stops: Int64s
    texts: Bytes


class Table:
    """The columns of one kind of state value, and their codec between packed values and frames.

    Integer columns are `pl.Int64` and booleans `pl.Boolean`; texts `pl.String`; ids and bytes `pl.Binary`.
    At most TABLE_COLUMNS_MAX columns.

    Args:
        columns: in the order of the encoding.
        zero: integer columns that are never null: a zero is not stored.
    """

    def __init__(self, columns: Mapping[str, pl.DataType], zero: Sequence[str] = ()) -> None:
        assert len(columns) <= TABLE_COLUMNS_MAX, "a row's bitmap holds 62 columns"
        self.columns = dict(columns)
        self.zero = frozenset(zero)
        names = list(self.columns)
        self.is_text = np.array([dtype in (pl.String, pl.Binary) for dtype in self.columns.values()], dtype=np.bool_)
        self.is_id = np.array([dtype == pl.Binary for dtype in self.columns.values()], dtype=np.bool_)
        self.index = {name: index for index, name in enumerate(names)}
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._all = self._plan(tuple(names))

    @staticmethod
    def stored(name: str, needs: Mapping[str, pl.DataType] = _NOTHING) -> Table:
        """Make the table of a layout; column i of it is bit i.

        Args:
            name: of the layout.
            needs: columns that the layout must have, with their types.

        Raises:
            ImportError: it has no such column; the message says which line to add.
        """
        columns = layouts.LAYOUTS.get(name, ())
        if [bit for _, bit, _ in columns] != [*range(len(columns))]:
            raise ImportError(
                f"making the stored table {name}: its bits are {[bit for _, bit, _ in columns]} (expected 0, 1, 2 and "
                f"so on); restore its lines in {layouts.__name__}"
            )
        columns_of = {column: _TYPES[dtype] for column, _, dtype in columns}
        _check(name, columns_of, needs)
        return Table(columns_of, [column for column, _, dtype in columns if dtype == layouts.COUNT])

    def _plan(self, names: tuple[str, ...]) -> _Plan:
        if names not in self._plans:
            slot = np.full(len(self.columns), -1, dtype=np.int64)
            numbers = texts = 0
            for name in names:
                index = self.index[name]
                if self.is_text[index]:
                    slot[index], texts = texts, texts + 1
                else:
                    slot[index], numbers = numbers, numbers + 1
            self._plans[names] = _Plan(names, slot, numbers, texts)
        return self._plans[names]

    def empty(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Make a frame without rows, with the owner column first."""
        return pl.DataFrame(
            schema={OWNER: pl.Int64(), **{name: self.columns[name] for name in columns or self.columns}}
        )

    def pack(self, frame: pl.DataFrame, owners: int) -> list[bytes | None]:
        """Pack rows, sorted by owner, into one value an owner; an owner without rows gets None.

        Args:
            frame: `owner` (Int64, 0 <= owner < owners, not descending) and columns of this table; others are null.
            owners: how many values there are.
        """
        if frame.height == 0:
            return [None] * owners
        return self.pack_raw(self.raw(frame), owners)

    def raw(self, frame: pl.DataFrame) -> Raw:
        """Turn a frame into arrays; columns that it lacks are absent from every row."""
        rows = frame.height
        numbers = np.zeros((self._all.numbers, rows), dtype=np.int64)
        present = np.zeros((len(self.columns), rows), dtype=np.bool_)
        starts = np.zeros((self._all.texts, rows), dtype=np.int64)
        stops = np.zeros((self._all.texts, rows), dtype=np.int64)
        buffers: list[Bytes] = []
        base = 0
        for index, name in enumerate(self.columns):
            if name not in frame.columns:
                continue
            series, slot = frame[name], self._all.slot[index]
            nulls = series.null_count()
            if nulls == rows:
                continue
            present[index] = series.is_not_null().to_numpy() if nulls else True
            if self.is_text[index]:
                offsets, body = text_buffers(series)
                starts[slot], stops[slot] = offsets[:-1] + base, offsets[1:] + base
                buffers.append(body)
                base += len(body)
            else:
                numbers[slot] = (series.fill_null(0) if nulls else series).to_numpy()
                if name in self.zero:
                    present[index] = numbers[slot] != 0
        texts = np.concatenate(buffers) if buffers else np.empty(0, dtype=np.uint8)
        return Raw(frame[OWNER].to_numpy(), numbers, present, starts, stops, texts)

    def pack_raw_rows(self, raw: Raw) -> tuple[Bytes, Int64s]:
        """Pack each row by itself, without a version; returns the bytes and where each begins (n + 1)."""
        return self._packed(raw, len(raw.owner), by_row=True)

    def slot_of(self, name: str) -> int:
        """Return the row of a column in `Raw.numbers` or `Raw.starts`."""
        return int(self._all.slot[self.index[name]])

    @property
    def number_columns(self) -> int:
        """Return how many columns are numbers."""
        return self._all.numbers

    @property
    def text_columns(self) -> int:
        """Return how many columns are texts."""
        return self._all.texts

    def pack_raw(self, raw: Raw, owners: int) -> list[bytes | None]:
        """Pack arrays, sorted by owner, into one value an owner; an owner without rows gets None."""
        body, ends = self._packed(raw, owners, by_row=False)
        return Values(body, ends).plain()

    def pack_values(self, raw: Raw, owners: int) -> Values:
        """Pack arrays, sorted by owner, into one value an owner; an owner without rows has no value."""
        return Values(*self._packed(raw, owners, by_row=False))

    def _packed(self, raw: Raw, owners: int, by_row: bool) -> tuple[Bytes, Int64s]:
        rows = len(raw.owner)
        text_bytes = int((raw.stops - raw.starts).sum())
        out = np.empty(rows * (10 + 10 * len(self.columns)) + text_bytes + owners, dtype=np.uint8)
        ends = np.zeros(owners + 1, dtype=np.int64)
        owner = np.arange(rows, dtype=np.int64) if by_row else raw.owner
        slot, version = self._all.slot, -1 if by_row else VERSION
        length = pack(
            owner, self.is_text, slot, raw.numbers, raw.present, raw.starts, raw.stops, raw.texts, version, out, ends
        )
        return out[:length], ends

    def unpack(self, values: Sequence[bytes | None], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Unpack values into one frame; `owner` is the index of the value, rows keep their order.

        Args:
            values: as packed; None has no rows.
            columns: only these.

        Raises:
            StateTooNew: a value was written by a version of nurt with more columns or another encoding.
            StateDamaged: a value is not what nurt wrote.
        """
        plan = self._all if columns is None else self._plan(tuple(columns))
        raw = self._unpacked(values, plan)
        if not len(raw.owner):
            return self.empty(plan.names)
        frame: dict[str, pl.Series] = {OWNER: pl.Series(OWNER, raw.owner)}
        for name in plan.names:
            index = self.index[name]
            slot, valid, dtype = int(plan.slot[index]), raw.present[index], self.columns[name]
            if self.is_text[index]:
                first, last = raw.starts[slot, 0], raw.stops[slot, -1]
                offsets = np.append(raw.starts[slot], last) - first
                frame[name] = text_series(name, offsets, raw.texts[first:last], valid, dtype)
            else:
                series = pl.Series(name, raw.numbers[slot])
                if dtype == pl.Boolean:
                    series = series.cast(pl.Boolean)
                frame[name] = series if name in self.zero or valid.all() else series.set(pl.Series(~valid), None)
        return pl.DataFrame(frame)

    def unpack_raw(self, values: Sequence[bytes | None]) -> Raw:
        """Unpack values into arrays, all columns. Raises StateTooNew like `unpack`."""
        joined = Values.of(values)
        return self.locate(joined.body, joined.cuts)

    def locate(self, body: Bytes, cuts: Int64s, columns: tuple[str, ...] | None = None) -> Raw:
        """Unpack joined values into arrays over the same bytes: no text is copied. Raises StateTooNew like `unpack`.

        Args:
            body: the values, one after another.
            cuts: where each begins, and where the last ends.
            columns: only these; other columns have no arrays and are absent from every row.
        """
        plan = self._all if columns is None else self._plan(columns)
        rows = self._measured(body, cuts, plan, np.zeros(plan.texts + 1, dtype=np.int64))
        owner = np.empty(rows, dtype=np.int64)
        numbers = np.zeros((plan.numbers, rows), dtype=np.int64)
        present = np.zeros((len(self.columns), rows), dtype=np.bool_)
        starts = np.zeros((plan.texts, rows), dtype=np.int64)
        stops = np.zeros((plan.texts, rows), dtype=np.int64)
        if rows:
            locate(body, cuts, self.is_text, plan.slot, owner, numbers, present, starts, stops)
        return Raw(owner, numbers, present, starts, stops, body)

    def _measured(self, body: Bytes, cuts: Int64s, plan: _Plan, sizes: Int64s) -> int:
        """Count rows, and the bytes of wanted texts into `sizes`."""
        rows: int = measure(body, cuts, self.is_text, self.is_id, plan.slot, VERSION, sizes)
        if rows < 0:
            raise unreadable(rows, "state")
        return rows

    def _unpacked(self, values: Sequence[bytes | None], plan: _Plan) -> Raw:
        joined = Values.of(values)
        body, cuts = joined.body, joined.cuts
        sizes = np.zeros(plan.texts + 1, dtype=np.int64)
        rows = self._measured(body, cuts, plan, sizes)
        owner = np.empty(rows, dtype=np.int64)
        numbers = np.zeros((plan.numbers, rows), dtype=np.int64)
        present = np.zeros((len(self.columns), rows), dtype=np.bool_)
        starts = np.zeros((plan.texts, rows), dtype=np.int64)
        stops = np.zeros((plan.texts, rows), dtype=np.int64)
        bases = np.zeros(plan.texts + 1, dtype=np.int64)
        np.cumsum(sizes[:-1], out=bases[1:])
        texts = np.empty(int(bases[-1]), dtype=np.uint8)
        if rows:
            unpack(body, cuts, self.is_text, plan.slot, owner, numbers, present, starts, stops, bases, texts)
        return Raw(owner, numbers, present, starts, stops, texts)


def _check(table: str, columns_of: Mapping[str, pl.DataType], needs: Mapping[str, pl.DataType]) -> None:
    names = {dtype: name for name, dtype in _TYPES.items() if name != layouts.COUNT}
    for column, dtype in needs.items():
        if columns_of.get(column, dtype) != dtype:
            raise ImportError(
                f"making the stored table {table}: its column {column} is {names[columns_of[column]]} (needed: "
                f"{names[dtype]}); a stored column keeps its type: give what is new another name"
            )
    missing = [column for column in needs if column not in columns_of]
    lines = " ".join(
        f'("{column}", {bit}, {names[needs[column]].upper()}),' for bit, column in enumerate(missing, len(columns_of))
    )
    if missing or not columns_of:
        where = f'at the end of "{table}"' if columns_of else f'a table "{table}"'
        raise ImportError(
            f"making the stored table {table}: it has no column {', '.join(missing)}; add {where} in "
            f"{layouts.__name__}: {lines} and then run `make layouts`"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The wanted columns: by column, its row in the arrays of numbers or texts; -1: not wanted."""

    names: tuple[str, ...]
    slot: Int64s
    numbers: int
    texts: int
