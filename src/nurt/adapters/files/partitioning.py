"""The partitions of an archive's topics: read ahead once, where the place of a key has to tell what is newer."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nurt.adapters.files.archive_lines import Entry, LinesFile
from nurt.adapters.files.avro_container import ContainerFile, containers_in
from nurt.model.log import KeyPlaces
from nurt.translate.key_places import are_hashed

ENTRIES_AT_A_TIME = 10_000
KEYS_KEPT = 100
"""Keys of the last messages of each partition that are looked at."""


class ArchivePartitioning:
    """The partitions of the topics of some folders; implements `ports.log.Partitioning`.

    An archive does not say how many partitions a topic has: as many as have messages. `partitions` does not read it.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._places: dict[str, KeyPlaces] = {}
        self._written: dict[str, dict[int, _Written]] = {}

    def partitions(self, topic: str) -> int:
        """See ports.log.Partitioning; 0 until `key_places` was asked."""
        known = self._places.get(topic)
        return 0 if known is None else known.partitions

    def key_places(self, topic: str, partition: int) -> KeyPlaces:
        """See ports.log.Partitioning; reads the whole archive at the first call, and when it has grown."""
        if self.partitions(topic) <= partition:
            self._read()
        return self._places.get(topic, KeyPlaces())

    def offsets_at(self, topic: str, time_ms: int) -> tuple[int, ...]:
        """See ports.log.Partitioning; reads the whole archive at the first call of a topic, and when it has grown."""
        if not any(one.latest_ms >= time_ms for one in self._written.get(topic, {}).values()):
            self._written[topic] = {}
            for entry in self._entries():
                if entry[0] == topic:
                    self._written[topic].setdefault(entry[1], _Written()).add(entry[2], entry[3])
        written = self._written[topic]
        return tuple(written.get(one, _Written()).offset_at(time_ms) for one in range(max(written, default=-1) + 1))

    def _read(self) -> None:
        keys: dict[str, dict[int, deque[bytes]]] = defaultdict(dict)
        for topic, partition, _, _, key, _, _, _ in self._entries():
            kept = keys[topic].get(partition)
            if kept is None:
                kept = keys[topic][partition] = deque(maxlen=KEYS_KEPT)
            if key is not None:
                kept.append(key)
        for topic, by_partition in keys.items():
            count = max(by_partition) + 1
            self._places[topic] = KeyPlaces(
                count, are_hashed({partition: list(some) for partition, some in by_partition.items()}, count)
            )

    def _entries(self) -> Iterator[Entry]:
        for folder in self._folders:
            for path in sorted(folder.glob("messages*.jsonl")):
                yield from _entries_of(LinesFile(path, follow=False))
            for path in containers_in(folder):
                yield from _entries_of(ContainerFile(path))


@dataclass(slots=True)
class _Written:
    """Times at which a partition's messages were written; only those that are later than all before them."""

    times_ms: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    following: int = 0

    @property
    def latest_ms(self) -> int:
        return self.times_ms[-1] if self.times_ms else -1

    def add(self, offset: int | None, time_ms: int) -> None:
        offset = self.following if offset is None else offset
        self.following = max(self.following, offset + 1)
        if time_ms > self.latest_ms:
            self.times_ms.append(time_ms)
            self.offsets.append(offset)

    def offset_at(self, time_ms: int) -> int:
        at = bisect_left(self.times_ms, time_ms)
        return self.offsets[at] if at < len(self.offsets) else self.following


def _entries_of(file: LinesFile | ContainerFile) -> Iterator[Entry]:
    try:
        while entries := file.read(ENTRIES_AT_A_TIME):
            yield from entries
    finally:
        file.close()
