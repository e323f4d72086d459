"""Values of many keys as one array: how stages read state and write it. Hot path, nothing per value but numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nurt.columnar.types import Bools, Bytes, Int64s

PADDING_BYTES = 16
"""Bytes that may be read behind the last value, because compiled loops load whole words."""


ValueTuple = tuple[Bytes, Int64s]
"""Values as kernels take them: body, cuts."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Values of many keys: value i is `body[cuts[i]:cuts[i + 1]]`; an empty value is absent (no stored value is empty).

    Attributes:
        body: bytes of these values, and maybe of others; PADDING_BYTES may be read behind the last.
        cuts: shape (n + 1,).
    """

    body: Bytes
    cuts: Int64s

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self.cuts) - 1

    def as_tuple(self) -> ValueTuple:
        """Group the arrays for a kernel."""
        return self.body, self.cuts

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Values:
        """Join values; None is absent."""
        present = [value or b"" for value in values]
        cuts = np.zeros(len(present) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, present), dtype=np.int64, count=len(present)), out=cuts[1:])
        present.append(bytes(PADDING_BYTES))
        return cls(np.frombuffer(bytearray().join(present), dtype=np.uint8), cuts)

    @property
    def there(self) -> Bools:
        """Return which values are not absent."""
        found: Bools = self.cuts[1:] > self.cuts[:-1]
        return found

    @property
    def size_bytes(self) -> int:
        """Add up the sizes of the values."""
        return int(self.cuts[-1] - self.cuts[0])

    def part(self, first: int, stop: int) -> Values:
        """Give the values from `first` on, before `stop`, without a copy."""
        return Values(self.body, self.cuts[first : stop + 1])

    def one(self, row: int) -> bytes | None:
        """Cut out one value. Not for the hot path."""
        return self.body[self.cuts[row] : self.cuts[row + 1]].tobytes() or None

    def plain(self) -> list[bytes | None]:
        """Cut out every value, one by one. Not for the hot path."""
        first = int(self.cuts[0])
        whole = self.body[first : self.cuts[-1]].tobytes()
        return [whole[a:b] if b > a else None for a, b in pairwise((self.cuts - first).tolist())]


def no_values(count: int) -> Values:
    """Make values that are all absent."""
    return Values(np.zeros(PADDING_BYTES, dtype=np.uint8), np.zeros(count + 1, dtype=np.int64))
