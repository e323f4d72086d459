"""A profile in Redis: fields for the clock and the publisher, then the published Avro body."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nurt.columnar.types import ID_TEXT_BYTES
from nurt.model.units import Day

LIVE, REDIRECT, ERASED = 0, 1, 2
"""Values of the state byte. An erased profile keeps its revision, so that the tombstone can be published again."""

STATE_BITS = 2
"""The state byte holds the state in its low bits, and the body's version less 1 above them."""
VERSION_MAX = 1 << (8 - STATE_BITS)

_FORM = struct.Struct(">QqB")
HEAD_BYTES = _FORM.size


@dataclass(frozen=True, slots=True)
class KeptProfile:
    """Revision, state and body; a reader in any language skips 17 bytes and reads Avro.

    Attributes:
        due: the next day on which the clock changes the profile; -1: none.
        body: Avro body of the published schema, revision included; empty when erased.
        version: contract version of the body; 1 where there is no body.
    """

    revision: int
    due: Day
    state: int
    body: bytes
    version: int = 1

    def encode(self) -> bytes:
        """Write the stored form."""
        return _FORM.pack(self.revision, self.due, state_byte(self.state, self.version)) + self.body

    @staticmethod
    def decode(value: bytes | None) -> KeptProfile | None:
        """Read the stored form; None where nothing is stored."""
        if value is None:
            return None
        revision, due, byte = _FORM.unpack_from(value)
        state, version = byte & ((1 << STATE_BITS) - 1), (byte >> STATE_BITS) + 1
        return KeptProfile(revision, due, state, value[HEAD_BYTES:], version)


def state_byte(state: int, version: int) -> int:
    """Write the state byte: the state alone, for version 1 and for an erased profile."""
    assert 1 <= version <= VERSION_MAX, "the byte has room for so many versions"
    return state if state == ERASED else state | ((version - 1) << STATE_BITS)


def with_revision(content: bytes, revision: int) -> bytes:
    """Put a revision into a body with revision 0 (the field behind the id, an Avro string)."""
    assert content[ID_TEXT_BYTES] == 0, "the content was written with revision 0"
    return content[:ID_TEXT_BYTES] + _zigzag(revision) + content[ID_TEXT_BYTES + 1 :]


def _zigzag(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)
