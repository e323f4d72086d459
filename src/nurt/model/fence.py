"""A place's fence: which run wrote the place last, and how far that run was."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_FORM = struct.Struct(">QQQ")
SEQUENCE_BITS = 40
EPOCH_BITS = 32


@dataclass(frozen=True, slots=True, order=True)
class FencingToken:
    """A fence (run, epoch, sequence), which vouches for all epochs of its run before `epoch`."""

    run: int
    epoch: int
    sequence: int

    def encode(self) -> bytes:
        """Write the token as 24 bytes."""
        return _FORM.pack(self.run, self.epoch, self.sequence)

    @staticmethod
    def decode(value: bytes | None) -> FencingToken | None:
        """Read a token; None where nothing is stored."""
        return None if value is None else FencingToken(*_FORM.unpack(value))


def stamp(run: int, sequence: int) -> int:
    """Join run and sequence into a stamp: larger for every later write, even after the store lost data."""
    return run << SEQUENCE_BITS | sequence


def pending_score(run: int, epoch: int) -> int:
    """Join run and epoch into a zset score; exact in a double up to two million runs."""
    return run << EPOCH_BITS | epoch
