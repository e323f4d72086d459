"""Read the operation, snapshot kind and commit time of changes, in compiled loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nurt.avro.raw_column import RawColumn, unpack_bits
from nurt.columnar.memory import peek_byte
from nurt.columnar.types import INLINE_BYTES, Bools, Int8s, Int64s
from nurt.model.entity_frame import DELETE, FULL_SNAPSHOT, INCREMENTAL_SNAPSHOT, STREAMED, UPSERT

TRUNCATE, LOGICAL, UNKNOWN, ROWLESS = 2, 3, 4, 5
"""Operations besides UPSERT and DELETE: `t`, `m`, any other, and an upsert without a row."""


class Codes:
    """Codes of known texts; any other text has the code `otherwise`."""

    def __init__(self, codes: Mapping[str, int], otherwise: int) -> None:
        encoded = [text.encode() for text in codes]
        self._body = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._cuts = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self._codes = np.array(list(codes.values()), dtype=np.int8)
        self.otherwise = otherwise

    def of(self, column: RawColumn) -> Int8s:
        """Return the code of every text; a missing text has the code `otherwise`."""
        assert column.views is not None and column.text is not None, "only texts have codes"
        found = np.empty(column.rows, dtype=np.int8)
        _code(column.views, column.text.address, self._body, self._cuts, self._codes, np.int8(self.otherwise), found)
        return found


_OPERATIONS = Codes({"c": UPSERT, "r": UPSERT, "u": UPSERT, "d": DELETE, "t": TRUNCATE, "m": LOGICAL}, UNKNOWN)
_SNAPSHOTS = Codes(
    {
        "true": FULL_SNAPSHOT,
        "first": FULL_SNAPSHOT,
        "first_in_data_collection": FULL_SNAPSHOT,
        "last_in_data_collection": FULL_SNAPSHOT,
        "last": FULL_SNAPSHOT,
        "incremental": INCREMENTAL_SNAPSHOT,
    },
    STREAMED,
)
"""`source.snapshot` -> kind; any other text, and null, is streamed. Source: Debezium SnapshotRecord."""
_TRUE = Codes({"true": 1}, 0)


@dataclass(frozen=True, slots=True)
class Times:
    """Times in ms; `known` None: all times are known."""

    ms: Int64s
    known: Bools | None


def read_operations(
    op: RawColumn | None, deleted: RawColumn | None, row: RawColumn | None, rows: int, flattened: bool
) -> Int8s:
    """Read operations from the column `op`, from the flattened form's deletion mark, and from missing rows."""
    found = np.zeros(rows, dtype=np.int8)
    if op is not None and op.views is not None:
        found = _OPERATIONS.of(op)
        if flattened and (known := op.known()) is not None:
            found[~known] = UPSERT
    if deleted is not None:
        found[_is_true(deleted)] = DELETE
    if row is not None and not (present := _is_true(row)).all():
        found[(found == UPSERT) & ~present] = ROWLESS
    return found


def read_snapshots(column: RawColumn | None, rows: int) -> Int8s:
    """Read snapshot kinds; without a column every change is streamed."""
    if column is None:
        return np.full(rows, STREAMED, dtype=np.int8)
    if column.views is not None:
        return _SNAPSHOTS.of(column)
    return np.where(_is_true(column), FULL_SNAPSHOT, STREAMED).astype(np.int8)


def read_times(columns: Sequence[RawColumn | None]) -> Times | None:
    """Read times from the first column with a time above 0; None when no column can have one."""
    found: Times | None = None
    for column in columns:
        if column is None or not column.is_integer:
            continue
        ms = column.numbers()
        known = _and(ms > 0, column.known())
        if found is None:
            found = Times(ms, None if known.all() else known)
        else:
            assert found.known is not None, "the first column that knows all ends the search"
            both = found.known | known
            found = Times(np.where(found.known, found.ms, ms), None if both.all() else both)
        if found.known is None:
            break
    return found


def _is_true(column: RawColumn) -> Bools:
    """Say where a boolean, or its text, is true; false and null are not true."""
    if column.views is not None:
        return _TRUE.of(column) == 1
    if column.flags is None:
        return np.zeros(column.rows, dtype=np.bool_)
    return _and(unpack_bits(column.flags, column.rows), column.known())


def _and(flags: Bools, known: Bools | None) -> Bools:
    return flags if known is None else flags & known


@numba.njit(nogil=True, cache=True)
def _code(views, text, body, cuts, codes, otherwise, found):  # type: ignore[no-untyped-def]
    """Give each text the code of the name that it is.

    views      (n, 2)  uint64  Arrow views of the texts
    text       scalar  int64   address of the buffer of texts of more than INLINE_BYTES
    body       (b,)    uint8   names, one after another
    cuts       (k+1,)  int64   name j is body[cuts[j]:cuts[j+1]]
    codes      (k,)    int8    by name
    otherwise  scalar  int8    the code of a text that is no name
    found      (n,)    int8    written: the code of each text
    """
    here = views.ctypes.data
    for row in range(len(views)):
        if row and views[row, 0] == views[row - 1, 0] and views[row, 1] == views[row - 1, 1]:
            found[row] = found[row - 1]  # most texts are the same as the one before
            continue
        size = np.int64(views[row, 0] & np.uint64(0xFFFFFFFF))
        source = here + 16 * row + 4
        if size > INLINE_BYTES:
            source = text + np.int64(views[row, 1] >> np.uint64(32))
        found[row] = otherwise
        for which in range(len(codes)):
            start = cuts[which]
            if cuts[which + 1] - start != size:
                continue
            same = True
            for i in range(size):
                if peek_byte(source + i) != np.int64(body[start + i]):
                    same = False
                    break
            if same:
                found[row] = codes[which]
                break
