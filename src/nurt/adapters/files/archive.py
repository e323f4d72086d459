"""An archive as the input: folders of recorded messages, read like the recorded topics."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from nurt.adapters.durable import locked, replace_file
from nurt.adapters.files.archive_lines import ArchiveWriter, Entry, LinesFile, repeated
from nurt.adapters.files.avro_container import ContainerFile, containers_in, schema_of
from nurt.errors import ConfigurationError, OffsetLost
from nurt.model.log import Committed, Leaders, Offsets, Witness, WitnessNotes, checksum_of
from nurt.model.raw import DAMAGED_TOPIC, RawBatch, RawRows

__all__ = ["ArchiveLog", "ArchiveWriter"]

LINES_PER_POLL_MAX = 100_000
"""Lines that one `poll` may skip (already done, another worker's) before it returns nothing."""


class ArchiveLog:
    """One worker's part of some archive folders; implements `ports.log.MessageLog`.

    A folder holds `messages*.jsonl` (read one after the other, in the order of their names) and `*.avro` object
    containers. A partition belongs to worker `(crc32(topic) + partition) % workers`: this spreads a topic's partitions
    as a sorted list would, and workers agree without reading the archive, which may still grow.

    Nothing is dropped silently: an entry that is not a message, or whose offset its partition has passed, is passed on
    under `DAMAGED_TOPIC`. Memory is bounded by what one `poll` may return.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        state: Path | None = None,
        topics: Sequence[str] = (),
        worker: int = 0,
        workers: int = 1,
        follow: bool = False,
    ) -> None:
        """Choose what to read.

        Args:
            state: folder for commits; None: nothing is remembered, every start is a first one.
            topics: names, or patterns that begin with `^` and match from there; none: every topic.
            follow: also read what is appended later; the log is then never exhausted.

        Raises ConfigurationError when a folder does not exist, or holds nothing to read and is not followed.
        """
        if not folders:
            raise ConfigurationError("opening archive: no folder is named (at least one); name one")
        for folder in folders:
            _check(folder, follow)
        self._folders = list(folders)
        self._state = None if state is None else state / "commits.json"
        self._topics = frozenset(topic for topic in topics if not topic.startswith("^"))
        self._patterns = tuple(re.compile(topic) for topic in topics if topic.startswith("^"))
        self._worker, self._workers, self._follow = worker, workers, follow
        self._begin: Offsets = {}
        self._tracks: dict[tuple[str, int], _Track] = {}
        self._streams: list[_Stream] = []
        self._turn = 0
        self._first: dict[tuple[str, int], Witness] = {}
        self._notes = WitnessNotes()

    def committed(self) -> Committed | None:
        """Return the last commits of this part's partitions, by any worker.

        (run, epoch) is the largest among them: the state must be at least as new as every commit of its input. Commits
        of an earlier run are left out: an overtaken process may have made them late.
        """
        ours = [entry for entry in self._commits() if self._owns(entry[0], entry[1])]
        if not ours:
            return None
        run, epoch = max((run, epoch) for _, _, _, run, epoch in ours)
        offsets = {(topic, partition): offset for topic, partition, offset, of, _ in ours if of == run}
        seen = self._kept("witnesses")
        last = {(topic, part): Witness(*last) for topic, part, last, _ in seen if last and (topic, part) in offsets}
        first = {(topic, part): Witness(*first) for topic, part, _, first in seen if first and (topic, part) in offsets}
        return Committed(offsets, run, epoch, last, first)

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        """Begin to read at `offsets`; partitions that `offsets` does not name begin at their earliest message.

        A missing offset shows when the archive has been read to its end: `poll` then raises.
        """
        self.close()
        self._begin = {place: offset for place, offset in (offsets or {}).items() if self._owns(*place)}
        self._tracks, self._turn = {}, 0
        self._first, self._notes = {}, WitnessNotes()
        if (known := self.committed()) is not None:
            for place, witness in known.last.items():
                if witness.offset < self._begin.get(place, 0):
                    self._notes.set(place, witness)
            self._first |= {place: one for place, one in known.first.items() if self._begin.get(place)}
        self._streams = [
            _Stream(folder, kind, self._follow) for folder in self._folders for kind in ("messages*.jsonl", "*.avro")
        ]

    def poll(self, rows_max: int) -> list[RawBatch]:
        """Return the messages that are there, one batch a topic and folder; folders take turns, each in its own order.

        Raises OffsetLost when a partition ends before the offset where it should begin: the archive was replaced.
        Raises ConfigurationError when two folders hold the same partition of one topic.
        """
        batches: dict[tuple[str, str], RawRows] = {}
        rows_left, lines_left = rows_max, max(rows_max, LINES_PER_POLL_MAX)
        for step in range(len(self._streams)):
            turn = (self._turn + step) % len(self._streams)
            while rows_left and lines_left and (entries := self._streams[turn].read(min(rows_left, lines_left))):
                lines_left -= len(entries)
                rows_left -= self._take(entries, turn, batches)
        self._turn = (self._turn + 1) % max(1, len(self._streams))
        if not batches and lines_left:
            self._check_begin()
        return [rows.batch() for rows in batches.values()]

    def leaders(self) -> Leaders:
        """See ports.log.MessageLog: an archive has no leaders."""
        return {}

    def offsets(self) -> Offsets:
        """Return the next offset of every partition of this part that was met or named, as of the last poll."""
        for place, track in self._tracks.items():
            if track.newest is not None:
                self._notes.note(place, track.following - 1, *track.newest[3:6])
                track.newest = None
        met = {place: track.following for place, track in self._tracks.items() if track.ours}
        return {place: max(self._begin.get(place, 0), met.get(place, 0)) for place in self._begin | met}

    def exhausted(self) -> bool:
        """Say whether every file has been read to its end; never before `start`, and never when following."""
        return bool(self._streams) and not self._follow and all(stream.ended() for stream in self._streams)

    def commit(self, committed: Committed) -> None:
        """Record that everything before these offsets is done; other workers' partitions stay as they are.

        Commits of a later run stay too: this process has been overtaken and will be fenced.
        """
        if self._state is None:
            return
        with locked(self._state.with_suffix(".lock")):
            stored = {(entry[0], entry[1]): entry for entry in self._commits()}
            seen = {(entry[0], entry[1]): entry for entry in self._kept("witnesses")}
            for (topic, partition), offset in committed.offsets.items():
                if (topic, partition) in stored and stored[topic, partition][3] > committed.run:
                    continue
                stored[topic, partition] = (topic, partition, offset, committed.run, committed.epoch)
                seen[topic, partition] = [topic, partition, *self._seen((topic, partition), offset)]
            witnesses = [seen[place] for place in sorted(seen)]
            content = {"version": 1, "partitions": sorted(stored.values()), "witnesses": witnesses}
            replace_file(self._state, orjson.dumps(content))

    def _seen(self, place: tuple[str, int], offset: int) -> list[list[int] | None]:
        """Say which messages the partition holds: the newest before an offset, and the first."""
        found = self._notes.before(place, offset), self._first.get(place)
        return [None if one is None else [one.offset, one.checksum] for one in found]

    def lag(self) -> int:
        """Estimate how many messages wait: bytes left over bytes a message took so far, among all workers."""
        left = sum(stream.bytes_left() for stream in self._streams)
        read = sum(stream.bytes_read for stream in self._streams)
        messages = sum(stream.messages_read for stream in self._streams)
        return round(left * messages / read / self._workers) if read else 0

    def close(self) -> None:
        """Close the files; never raises."""
        for stream in self._streams:
            stream.close()
        self._streams = []

    def _take(self, entries: list[Entry], turn: int, batches: dict[tuple[str, str], RawRows]) -> int:
        """Sort entries of one stream into batches; return how many were of this part and new."""
        tracks, taken, schemas = self._tracks, 0, str(self._streams[turn].folder)
        for entry in entries:
            topic, partition, written_offset, timestamp_ms, key, value, headers, _ = entry
            track = tracks.get((topic, partition)) or self._met(topic, partition, turn)
            if not track.wanted:
                continue
            if track.home != turn:
                self._refuse_second_home(topic, partition, track.home, turn)
            offset = track.following if written_offset is None else written_offset
            if offset < track.following:
                topic, partition, offset, headers = repeated(self._streams[turn].path(), entry)
                track = tracks.get((topic, partition)) or self._met(topic, partition, turn)
            if not track.following and track.ours:
                self._first[topic, partition] = Witness(offset, checksum_of(timestamp_ms, key, value))
            track.following = offset + 1
            if not track.ours or offset < track.begin:
                continue
            batch = batches.get((topic, schemas))
            if batch is None:
                batch = batches[topic, schemas] = RawRows(topic, schemas)
            batch.add(partition, offset, timestamp_ms, key, value, headers)
            track.newest = entry
            taken += 1
        return taken

    def _met(self, topic: str, partition: int, turn: int) -> _Track:
        begin = self._begin.get((topic, partition), 0)
        track = _Track(turn, self._wants(topic), self._owns(topic, partition), begin)
        self._tracks[topic, partition] = track
        return track

    def _owns(self, topic: str, partition: int) -> bool:
        share = (zlib.crc32(topic.encode()) + partition) % self._workers
        return share == self._worker and self._wants(topic)

    def _wants(self, topic: str) -> bool:
        if topic == DAMAGED_TOPIC or topic in self._topics or not (self._topics or self._patterns):
            return True
        return any(pattern.match(topic) for pattern in self._patterns)

    def _refuse_second_home(self, topic: str, partition: int, home: int, turn: int) -> None:
        raise ConfigurationError(
            f"reading archive topic {topic} partition {partition}: it is in {self._streams[home].name} and in "
            f"{self._streams[turn].name} (one of them: offsets count within one); put the files into one folder, "
            "or read one of them only"
        )

    def _check_begin(self) -> None:
        for place, track in self._tracks.items():
            # (Someone may have repaired damaged lines: that is no loss.)
            if track.ours and track.following < track.begin and place[0] != DAMAGED_TOPIC:
                raise OffsetLost(
                    f"resuming archive topic {place[0]} partition {place[1]} at offset {track.begin}: the archive ends "
                    f"at {track.following} (an archive only grows); restore it, or "
                    "start again: nurt then looks whether it is another one"
                )

    def _commits(self) -> list[tuple[str, int, int, int, int]]:
        """Read (topic, partition, offset, run, epoch) of every partition committed by any worker."""
        return [(topic, part, offset, run, epoch) for topic, part, offset, run, epoch in self._kept("partitions")]

    def _kept(self, what: str) -> list[Any]:
        """Read one list of the file of commits; a file of an earlier version has no witnesses."""
        if self._state is None or not self._state.exists():
            return []
        try:
            kept = orjson.loads(self._state.read_bytes())
            return [list(one) for one in (kept["partitions"] if what == "partitions" else kept.get(what, []))]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"reading commits {self._state}: {type(error).__name__} (the file that nurt wrote); "
                "restore it, or remove it to read the archive from its beginning"
            ) from error


@dataclass(slots=True)
class _Track:
    """Track of one partition while its files are read, from their beginning."""

    home: int  # the stream it lives in
    wanted: bool
    ours: bool
    begin: int
    following: int = 0  # the offset after the largest one met
    newest: Entry | None = None  # read since `offsets` was asked last


class _File(Protocol):
    path: Path

    def read(self, rows_max: int) -> list[Entry]: ...

    def bytes_left(self) -> int: ...

    def close(self) -> None: ...


class _Stream:
    """Files of one kind in one folder, as one sequence; when following, files may be added behind."""

    def __init__(self, folder: Path, kind: str, follow: bool) -> None:
        self.name = str(folder / kind)
        self.bytes_read = self.messages_read = 0
        self.folder, self._kind, self._follow = folder, kind, follow
        self._opened: set[Path] = set()
        self._file: _File | None = None

    def read(self, rows_max: int) -> list[Entry]:
        """Read up to `rows_max` entries of the current file, or of the next when that has ended; [] at the end."""
        while True:
            if self._file is None:
                path = next(self._waiting(), None)
                if path is None:
                    return []
                self._opened.add(path)
                self._file = ContainerFile(path) if self._kind == "*.avro" else LinesFile(path, self._follow)
            before = self._file.bytes_left()
            entries = self._file.read(rows_max)
            self.bytes_read += max(0, before - self._file.bytes_left())
            self.messages_read += len(entries)
            if entries:
                return entries
            last = next(self._waiting(), None) is None
            if self._follow and last:
                return []  # the file may grow, or its last line may be completed
            if not self._file.bytes_left():
                self._file.close()
                self._file = None
            elif isinstance(self._file, LinesFile) and not last:
                self._file.follow = False  # files follow it: nobody completes its last line
            else:
                return []

    def path(self) -> Path:
        """Return the file that the last entries came from."""
        assert self._file is not None
        return self._file.path

    def ended(self) -> bool:
        """Say whether every file there is now has been read to its end."""
        return (self._file is None or not self._file.bytes_left()) and next(self._waiting(), None) is None

    def bytes_left(self) -> int:
        """Return how many bytes are left to read, in the current file and in later ones."""
        return (self._file.bytes_left() if self._file else 0) + sum(path.stat().st_size for path in self._waiting())

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._file:
            self._file.close()

    def _waiting(self) -> Iterator[Path]:
        paths = containers_in(self.folder) if self._kind == "*.avro" else sorted(self.folder.glob(self._kind))
        return (path for path in paths if path not in self._opened)


def _check(folder: Path, follow: bool) -> None:
    if not folder.is_dir():
        raise ConfigurationError(
            f"opening archive {folder}: there is no such folder (one with messages*.jsonl or *.avro); correct the path"
        )
    held = containers_in(folder)
    for path in held:
        schema_of(path)
    if not (follow or held or any(folder.glob("messages*.jsonl"))):
        raise ConfigurationError(
            f"opening archive {folder}: it holds neither messages*.jsonl nor *.avro (something to read); "
            "correct the path, or follow it"
        )
