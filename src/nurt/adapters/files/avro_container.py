"""Avro object container files as an archive: each record is a message whose body is the record's own bytes.

Kafka Connect's S3, GCS and HDFS sinks write `<topic>+<partition>+<first offset>[+<last offset>].avro`: these names say
where a message came from. Any other file is one partition of the topic that its stem names, offsets from 0. Files of
keys and headers (`.keys.avro`, `.headers.avro`) are not messages and are left alone.

A message's value is `0x00`, a schema id, the record's bytes: Confluent's wire format, so that one decoder reads all.
The id is made from the schema itself (bit 30 set, 30 bits of its SHA-256): equal at every start and on every worker
without being stored, and different from a registry's ids, which count from 1.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fastavro
import orjson
import pyarrow

from nurt.adapters.files.archive_lines import OFFSET_MAX, PARTITION_MAX, Entry, damaged, open_file
from nurt.avro.schema import Node, parse_schema
from nurt.errors import ConfigurationError

HEADER_BYTES_MAX, BLOCK_BYTES_MAX, DAMAGED_BYTES_MAX = 1 << 24, 1 << 27, 1 << 20
"""Of a header; of a block, packed and unpacked; and of a damaged block, what is kept of it for people."""
EMPTY_RECORDS_MAX, WORK_MAX = 1_000, 100_000
"""Records of a block without bytes; and values within one record: records that name each other twice double them."""

_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_CONNECT_NAME = re.compile(r"(?P<topic>[\w.-]+)\+(?P<partition>\d{1,19})\+(?P<first>\d{1,19})(\+\d+)?", re.ASCII)
_NOT_MESSAGES = (".keys.avro", ".headers.avro")


def containers_in(folder: Path) -> list[Path]:
    """List the object container files of a folder, by topic, partition and first offset."""
    return sorted((path for path in folder.glob("*.avro") if not path.name.endswith(_NOT_MESSAGES)), key=place_of)


def place_of(path: Path) -> tuple[str, int, int]:
    """Read topic, partition and first offset from a file's name."""
    match = _CONNECT_NAME.fullmatch(path.stem)
    if match and int(match["partition"]) <= PARTITION_MAX and int(match["first"]) <= OFFSET_MAX:
        return match["topic"], int(match["partition"]), int(match["first"])
    return os.fsencode(path.stem).decode(errors="backslashreplace"), 0, 0


def schema_id_of(schema: Any) -> int:
    """Make the id of a writer schema from its content."""
    content = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    return 1 << 30 | int.from_bytes(hashlib.sha256(content).digest()[:4], "big") >> 2


def schema_of(path: Path) -> dict[str, Any]:
    """Read the writer schema of a container file.

    Raises ConfigurationError when the file is no container file, or nurt does not read its codec.
    """
    with open_file(path) as file:
        return _header(path, file)[0]


class ContainerFile:
    """Reader of the records of one container file, in order, a block at a time.

    A damaged block is passed on unchanged, and reading goes on behind the next sync marker. Source: Avro 1.11
    specification, "Object Container Files".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topic, self.partition, self._offset = place_of(path)
        self._file = open_file(path)
        schema, self._codec, self._sync = _header(path, self._file)
        self._wire = b"\0" + schema_id_of(schema).to_bytes(4, "big")
        self._schema = fastavro.parse_schema(schema)
        # Resolving into a record without fields makes fastavro skip everything: all we ask is where a record ends.
        self._nothing = {
            "type": "record",
            "name": schema["name"],
            "namespace": schema.get("namespace", ""),
            "fields": [],
        }
        self._entries: list[Entry] = []  # of the current block, in reverse

    def read(self, rows_max: int) -> list[Entry]:
        """Read up to `rows_max` records; fewer records mean the end of a block, none the end of the file."""
        if not self._entries and self.bytes_left():
            self._entries = self._block()[::-1]
        entries = self._entries[: -rows_max - 1 : -1]
        del self._entries[-rows_max:]
        return entries

    def bytes_left(self) -> int:
        """Return how many bytes have not been passed on: at least 1 while records of a block wait."""
        return max(self.path.stat().st_size - self._file.tell(), len(self._entries))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _block(self) -> list[Entry]:
        start = self._file.tell()
        first = self._offset
        try:
            count, size = _read_long(self._file), _read_long(self._file)
            if not 0 <= size <= min(self.path.stat().st_size, BLOCK_BYTES_MAX):
                raise ValueError
            if not 0 <= count <= BLOCK_BYTES_MAX:
                raise ValueError
            content = self._file.read(size)
            if len(content) < size or self._file.read(_SYNC_BYTES) != self._sync:
                raise ValueError
            self._offset += count  # of a damaged block too: later records keep their numbers
            return self._entries_of(self._codec(content), count, first, start)
        except Exception:  # codecs and decoders raise anything for damaged bytes
            return [damaged(self.path, start, self._bytes_to_next_sync(start))]

    def _entries_of(self, content: bytes, count: int, first: int, start: int) -> list[Entry]:
        if count > len(content) + EMPTY_RECORDS_MAX:
            raise ValueError
        body = io.BytesIO(content)
        entries: list[Entry] = []
        begin = 0
        for index in range(count):
            fastavro.schemaless_reader(body, self._schema, self._nothing)
            end = body.tell()
            value = self._wire + content[begin:end]
            entries.append((self.topic, self.partition, first + index, 0, None, value, None, start + index))
            begin = end
        if begin != len(content):
            raise ValueError
        return entries

    def _bytes_to_next_sync(self, start: int) -> bytes:
        """Go behind the next sync marker, or to the end; return the bytes before, DAMAGED_BYTES_MAX at most."""
        self._file.seek(start)
        kept = rest = b""
        while part := self._file.read(DAMAGED_BYTES_MAX):
            rest = rest[1 - _SYNC_BYTES :] + part
            found = rest.find(self._sync)
            if found >= 0:
                self._file.seek(found + _SYNC_BYTES - len(rest), os.SEEK_CUR)
                break
            kept = kept or part
        if self._file.tell() - start <= DAMAGED_BYTES_MAX:
            size = self._file.tell() - start
            self._file.seek(start)
            return self._file.read(size)
        return kept


def _header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], Callable[[bytes], bytes], bytes]:
    try:
        head = io.BytesIO(file.read(HEADER_BYTES_MAX))
        if head.read(len(_MAGIC)) != _MAGIC:
            raise ValueError
        metadata: Any = fastavro.schemaless_reader(head, {"type": "map", "values": "bytes"}, None)
        sync = head.read(_SYNC_BYTES)
        file.seek(head.tell())
        schema = orjson.loads(metadata["avro.schema"])
        if len(sync) < _SYNC_BYTES or schema["type"] != "record":
            raise ValueError
        _check_work(parse_schema(schema))
        fastavro.parse_schema(schema)
        codec = metadata.get("avro.codec", b"null").decode()
    except Exception as error:  # fastavro raises anything for damaged bytes
        raise ConfigurationError(
            f"reading archive {path}: {type(error).__name__} in its header (an Avro object container file of records); "
            "restore the file, or move it out of the archive"
        ) from error
    if codec not in _CODECS:
        raise ConfigurationError(
            f"reading archive {path}: its codec is {codec} (one of {', '.join(_CODECS)}); write it with one of these"
        )
    return schema, _CODECS[codec], sync


def _check_work(root: Node) -> None:
    """Raise ValueError when finding the end of a record could take far longer than its bytes are worth.

    A record within itself is refused, too: fastavro goes down into it on the processor's stack.
    """
    nodes = [*_nodes(root)]
    has_empty_items = any(node.kind == "array" and node.item.may_be_empty for node in nodes)
    if root.work > WORK_MAX or has_empty_items or any(node.is_recursive for node in nodes):
        raise ValueError


def _nodes(root: Node) -> Iterator[Node]:
    """Yield every type within a type once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += [*node.branches, *(type_ for _, type_ in node.fields)]


def _read_long(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1 ^ -(value & 1)
        shift += 7
        if shift > 63:
            raise ValueError


def _snappy(content: bytes) -> bytes:
    size = shift = at = 0
    while True:  # the uncompressed size leads, as a varint; a CRC-32 of the content trails
        size |= (content[at] & 0x7F) << shift
        shift += 7
        at += 1
        if content[at - 1] < 0x80 or shift > 63:
            break
    if size > BLOCK_BYTES_MAX:
        raise ValueError
    plain: bytes = pyarrow.decompress(content[:-4], decompressed_size=size, codec="snappy", asbytes=True)
    if zlib.crc32(plain) != int.from_bytes(content[-4:], "big"):
        raise ValueError
    return plain


def _zstandard(content: bytes) -> bytes:
    plain: bytes = pyarrow.CompressedInputStream(io.BytesIO(content), "zstd").read(BLOCK_BYTES_MAX + 1)
    if len(plain) > BLOCK_BYTES_MAX:
        raise ValueError
    return plain


def _unpacked(decompressor: Any, content: bytes) -> bytes:
    plain: bytes = decompressor.decompress(content, BLOCK_BYTES_MAX)
    if not decompressor.eof:  # a bomb, or cut off
        raise ValueError
    return plain


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": lambda content: _unpacked(zlib.decompressobj(wbits=-15), content),
    "bzip2": lambda content: _unpacked(bz2.BZ2Decompressor(), content),
    "xz": lambda content: _unpacked(lzma.LZMADecompressor(), content),
    "snappy": _snappy,
    "zstandard": _zstandard,
}
