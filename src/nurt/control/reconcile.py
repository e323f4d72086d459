"""Profiles that were published and that the state, come back older than it was, does not know so.

The launch of a rewound run compares what the outside was told with what the state keeps, and notes the differences in
the state itself: they outlive a crash. When all input has been read again the profiles' owners publish them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nurt.model.fence import Head, stamp
from nurt.model.stored_profile import ERASED, KeptProfile

STRAYS = b"x"
"""Key kind, under a shard's place: touches, each a profile id in hex and its realm, ended by U+001E."""

_END = b"\x1e"
Touch = tuple[str, bytes]


def is_behind(
    published: Mapping[bytes, tuple[int, str] | None],
    heads: Mapping[bytes, Head | None],
    place_of: Callable[[bytes], bytes],
) -> bool:
    """Say whether a profile was published with a revision above the head of its place: writes of the state are lost.

    What was committed cannot tell: the last writes before a crash are published before their offsets are committed.
    """
    for profile, told in published.items():
        head = heads[place_of(profile)]
        if told is not None and (head is None or told[0] > stamp(head.run, head.sequence)):
            return True
    return False


def find_strays(
    published: Mapping[bytes, tuple[int, str] | None],
    kept: Mapping[bytes, KeptProfile | None],
    realm_of: Callable[[KeptProfile], str],
) -> list[Touch]:
    """List the profiles whose newest publication is not the one that the state keeps.

    Args:
        published: profile -> (revision, realm), or None: erased.
        kept: the same profiles, as the state has them.
        realm_of: reads the realm out of a kept profile; what was erased says none.
    """
    strays: list[Touch] = []
    for profile, told in published.items():
        now = kept[profile]
        if told is not None and (now is None or now.revision != told[0]):
            strays.append((told[1], profile))
        elif told is None and now is not None and now.state != ERASED:
            strays.append((realm_of(now), profile))
    return strays


def encode_strays(touches: list[Touch]) -> bytes:
    """Write touches as one value."""
    return b"".join(profile.hex().encode() + realm.encode() + _END for realm, profile in touches)


def decode_strays(value: bytes | None) -> list[Touch]:
    """Read touches."""
    if not value:
        return []
    return [(one[32:].decode(), bytes.fromhex(one[:32].decode())) for one in value.split(_END)[:-1]]
