"""The numbers of stored tables, of their columns and uses, under `<prefix>:joins`: they say what stored bytes mean.

They lie with the state, so that state which is restored from a copy keeps its own. They only grow.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from redis.exceptions import WatchError

from nurt.mapping.joins.compile import has_tables, numbers_for
from nurt.mapping.joins.numbers import Numbers, decode
from nurt.mapping.load import Mapping
from nurt.model.keys import Keys


def read_numbers(client: Any, keys: Keys) -> Numbers:
    """Return the numbers that the state knows; `client` does not decode replies."""
    return decode(client.get(keys.named("joins")))


def agree_on_numbers(client: Any, keys: Keys, mapping: Mapping) -> tuple[Numbers, bool]:
    """Give numbers to the tables of a mapping that have none; return all, and whether some are new.

    Two starts at once take turns (WATCH), so that a number never has two meanings.

    Raises:
        ConfigurationError: a table cannot have a number.
    """
    if not has_tables(mapping):
        return Numbers(), False
    name = keys.named("joins")
    while True:
        with client.pipeline() as pipe, suppress(WatchError):
            pipe.watch(name)
            stored = pipe.get(name)
            known = decode(stored)
            numbers = numbers_for(mapping, known)
            if numbers == known:
                return numbers, False
            pipe.multi()
            pipe.set(name, numbers.encode())
            pipe.execute()
            return numbers, True
