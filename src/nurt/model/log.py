"""Positions in message logs, witnesses of what was read there, and a run's last commit in the control log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

Offsets = dict[tuple[str, int], int]
"""(topic, partition) -> the offset of the next message to read."""

Leaders = dict[tuple[str, int], int]
"""(topic, partition) -> the leader epoch of messages before an offset: brokers number the leaders of a partition."""

NO_LEADER = -1
"""Leader epoch that is not known, as brokers write it."""


@dataclass(frozen=True, slots=True)
class LogStand:
    """Place up to which a partition was read: the offset of the next message, and the leader epoch of those before."""

    partition: int
    offset: int
    leader: int


@dataclass(frozen=True, slots=True)
class KeyPlaces:
    """Where a topic's keys lie.

    Attributes:
        partitions: how many there are; 0: unknown.
        hashed: recent messages lie where Kafka's default partitioner puts their keys.
    """

    partitions: int = 0
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class Witness:
    """Witness of one message: its offset and a checksum. In another log, another message has this offset."""

    offset: int
    checksum: int


Witnesses = Mapping[tuple[str, int], Witness]
"""(topic, partition) -> witness of a message that was read there."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Last commit: the offsets to continue at, and the (run, epoch) that had done everything before them.

    Attributes:
        last: witness of the newest message before each offset, where one is known.
        first: witness of each partition's first message, of logs that are read from their beginning at each start.
        leaders: under which leader epoch the messages before each offset were read, where brokers tell it.
    """

    offsets: Offsets
    run: int
    epoch: int
    last: Witnesses = field(default_factory=dict)
    first: Witnesses = field(default_factory=dict)
    leaders: Mapping[tuple[str, int], int] = field(default_factory=dict)


def checksum_of(timestamp_ms: int, key: bytes | None, value: bytes | None) -> int:
    """Return a checksum of a message, which its copy in a mirrored or restored log has, too."""
    lengths = b"%d %d %d " % (timestamp_ms, -1 if key is None else len(key), -1 if value is None else len(value))
    return crc32(value or b"", crc32(key or b"", crc32(lengths)))


class WitnessNotes:
    """Notes of the newest message of each partition, as many as are read between two commits."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, int], list[Witness]] = {}

    def set(self, place: tuple[str, int], witness: Witness) -> None:
        """Begin a partition's notes with what an earlier run knew."""
        self._noted[place] = [witness]

    def note(
        self, place: tuple[str, int], offset: int, timestamp_ms: int, key: bytes | None, value: bytes | None
    ) -> None:
        """Note the newest message of a partition."""
        self._noted.setdefault(place, []).append(Witness(offset, checksum_of(timestamp_ms, key, value)))

    def before(self, place: tuple[str, int], offset: int) -> Witness | None:
        """Return the newest noted message below an offset, and forget those below it."""
        noted = self._noted.get(place)
        if not noted:
            return None
        below = [at for at, one in enumerate(noted) if one.offset < offset]
        if not below:
            return None
        del noted[: below[-1]]
        return noted[0]
