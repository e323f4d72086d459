"""What is packed by hand equals what redis-py packs, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from redis.connection import Connection

from nurt.adapters.redis.commands import PackedCommands
from nurt.columnar.values import Values
from nurt.model.state_write import StateWrite

ARGUMENTS = st.binary(max_size=40) | st.integers(0, 3).map(lambda power: b"x" * 10**power)


def by_redis_py(commands: Sequence[Sequence[bytes | str | int]]) -> bytes:
    return b"".join(Connection().pack_commands(commands))


def sent(packed: PackedCommands) -> bytes:
    return b"".join(packed.chunks)


@given(st.lists(ARGUMENTS, max_size=70), st.integers(1, 20))
@example([b"k" * size for size in (0, 9, 10, 99, 100, 999, 1000, 70_000)], 64)
def test_keys_are_packed_as_redis_py_packs_them(keys: list[bytes], keys_a_command: int) -> None:
    packed = PackedCommands()
    packed.add_keys(b"MGET", keys, keys_a_command)
    commands = [(b"MGET", *keys[at : at + keys_a_command]) for at in range(0, len(keys), keys_a_command)]
    assert sent(packed) == by_redis_py(commands)
    assert packed.replies == len(commands)


@given(st.dictionaries(ARGUMENTS, ARGUMENTS, max_size=70), st.integers(1, 20))
def test_pairs_are_packed_as_redis_py_packs_them(pairs: dict[bytes, bytes], pairs_a_command: int) -> None:
    packed = PackedCommands()
    packed.add_pairs(b"MSET", pairs, pairs_a_command)
    flat = [item for pair in pairs.items() for item in pair]
    step = 2 * pairs_a_command
    commands = [(b"MSET", *flat[at : at + step]) for at in range(0, len(flat), step)]
    assert sent(packed) == by_redis_py(commands)
    assert packed.replies == len(commands)


@given(st.lists(st.lists(ARGUMENTS | st.text(max_size=9) | st.integers(-(2**63), 2**63 - 1), max_size=9), max_size=9))
def test_commands_of_any_arguments_keep_their_order(commands: list[list[bytes | str | int]]) -> None:
    packed = PackedCommands()
    for arguments in commands:
        packed.add(b"NAME", *arguments)
    assert sent(packed) == by_redis_py([(b"NAME", *arguments) for arguments in commands])
    assert packed.replies == len(commands)


@given(st.lists(st.tuples(st.binary(min_size=3, max_size=3), st.none() | ARGUMENTS), max_size=140))
def test_a_block_is_packed_as_its_pairs_and_its_keys_are(pairs: list[tuple[bytes, bytes | None]]) -> None:
    held = {key: value or None for key, value in pairs}
    keys = np.frombuffer(b"".join(held), dtype=np.uint8).reshape(-1, 3)
    change = StateWrite()
    change.keep(keys, Values.of([*held.values()]))
    packed, expected = PackedCommands(), PackedCommands()
    for block in change.blocks:
        packed.add_block(b"MSET", block)
    for gone in change.gone:
        packed.add_key_rows(b"DEL", gone)
    expected.add_pairs(b"MSET", {key: value for key, value in held.items() if value is not None})
    expected.add_keys(b"DEL", [key for key, value in held.items() if value is None])
    assert sent(packed) == sent(expected)
    assert packed.replies == expected.replies
    change.flatten()
    assert change.put == {key: value for key, value in held.items() if value is not None}
