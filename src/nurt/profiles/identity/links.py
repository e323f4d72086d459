"""Texts of accounts' links (`kind U+001F value`, joined by U+001E), laid end to end. Hot path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES
from nurt.rows.children.contributions import gather


@dataclass(frozen=True, slots=True, eq=False)
class JoinedLinks:
    """Texts of links, one after another.

    Attributes:
        body: bytes of the texts, and PADDING_BYTES.
        cuts: where each text begins (n + 1); None has no bytes.
        known: False where the text is None.
    """

    body: Bytes
    cuts: Int64s
    known: Bools

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self.known)

    def text(self, row: int) -> str | None:
        """Give one text. Not for the hot path."""
        return self.body[self.cuts[row] : self.cuts[row + 1]].tobytes().decode() if self.known[row] else None

    def take(self, rows: Int64s) -> JoinedLinks:
        """Copy some texts."""
        cuts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(self.cuts[rows + 1] - self.cuts[rows], out=cuts[1:])
        body = np.zeros(int(cuts[-1]) + PADDING_BYTES, dtype=np.uint8)
        gather(self.cuts[rows], self.body, cuts, body)
        return JoinedLinks(body, cuts, self.known[rows])


def join_links(links: Sequence[str | None]) -> JoinedLinks:
    """Join texts of links."""
    texts = [(text or "").encode() for text in links]
    cuts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    body = np.frombuffer(bytearray().join([*texts, bytes(PADDING_BYTES)]), dtype=np.uint8)
    return JoinedLinks(body, cuts, np.array([text is not None for text in links], dtype=np.bool_))


def chain_links(many: Sequence[JoinedLinks]) -> JoinedLinks:
    """Put texts one after another."""
    bodies = [one.body[: one.cuts[-1]] for one in many]
    shifts = np.cumsum([0, *map(len, bodies)])
    cuts = [one.cuts[:-1] + shift for one, shift in zip(many, shifts, strict=False)]
    return JoinedLinks(
        np.concatenate([*bodies, np.zeros(PADDING_BYTES, dtype=np.uint8)]),
        np.concatenate([*cuts, shifts[-1:]]),
        np.concatenate([one.known for one in many]),
    )
