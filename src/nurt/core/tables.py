"""State values as small tables: many keyed values packed from, and unpacked to, one columnar frame.

Hot path. A stored value is one byte of version and then rows, one after another. A row is a varint bitmap of the
columns that are not null (bit i: column i), then these columns in order: integers and booleans as zigzag varints,
texts and binaries as a varint length and bytes. Columns are only ever added at the end, so an old value simply
lacks the later bits; a value with bits that this version does not know is refused, not misread.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from nurt.errors import StateTooNew

VERSION = 1
OWNER = "owner"
"""Column of a frame that says which value a row belongs to: an index into the sequence of values."""

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class Table:
    """The columns of one kind of state value, and the way between packed values and frames.

    Integer columns are `pl.Int64` and booleans `pl.Boolean`; texts `pl.String`; ids and bytes `pl.Binary`.
    At most 62 columns.
    """

    def __init__(self, columns: Mapping[str, pl.DataType]) -> None:
        assert len(columns) <= 62, "a row's bitmap holds 62 columns"
        self.columns = dict(columns)
        is_text = [dtype in (pl.String, pl.Binary) for dtype in self.columns.values()]
        self._is_text = np.array(is_text, dtype=np.bool_)
        self._slot = np.array([sum(is_text[:i]) if text else i - sum(is_text[:i]) for i, text in enumerate(is_text)])
        self._numbers = [name for name, text in zip(self.columns, is_text, strict=True) if not text]
        self._texts = [name for name, text in zip(self.columns, is_text, strict=True) if text]

    def empty(self) -> pl.DataFrame:
        """Make a frame without rows, with the owner column first."""
        return pl.DataFrame(schema={OWNER: pl.Int64(), **self.columns})

    def pack(self, frame: pl.DataFrame, owners: int) -> list[bytes | None]:
        """Pack rows, sorted by owner, into one value an owner; an owner without rows gets None.

        Args:
            frame: the columns of this table and `owner` (Int64, 0 <= owner < owners, not descending).
            owners: how many values there are.
        """
        rows = frame.height
        if rows == 0:
            return [None] * owners
        numbers = np.zeros((len(self._numbers), rows), dtype=np.int64)
        present = np.ones((len(self.columns), rows), dtype=np.bool_)
        starts = np.zeros((len(self._texts), rows + 1), dtype=np.int64)
        buffers: list[Bytes] = []
        base = 0
        for index, name in enumerate(self.columns):
            series = frame[name]
            if series.null_count():
                present[index] = series.is_not_null().to_numpy()
            slot = self._slot[index]
            if self._is_text[index]:
                offsets, body = text_buffers(series)
                starts[slot] = offsets + base
                buffers.append(body)
                base += len(body)
            else:
                numbers[slot] = (series.fill_null(0) if series.null_count() else series).cast(pl.Int64).to_numpy()
        body = np.concatenate(buffers) if buffers else np.empty(0, dtype=np.uint8)
        out = np.empty(rows * (10 + 10 * len(self.columns)) + base + owners, dtype=np.uint8)
        ends = np.zeros(owners + 1, dtype=np.int64)
        length = _pack(
            frame[OWNER].to_numpy(), self._is_text, self._slot, numbers, present, starts, body, VERSION, out, ends
        )
        whole = out[:length].tobytes()
        cuts = ends.tolist()
        return [whole[a:b] if b > a else None for a, b in itertools.pairwise(cuts)]

    def unpack(self, values: Sequence[bytes | None]) -> pl.DataFrame:
        """Unpack values into one frame; `owner` is the index of the value, rows keep their order.

        Raises:
            StateTooNew: a value was written by a version of nurt with more columns or another encoding.
        """
        held = [value if value is not None else b"" for value in values]
        body = np.frombuffer(b"".join(held), dtype=np.uint8)
        if len(body) == 0:
            return self.empty()
        cuts = np.zeros(len(held) + 1, dtype=np.int64)
        np.cumsum([len(value) for value in held], out=cuts[1:])
        sizes = np.zeros(len(self._texts) + 1, dtype=np.int64)
        rows = _measure(body, cuts, self._is_text, self._slot, VERSION, sizes)
        if rows < 0:
            raise StateTooNew(
                "reading state: a value has an encoding that this version does not know (version 1 and at most "
                f"{len(self.columns)} columns); run the version of nurt that wrote it, or a later one"
            )
        owner = np.empty(rows, dtype=np.int64)
        numbers = np.zeros((len(self._numbers), rows), dtype=np.int64)
        present = np.zeros((len(self.columns), rows), dtype=np.bool_)
        starts = np.zeros((len(self._texts), rows + 1), dtype=np.int64)
        bases = np.zeros(len(self._texts) + 1, dtype=np.int64)
        np.cumsum(sizes[:-1], out=bases[1:])
        texts = np.empty(int(bases[-1]), dtype=np.uint8)
        _unpack(body, cuts, self._is_text, self._slot, owner, numbers, present, starts, bases, texts)
        columns: dict[str, pl.Series] = {OWNER: pl.Series(OWNER, owner)}
        for index, (name, dtype) in enumerate(self.columns.items()):
            slot = int(self._slot[index])
            valid = present[index]
            if self._is_text[index]:
                text = texts[bases[slot] : bases[slot + 1]]
                columns[name] = text_series(name, starts[slot], text, valid, dtype)
            else:
                series = pl.Series(name, numbers[slot]).cast(dtype)
                if not valid.all():
                    series = series.set(pl.Series(~valid), None)
                columns[name] = series
        return pl.DataFrame(columns)


def text_buffers(series: pl.Series) -> tuple[Int64s, Bytes]:
    """Return offsets (n + 1) and joined bytes of a String or Binary series; a null has length 0."""
    wide = pa.large_string() if series.dtype == pl.String else pa.large_binary()
    array = series.to_arrow()
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.type != wide:
        array = array.cast(wide)
    _, offsets, body = array.buffers()
    rows = len(array)
    cuts = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + rows + 1]
    held = np.frombuffer(body, dtype=np.uint8) if body is not None else np.empty(0, dtype=np.uint8)
    first, last = int(cuts[0]), int(cuts[-1])
    return cuts - first, held[first:last]


def text_series(name: str, offsets: Int64s, body: Bytes, valid: Bools, dtype: pl.DataType) -> pl.Series:
    """Make a String or Binary series over offsets (n + 1) and bytes; rows that are not valid are null."""
    wide = pa.large_string() if dtype == pl.String else pa.large_binary()
    nulls = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    array = pa.Array.from_buffers(wide, len(valid), [nulls, pa.py_buffer(offsets), pa.py_buffer(body)])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series.alias(name)


@numba.njit(nogil=True, cache=True)  # type: ignore[misc]
def _put_varint(out, at, value):  # type: ignore[no-untyped-def]
    rest = np.uint64(value)
    while rest >= np.uint64(128):
        out[at] = np.uint8((rest & np.uint64(127)) | np.uint64(128))
        rest >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(rest)
    return at + 1


@numba.njit(nogil=True, cache=True)  # type: ignore[misc]
def _get_varint(body, at):  # type: ignore[no-untyped-def]
    value = np.uint64(0)
    shift = np.uint64(0)
    while True:
        byte = np.uint64(body[at])
        at += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return value, at
        shift += np.uint64(7)


@numba.njit(nogil=True, cache=True)  # type: ignore[misc]
def _pack(owner, is_text, slot, numbers, present, starts, body, version, out, ends):  # type: ignore[no-untyped-def]
    at = 0
    current = -1
    columns = len(is_text)
    for row in range(len(owner)):
        if owner[row] != current:
            for skipped in range(current + 1, owner[row] + 1):
                ends[skipped] = at
            current = owner[row]
            out[at] = version
            at += 1
        bitmap = np.uint64(0)
        for column in range(columns):
            if present[column, row]:
                bitmap |= np.uint64(1) << np.uint64(column)
        at = _put_varint(out, at, bitmap)
        for column in range(columns):
            if not present[column, row]:
                continue
            where = slot[column]
            if is_text[column]:
                start = starts[where, row]
                end = starts[where, row + 1]
                at = _put_varint(out, at, end - start)
                for i in range(start, end):
                    out[at] = body[i]
                    at += 1
            else:
                value = numbers[where, row]
                at = _put_varint(out, at, (value << 1) ^ (value >> 63))
    for skipped in range(current + 1, len(ends)):
        ends[skipped] = at
    return at


@numba.njit(nogil=True, cache=True)  # type: ignore[misc]
def _measure(body, cuts, is_text, slot, version, sizes):  # type: ignore[no-untyped-def]
    rows = 0
    columns = len(is_text)
    for value in range(len(cuts) - 1):
        at = cuts[value]
        end = cuts[value + 1]
        if at == end:
            continue
        if body[at] != version:
            return -1
        at += 1
        while at < end:
            bitmap, at = _get_varint(body, at)
            if bitmap >> np.uint64(columns):
                return -1
            for column in range(columns):
                if not (bitmap >> np.uint64(column)) & np.uint64(1):
                    continue
                number, at = _get_varint(body, at)
                if is_text[column]:
                    sizes[slot[column]] += np.int64(number)
                    at += np.int64(number)
            rows += 1
    return rows


@numba.njit(nogil=True, cache=True)  # type: ignore[misc]
def _unpack(body, cuts, is_text, slot, owner, numbers, present, starts, bases, texts):  # type: ignore[no-untyped-def]
    row = 0
    columns = len(is_text)
    for value in range(len(cuts) - 1):
        at = cuts[value]
        end = cuts[value + 1]
        if at == end:
            continue
        at += 1
        while at < end:
            owner[row] = value
            bitmap, at = _get_varint(body, at)
            for column in range(columns):
                where = slot[column]
                if not (bitmap >> np.uint64(column)) & np.uint64(1):
                    if is_text[column]:
                        starts[where, row + 1] = starts[where, row]
                    continue
                present[column, row] = True
                number, at = _get_varint(body, at)
                if is_text[column]:
                    into = bases[where] + starts[where, row]
                    length = np.int64(number)
                    for i in range(length):
                        texts[into + i] = body[at + i]
                    at += length
                    starts[where, row + 1] = starts[where, row] + length
                else:
                    numbers[where, row] = np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1))
            row += 1
