"""Archives that somebody else wrote: every line and block is a message or is passed on as damaged."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import fastavro
import orjson

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.errors import ConfigurationError
from nurt.model.raw import DAMAGED_TOPIC
from tests.fuzz.harness import mutated
from tests.unit.test_avro_container import PLAIN, rows

COUNT = 100_000
ODD = [
    b"null",
    b"-1",
    b"9223372036854775808",
    b"1e999",
    b'"\\ud800"',
    b"[]",
    b"{}",
    b"NaN",
    b"[" * 2_000,
    b'"!"',
    b"0.5",
]


def prepare() -> list[Any]:
    """Write sound archives: lines, and containers of each codec."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    with ArchiveWriter(folder) as writer:
        for number in range(6):
            writer.write("s.t", number % 2, b"k", b"v%d" % number if number else None, [("h", b"1")], 7)
    lines = (folder / "messages.jsonl").read_bytes()
    shutil.rmtree(folder)
    containers = []
    for codec in ("null", "deflate", "bzip2", "xz"):
        out = io.BytesIO()
        schema = fastavro.parse_schema(PLAIN)
        fastavro.writer(out, schema, rows(9), codec=codec, sync_interval=120, sync_marker=b"between 2 blocks")
        containers.append(out.getvalue())
    return [lines, containers, Path(tempfile.mkdtemp(prefix="fuzz-"))]


def attempt(random: Random, shared: list[Any]) -> str:
    """Read a damaged archive to its end."""
    lines, containers, home = shared
    folder = home / "archive"
    folder.mkdir()
    try:
        if random.random() < 0.5:
            (folder / "messages.jsonl").write_bytes(_lines(random, lines))
        else:
            name = random.choice(["t.avro", "s.t+1+5.avro", "s.t+1+99999999999999999999.avro"])
            (folder / name).write_bytes(mutated(random, random.choice(containers)))
        return _read(folder)
    finally:
        shutil.rmtree(folder)


def _lines(random: Random, lines: bytes) -> bytes:
    if random.random() < 0.5:
        return mutated(random, lines)
    line = orjson.loads(random.choice(lines.splitlines()))
    name = random.choice(list(line))
    parts = [
        orjson.dumps(key) + b":" + (random.choice(ODD) if key == name else orjson.dumps(line[key])) for key in line
    ]
    return lines + b"{" + b",".join(parts) + b"}\n"


def _read(folder: Path) -> str:
    try:
        log = ArchiveLog([folder])
    except ConfigurationError:
        return "refused at the start"
    log.start(None)
    damaged = 0
    try:
        while not log.exhausted():
            batches = log.poll(5)
            for batch in batches:
                for partition, offset, timestamp_ms in zip(
                    batch.partitions, batch.offsets, batch.timestamps_ms, strict=True
                ):
                    assert 0 <= partition < 1 << 31 and 0 <= offset < 1 << 63 and abs(timestamp_ms) < 1 << 63
                batch.topic.encode()
                damaged += batch.topic == DAMAGED_TOPIC
            if not batches and log.lag() == 0 and not log.exhausted():
                return "left open"
    finally:
        log.close()
    return "partly damaged" if damaged else "read"
