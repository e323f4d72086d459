"""Ids as the product makes them, remembered, for tests ask for the same few again and again."""

from __future__ import annotations

from functools import lru_cache

from nurt.columnar.ids import Ids


class RememberedIds:
    """Names texts like `Ids`, each once."""

    def __init__(self, secret: bytes) -> None:
        self.ids = Ids(secret)
        self._one = lru_cache(maxsize=100_000)(self.ids.one)

    def one(self, text: str) -> bytes:
        """Return the 16-byte id of a text."""
        return self._one(text)


DEPLOYMENT_IDS = RememberedIds(bytes(range(16)))
