"""Keys, values and headers of many messages as columns; one is read alone only where something is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa

from nurt.avro.reader import JoinedMessages
from nurt.columnar.types import Bools, Int64s
from nurt.columnar.values import PADDING_BYTES
from nurt.model.raw import Headers


class Payloads(Sequence[bytes | None]):
    """Keys or values laid end to end; as a sequence, each is bytes or None.

    Attributes:
        joined: a null message has no bytes.
        nulls: which messages are null; None: none is.
    """

    __slots__ = ("joined", "nulls")

    def __init__(self, joined: JoinedMessages, nulls: Bools | None = None) -> None:
        self.joined = joined
        self.nulls = nulls

    @classmethod
    def of(cls, messages: Sequence[bytes | None]) -> Payloads:
        """Lay messages end to end; messages that lie so already stay as they are."""
        if isinstance(messages, Payloads):
            return messages
        # Arrow's pool keeps its pages between batches: see `avro.reader.join`.
        array: Any = pa.array([*messages, bytes(PADDING_BYTES)], type=pa.large_binary())
        _, offsets, data = array.buffers()
        places = np.frombuffer(offsets, dtype=np.int64, count=len(messages) + 1)
        nulls = array.is_null().to_numpy(zero_copy_only=False)[:-1] if array.null_count else None
        return cls(JoinedMessages(data, places[:-1].copy(), places[1:].copy()), nulls)

    def __len__(self) -> int:
        return len(self.joined)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> Payloads: ...
    def __getitem__(self, at: int | slice) -> bytes | Payloads | None:
        if isinstance(at, slice):
            return self._part(*at.indices(len(self)))
        if self.nulls is not None and self.nulls[at]:
            return None
        start, end = int(self.joined.starts[at]), int(self.joined.ends[at])
        found: bytes = self.joined.data.slice(start, end - start).to_pybytes()
        return found

    def __iter__(self) -> Iterator[bytes | None]:
        data = memoryview(self.joined.data)
        nulls = [False] * len(self) if self.nulls is None else self.nulls.tolist()
        for start, end, null in zip(self.joined.starts.tolist(), self.joined.ends.tolist(), nulls, strict=True):
            yield None if null else data[start:end].tobytes()

    def _part(self, start: int, end: int, step: int) -> Payloads:
        """Return messages, in order, with only their own bytes: a part of a batch must be smaller than the batch."""
        assert step == 1, "parts keep their order"
        joined = self.joined
        if start >= end:
            return Payloads.of([])
        first = joined.starts[start]
        data = joined.data.slice(int(first), int(joined.ends[end - 1] - first) + PADDING_BYTES)
        nulls = None if self.nulls is None else self.nulls[start:end]
        return Payloads(JoinedMessages(data, joined.starts[start:end] - first, joined.ends[start:end] - first), nulls)


class SparseHeaders(Sequence[Headers | None]):
    """Headers of messages; few messages have any.

    Args:
        rows: how many messages there are.
        headers: row -> its headers.
    """

    __slots__ = ("_headers", "_rows")

    def __init__(self, rows: int, headers: Mapping[int, Headers] | None = None) -> None:
        self._rows = rows
        self._headers = headers or {}

    def __len__(self) -> int:
        return self._rows

    def present(self) -> Iterator[tuple[int, Headers]]:
        """Yield the rows that have headers, with them."""
        yield from self._headers.items()

    @overload
    def __getitem__(self, at: int) -> Headers | None: ...
    @overload
    def __getitem__(self, at: slice) -> SparseHeaders: ...
    def __getitem__(self, at: int | slice) -> Headers | SparseHeaders | None:
        if isinstance(at, slice):
            rows = range(self._rows)[at]
            return SparseHeaders(len(rows), {rows.index(row): one for row, one in self._headers.items() if row in rows})
        return self._headers.get(range(self._rows)[at])


def with_header(headers: Sequence[Headers | None], name: str) -> Int64s | None:
    """Return the rows that have a header of this name; None: no row has."""
    present = headers.present() if isinstance(headers, SparseHeaders) else enumerate(headers)
    found = [row for row, of_one in present if of_one and any(key == name for key, _ in of_one)]
    return np.array(found, dtype=np.int64) if found else None


def int64s(numbers: Sequence[int] | Int64s) -> Int64s:
    """Return numbers as an array; an array stays as it is."""
    return np.asarray(numbers, dtype=np.int64)
