"""One message a line of JSON: how an archive's `messages*.jsonl` is read and appended to.

A line holds `topic`, `partition`, `offset`, `timestamp` (ms), `key_b64`, `value_b64` (null: tombstone) and
`headers_b64` (pairs of name and base64). Other members are for human readers and are ignored.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import zlib
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from nurt.adapters.durable import sync_folder
from nurt.errors import ConfigurationError, OffsetLost
from nurt.model.raw import DAMAGED_TOPIC, Headers, RawBatch

PARTITION_MAX, OFFSET_MAX, TIMESTAMP_MAX_MS = (1 << 20) - 1, (1 << 62) - 1, 1 << 53
"""A topic has fewer partitions (a batch takes memory up to its highest one); Kafka's offsets are int64; a time beyond
this one is none of a calendar."""

Entry = tuple[str, int, int | None, int, bytes | None, bytes | None, Headers | None, int]
"""Topic, partition, offset (None: the line names none), timestamp in ms, key, value, headers, position in the file."""


def damaged(path: Path, position: int, content: bytes) -> Entry:
    """Pass on what cannot be read as a message, so that it ends in quarantine with its bytes and its place.

    The partition is the file's number and the offset is the byte position: both are the same at every reading.
    """
    headers: Headers = [("nurt-file", os.fsencode(path))]
    return DAMAGED_TOPIC, number_of(path), position, 0, None, content, headers, position


def repeated(path: Path, entry: Entry) -> tuple[str, int, int, Headers]:
    """Place a message whose offset its partition has passed: with its own offset, a restart would skip it."""
    topic, headers, position = entry[0], entry[6], entry[7]
    kept: Headers = [*(headers or ()), ("nurt-file", os.fsencode(path)), ("nurt-topic", topic.encode())]
    return DAMAGED_TOPIC, number_of(path), position, kept


def number_of(path: Path) -> int:
    """Number a file, the same at every start and for every worker."""
    return zlib.crc32(os.fsencode(path.resolve())) & 0x7FFFFFFF


def open_file(path: Path) -> BinaryIO:
    """Open a file of an archive; what may wait or never end (a pipe, a device), or is a folder, is refused.

    Raises ConfigurationError when there is no such file, or nurt may not read it.
    """
    try:
        found = "" if stat.S_ISREG(path.stat().st_mode) else "it is no file"
        if not found:
            return path.open("rb")
    except OSError as error:
        found = error.strerror or type(error).__name__
    raise ConfigurationError(
        f"reading archive {path}: {found} (a file that nurt may read); restore the file, or move it out of the archive"
    )


class LinesFile:
    """Reader of the lines of one file, from its beginning, in order."""

    def __init__(self, path: Path, follow: bool) -> None:
        self.path = path
        self._file = open_file(path)
        self.follow = follow
        self._position = 0

    def read(self, rows_max: int) -> list[Entry]:
        """Read up to `rows_max` lines; fewer lines mean that there are no more now.

        When following, a last line without newline is left until it is whole; else it is read as it is.

        Raises OffsetLost when the file became shorter: the next lines are gone.
        """
        lines = list(islice(self._file, rows_max))
        if not lines:
            if self.follow and self.path.stat().st_size < self._position:
                raise OffsetLost(
                    f"following archive {self.path}: it became shorter than byte {self._position} (it is append-only); "
                    "restore the file, or rebuild with `nurt run --rebuild`"
                )
            return []
        if self.follow and not lines[-1].endswith(b"\n"):
            self._file.seek(-len(lines.pop()), os.SEEK_CUR)
        entries: list[Entry] = []
        position = self._position
        for line in lines:
            try:
                entries.append(_entry(orjson.loads(line), position))
            except (ValueError, TypeError, KeyError):
                if line.strip():  # an empty line holds nothing
                    entries.append(_entry_of_odd_line(self.path, position, line))
            position += len(line)
        self._position = position
        return entries

    def bytes_left(self) -> int:
        """Return how much of the file has not been read."""
        return max(0, self.path.stat().st_size - self._position)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _entry(line: dict[str, Any], position: int) -> Entry:
    topic, partition, offset = line["topic"], line.get("partition", 0), line.get("offset")
    timestamp_ms = line.get("timestamp", 0)
    if not (type(topic) is str and type(partition) is int and type(timestamp_ms) is int):
        raise TypeError
    if not (0 <= partition <= PARTITION_MAX and abs(timestamp_ms) <= TIMESTAMP_MAX_MS):
        raise ValueError
    if not (offset is None or (type(offset) is int and 0 <= offset <= OFFSET_MAX)):
        raise ValueError
    key, value, headers = line.get("key_b64"), line["value_b64"], line.get("headers_b64")
    return (
        _name(topic),
        partition,
        offset,
        timestamp_ms,
        None if key is None else a2b_base64(key, strict_mode=True),
        None if value is None else a2b_base64(value, strict_mode=True),
        [(_name(name), None if text is None else a2b_base64(text, strict_mode=True)) for name, text in headers]
        if headers
        else None,
        position,
    )


def _name(name: object) -> str:
    if type(name) is not str:
        raise TypeError
    name.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return name


def _entry_of_odd_line(path: Path, position: int, line: bytes) -> Entry:
    """Read a line that only Python's lenient reader takes (NaN in the decoded part), else pass it on as damaged."""
    try:
        return _entry(json.loads(line), position)
    except (ValueError, TypeError, KeyError, RecursionError):
        return damaged(path, position, line.rstrip(b"\r\n"))


class ArchiveWriter:
    """Writer that appends messages to `<folder>/messages.jsonl` and numbers each partition on; one writer at a time.

    What was written before `flush` returned is durable. After a crash the file may end in a part of a line that was
    never flushed: this part is closed with a newline, so that a reader reports it instead of joining it to the next
    line.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "messages.jsonl"
        self._file = self.path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ConfigurationError(
                f"writing archive {self.path}: another process is writing it (one at a time); "
                "wait for it to end or choose another folder"
            ) from None
        sync_folder(folder)
        self._next = self._numbered()

    def write(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        timestamp_ms: int = 0,
    ) -> int:
        """Append one message; return its offset, the next one of its partition."""
        offset = self._next.get((topic, partition), 0)
        self._next[topic, partition] = offset + 1
        self._file.write(_line(topic, partition, offset, timestamp_ms, key, value, headers))
        return offset

    def write_batch(self, batch: RawBatch) -> None:
        """Append a batch unchanged, with its own offsets: a recording of a topic.

        Raises ValueError when an offset is not after what the archive holds of its partition; nothing is then written.
        """
        following = dict[tuple[str, int], int]()
        lines = []
        for partition, offset, timestamp_ms, key, value, headers in zip(
            batch.partitions, batch.offsets, batch.timestamps_ms, batch.keys, batch.values, batch.headers, strict=True
        ):
            place = batch.topic, partition
            if offset < following.get(place, self._next.get(place, 0)):
                raise ValueError(
                    f"archiving topic {batch.topic} partition {partition}: offset {offset} is there already "
                    f"(offsets grow; the next is {following.get(place, self._next.get(place, 0))}); write it once"
                )
            following[place] = offset + 1
            lines.append(_line(batch.topic, partition, offset, timestamp_ms, key, value, headers))
        self._file.writelines(lines)
        self._next.update(following)

    def flush(self) -> None:
        """Make everything written so far durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def next_offsets(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of every partition that the archive holds."""
        return dict(self._next)

    def close(self) -> None:
        """Flush, close, and let the next writer in."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _numbered(self) -> dict[tuple[str, int], int]:
        following = dict[tuple[str, int], int]()
        reader = LinesFile(self.path, follow=False)
        while entries := reader.read(10_000):
            for topic, partition, offset, *_ in entries:
                place = topic, partition
                if topic != DAMAGED_TOPIC:
                    next_offset = following.get(place, 0) if offset is None else offset
                    following[place] = max(following.get(place, 0), next_offset + 1)
        reader.close()
        size = self.path.stat().st_size
        if size:
            with self.path.open("rb") as file:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    self._file.write(b"\n")
        return following


def _line(
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers | None,
) -> bytes:
    line = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp_ms,
        "key_b64": _base64(key),
        "value_b64": _base64(value),
        "headers_b64": [[name, _base64(content)] for name, content in headers or ()],
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _base64(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()
