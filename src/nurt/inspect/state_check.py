"""Walk over all stored values of a flow and name the damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nurt.adapters.redis.client import Redis
from nurt.adapters.redis.errors import naming_failures
from nurt.adapters.redis.outage import walk
from nurt.model.keys import Keys
from nurt.state.damage import Damage, find_damage, split_key

KEYS_AT_A_TIME = 1_000


def check_state(
    client: Redis, keys: Keys, forms: Mapping[bytes, str], seen: Callable[[int], object]
) -> Iterator[Damage]:
    """Yield the damage of all values, in no order; what changes meanwhile may be seen before or after.

    Args:
        client: returns bytes.
        keys: of the flow.
        forms: by kind of key: see `model.value_forms`.
        seen: called with how many keys there were since the last call.
    """
    server: Any = client
    with naming_failures(client):
        for found in walk(client, _literal(keys.prefix) + b"{*", KEYS_AT_A_TIME):
            wanted = [key for key in found if split_key(key)[0] in forms]
            if wanted:
                values = server.mget(wanted)
                yield from find_damage(forms, wanted, values)
                yield from _no_texts(server, [key for key, value in zip(wanted, values, strict=True) if value is None])
            seen(len(found))


def count_keys(client: Redis) -> int:
    """Count the keys of the whole server: at most so many are walked over."""
    server: Any = client
    with naming_failures(client):
        return int(server.dbsize())


def _no_texts(server: Any, keys: list[bytes]) -> Iterator[Damage]:
    """Name keys that hold no text at all: a value that is gone by now has no type."""
    for key in keys:
        type_ = server.type(key).decode()
        kind, id_ = split_key(key)
        if type_ not in ("none", "string") and len(id_) in (0, 16):
            yield Damage(kind.decode(errors="backslashreplace"), id_.hex(), f"a {type_} (expected a string)")


def _literal(text: bytes) -> bytes:
    return b"".join(b"\\%c" % byte if byte in b"*?[]\\" else b"%c" % byte for byte in text)
