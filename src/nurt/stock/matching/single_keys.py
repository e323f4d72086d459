"""Tokens that only one paper has: most of them, so they are settled as arrays. Hot path; pure."""

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
class TokenRows:
    """Tokens of papers: whose, which, and whether the paper bears it or only names it."""

    owner: Int64s
    token: Words
    bears: Bools

    @classmethod
    def of(cls, frame: pl.DataFrame) -> TokenRows:
        """Take them from a frame of `tokens_of`."""
        return cls(frame[OWNER].to_numpy(), words(frame["token"]), frame["bears"].to_numpy())

    def dict_of(self, chosen: Bools, ids: list[bytes]) -> dict[tuple[bytes, bytes], bool]:
        """List some, each by the paper's id and the token."""
        rows = np.flatnonzero(chosen).tolist()
        return {(ids[self.owner[row]], self.token[row].tobytes()): bool(self.bears[row]) for row in rows}


@dataclass(frozen=True, slots=True, eq=False)
class Distinct:
    """The tokens of papers before a fold and after it, each once.

    Attributes:
        tokens: each once.
        of_before, of_now: by row, which of them it is.
    """

    tokens: Words
    of_before: Int64s
    of_now: Int64s

    @classmethod
    def of(cls, before: TokenRows, now: TokenRows) -> Distinct:
        """Number the tokens."""
        both = np.concatenate([before.token, now.token])
        codes, firsts = distinct(both)
        return cls(both[firsts], codes[: len(before.token)], codes[len(before.token) :])


def settle_lone(
    every: Distinct, before: TokenRows, now: TokenRows, papers: Words, stored: Values
) -> tuple[Bools, Bools, Values]:
    """Settle tokens that one paper of the batch has, and no other paper.

    Args:
        papers: ids by owner.
        stored: who has each token, as stored.

    Returns (by token: whether it is settled; whether its value is another; the value).
    """
    count = len(every.tokens)
    had, has = (np.bincount(some, minlength=count) for some in (every.of_before, every.of_now))
    owner, was = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    bears = np.zeros(count, dtype=np.bool_)
    owner[every.of_now], bears[every.of_now] = now.owner, now.bears
    was[every.of_before] = before.owner
    alone = (has == 1) & ((had == 0) | ((had == 1) & (was == owner)))
    size = np.diff(stored.cuts)
    value = np.zeros((count + 1, MEMBER_BYTES), dtype=np.uint8)
    value[:count, 0] = np.where(bears, _B, _N)
    value[:count, 1:] = np.ascontiguousarray(papers[owner] if count else papers[:0]).view(np.uint8).reshape(count, 16)
    single = np.flatnonzero(size == MEMBER_BYTES)
    held = stored.body[stored.cuts[single][:, None] + np.arange(MEMBER_BYTES)]
    same_paper, same = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    same_paper[single] = (held[:, 1:] == value[single, 1:]).all(axis=1)
    same[single] = same_paper[single] & (held[:, 0] == value[single, 0])
    settled = alone & ((size == 0) | same_paper)
    assert MEMBER_BYTES >= PADDING_BYTES, "the spare row is the padding"
    return settled, settled & ~same, Values(value.reshape(-1), np.arange(count + 1, dtype=np.int64) * MEMBER_BYTES)
