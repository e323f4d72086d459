"""Match keys of only one document: most keys, so they are settled as arrays. Hot path; pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from nurt.columnar.distinct import distinct, words
from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import PADDING_BYTES, Values
from nurt.state.table import OWNER
from nurt.stock.matching.components import MEMBER_BYTES

_B, _N = b"BN"


@dataclass(frozen=True, slots=True, eq=False)
class MatchKeyRows:
    """Match keys of documents: owner, key, and whether the document bears the key or only names it."""

    owner: Int64s
    match_key: Words
    bears: Bools

    @classmethod
    def of(cls, frame: pl.DataFrame) -> MatchKeyRows:
        """Take the rows from a frame of `match_keys_of`."""
        return cls(frame[OWNER].to_numpy(), words(frame["token"]), frame["bears"].to_numpy())

    def dict_of(self, chosen: Bools, ids: list[bytes]) -> dict[tuple[bytes, bytes], bool]:
        """List some rows, each by the document's id and the match key."""
        rows = np.flatnonzero(chosen).tolist()
        return {(ids[self.owner[row]], self.match_key[row].tobytes()): bool(self.bears[row]) for row in rows}


@dataclass(frozen=True, slots=True, eq=False)
class Distinct:
    """Match keys of documents before a fold and after it, each once.

    Attributes:
        match_keys: each once.
        of_before, of_now: by row, index of its match key.
    """

    match_keys: Words
    of_before: Int64s
    of_now: Int64s

    @classmethod
    def of(cls, before: MatchKeyRows, now: MatchKeyRows) -> Distinct:
        """Number the match keys."""
        both = np.concatenate([before.match_key, now.match_key])
        codes, firsts = distinct(both)
        return cls(both[firsts], codes[: len(before.match_key)], codes[len(before.match_key) :])


def settle_single(
    every: Distinct, before: MatchKeyRows, now: MatchKeyRows, sales_documents: Words, stored: Values
) -> tuple[Bools, Bools, Values]:
    """Settle match keys that one document of the batch has, and no other document.

    Args:
        sales_documents: ids by owner.
        stored: documents of each match key, as stored.

    Returns (by match key: whether it is settled; whether its value changed; the value).
    """
    count = len(every.match_keys)
    had, has = (np.bincount(some, minlength=count) for some in (every.of_before, every.of_now))
    owner, was = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    bears = np.zeros(count, dtype=np.bool_)
    owner[every.of_now], bears[every.of_now] = now.owner, now.bears
    was[every.of_before] = before.owner
    alone = (has == 1) & ((had == 0) | ((had == 1) & (was == owner)))
    size = np.diff(stored.cuts)
    value = np.zeros((count + 1, MEMBER_BYTES), dtype=np.uint8)
    value[:count, 0] = np.where(bears, _B, _N)
    value[:count, 1:] = (
        np.ascontiguousarray(sales_documents[owner] if count else sales_documents[:0]).view(np.uint8).reshape(count, 16)
    )
    single = np.flatnonzero(size == MEMBER_BYTES)
    stored_rows = stored.body[stored.cuts[single][:, None] + np.arange(MEMBER_BYTES)]
    same_document, same = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    same_document[single] = (stored_rows[:, 1:] == value[single, 1:]).all(axis=1)
    same[single] = same_document[single] & (stored_rows[:, 0] == value[single, 0])
    settled = alone & ((size == 0) | same_document)
    assert MEMBER_BYTES >= PADDING_BYTES, "the spare row is the padding"
    return settled, settled & ~same, Values(value.reshape(-1), np.arange(count + 1, dtype=np.int64) * MEMBER_BYTES)
