"""Profiles whose newest publication is unknown to a state that was restored from an older copy.

The launch of a rewound run compares published profiles with stored profiles, and writes the differences into the state,
so they survive a crash. When all input has been read again, the workers that own the profiles publish them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nurt.model.fence import FencingToken, stamp
from nurt.model.stored_profile import ERASED, KeptProfile

UNRECONCILED = b"x"
"""Key kind, under a shard's place: dirty keys, each a profile id in hex and its realm, ended by U+001E."""

_END = b"\x1e"
DirtyKey = tuple[str, bytes]


def is_behind(
    published: Mapping[bytes, tuple[int, str] | None],
    fences: Mapping[bytes, FencingToken | None],
    place_of: Callable[[bytes], bytes],
) -> bool:
    """Say whether a profile was published with a revision above its place's fence: then writes of the state are lost.

    Commits cannot show this: the last writes before a crash are published before their offsets are committed.
    """
    for profile, newest in published.items():
        fence = fences[place_of(profile)]
        if newest is not None and (fence is None or newest[0] > stamp(fence.run, fence.sequence)):
            return True
    return False


def find_unreconciled(
    published: Mapping[bytes, tuple[int, str] | None],
    kept: Mapping[bytes, KeptProfile | None],
    realm_of: Callable[[KeptProfile], str],
) -> list[DirtyKey]:
    """List the profiles whose newest publication is not the stored one.

    Args:
        published: profile -> (revision, realm), or None: erased.
        kept: the same profiles, as the state has them.
        realm_of: reads the realm of a stored profile; an erased profile has none.
    """
    unreconciled: list[DirtyKey] = []
    for profile, newest in published.items():
        now = kept[profile]
        if newest is not None and (now is None or now.revision != newest[0]):
            unreconciled.append((newest[1], profile))
        elif newest is None and now is not None and now.state != ERASED:
            unreconciled.append((realm_of(now), profile))
    return unreconciled


def encode_unreconciled(dirty_keys: list[DirtyKey]) -> bytes:
    """Write dirty keys as one value."""
    return b"".join(profile.hex().encode() + realm.encode() + _END for realm, profile in dirty_keys)


def decode_unreconciled(value: bytes | None) -> list[DirtyKey]:
    """Read dirty keys."""
    if not value:
        return []
    return [(one[32:].decode(), bytes.fromhex(one[:32].decode())) for one in value.split(_END)[:-1]]
