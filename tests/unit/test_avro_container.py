from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pyarrow
import pytest

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.avro_container import (
    BLOCK_BYTES_MAX,
    DAMAGED_BYTES_MAX,
    containers_in,
    place_of,
    schema_id_of,
    schema_of,
)
from nurt.columnar.varint import zigzag_bytes
from nurt.errors import ConfigurationError
from nurt.model.raw import DAMAGED_TOPIC, RawBatch

SCHEMA = {
    "type": "record",
    "name": "Row",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "email", "type": ["null", "string"]},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
        {
            "name": "inner",
            "type": ["null", {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "double"}]}],
        },
    ],
}


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": index * 7919,
            "email": None if index % 3 else f"żółw{index}@example.pl",
            "tags": ["a"] * (index % 4),
            "price": b"\x01" * (index % 5 + 1),
            "inner": {"x": index / 2} if index % 2 else None,
        }
        for index in range(count)
    ]


PLAIN = {**SCHEMA, "fields": [{**f, "type": "bytes"} if f["name"] == "price" else f for f in SCHEMA["fields"]]}  # type: ignore[dict-item]


def container(path: Path, count: int, codec: str = "null", block_bytes: int = 300) -> Path:
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(PLAIN), rows(count), codec=codec, sync_interval=block_bytes)
    return path


def drain(folder: Path, rows_max: int = 7, begin: dict[tuple[str, int], int] | None = None) -> list[RawBatch]:
    log = ArchiveLog([folder])
    log.start(begin)
    read: list[RawBatch] = []
    while not log.exhausted() or not read:
        read += log.poll(rows_max)
    return read


def decoded(batches: list[RawBatch]) -> list[Any]:
    values = [value for batch in batches for value in batch.values if batch.topic != DAMAGED_TOPIC]
    return [fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), PLAIN, None) for value in values]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
@pytest.mark.parametrize("rows_max", [1, 7, 10_000])
def test_every_record_becomes_a_message_with_its_own_bytes(tmp_path: Path, codec: str, rows_max: int) -> None:
    container(tmp_path / "shop.customers.avro", 100, codec)
    batches = drain(tmp_path, rows_max)
    assert {batch.topic for batch in batches} == {"shop.customers"}
    assert [offset for batch in batches for offset in batch.offsets] == list(range(100))
    assert decoded(batches) == rows(100)


@pytest.mark.parametrize("codec", ["snappy", "zstandard"])
def test_codecs_that_the_reader_brings_itself_are_read(tmp_path: Path, codec: str) -> None:
    """Made by hand: the libraries with which fastavro would write these are not nurt's."""
    body = io.BytesIO()
    for row in rows(50):
        fastavro.schemaless_writer(body, PLAIN, row)
    plain = body.getvalue()
    packed = pyarrow.compress(plain, codec="snappy" if codec == "snappy" else "zstd", asbytes=True)
    if codec == "snappy":
        packed += zlib.crc32(plain).to_bytes(4, "big")
    source = container(tmp_path / "t.avro", 0).read_bytes()
    sync = source[-16:]
    head = io.BytesIO()
    metadata = {"avro.schema": json.dumps(PLAIN).encode(), "avro.codec": codec.encode()}
    fastavro.schemaless_writer(head, {"type": "map", "values": "bytes"}, metadata)
    block = io.BytesIO()
    fastavro.schemaless_writer(block, "long", 50)
    fastavro.schemaless_writer(block, "bytes", packed)
    (tmp_path / "t.avro").write_bytes(b"Obj\x01" + head.getvalue() + sync + block.getvalue() + sync)
    assert decoded(drain(tmp_path)) == rows(50)


def test_the_schema_id_in_the_message_is_made_from_the_schema(tmp_path: Path) -> None:
    path = container(tmp_path / "t.avro", 1)
    (batch,) = drain(tmp_path)
    expected = schema_id_of(schema_of(path))
    assert (batch.values[0] or b"")[:5] == b"\0" + expected.to_bytes(4, "big")
    assert 1 << 30 <= expected < 1 << 31


def test_names_of_kafka_connect_say_topic_partition_and_offset(tmp_path: Path) -> None:
    assert place_of(Path("shop.orders+3+0000000120.avro")) == ("shop.orders", 3, 120)
    assert place_of(Path("shop.orders+3+0000000120+0000000140.avro")) == ("shop.orders", 3, 120)
    assert place_of(Path("orders.avro")) == ("orders", 0, 0)
    for name in ("t+0+20.avro", "t+0+3.avro", "t+0+3.keys.avro"):
        container(tmp_path / name, 2)
    assert [path.name for path in containers_in(tmp_path)] == ["t+0+3.avro", "t+0+20.avro"]
    assert [offset for batch in drain(tmp_path) for offset in batch.offsets] == [3, 4, 20, 21]


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    container(tmp_path / "t.avro", 100)
    assert [offset for batch in drain(tmp_path, begin={("t", 0): 93}) for offset in batch.offsets] == list(
        range(93, 100)
    )


@pytest.mark.parametrize("where", [0.4, 0.6, 0.8])
def test_a_damaged_block_is_handed_on_and_its_neighbours_are_read(tmp_path: Path, where: float) -> None:
    path = container(tmp_path / "t.avro", 200, "deflate")
    whole = path.read_bytes()
    at = int(len(whole) * where)
    path.write_bytes(whole[:at] + bytes(byte ^ 0x5A for byte in whole[at : at + 3]) + whole[at + 3 :])
    batches = drain(tmp_path)
    lost = [value for batch in batches if batch.topic == DAMAGED_TOPIC for value in batch.values]
    kept = decoded(batches)
    assert len(lost) in (1, 2)
    assert all(value is not None and value in path.read_bytes() for value in lost)
    assert 150 <= len(kept) < 200
    assert [row for row in rows(200) if row in kept] == kept


def test_a_container_cut_short_gives_what_it_has_and_the_rest_as_damaged(tmp_path: Path) -> None:
    path = container(tmp_path / "t.avro", 200)
    path.write_bytes(path.read_bytes()[:-25])
    batches = drain(tmp_path)
    kept = decoded(batches)
    assert kept == rows(200)[: len(kept)]
    assert len(kept) > 150
    assert sum(len(batch) for batch in batches if batch.topic == DAMAGED_TOPIC) == 1


def test_a_file_that_is_no_container_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.avro").write_bytes(b"PAR1 not avro")
    with pytest.raises(ConfigurationError, match="header"):
        ArchiveLog([tmp_path])


# -- what somebody else wrote


SYNC = b"between 2 blocks"


def headed(path: Path, schema: bytes, rest: bytes = b"", **metadata: bytes) -> Path:
    """Write a header of our own, and what follows."""
    pairs = {"avro.schema": schema, **metadata}
    parts = [zigzag_bytes(len(pairs))]
    for name, value in pairs.items():
        parts += [zigzag_bytes(len(name)), name.encode(), zigzag_bytes(len(value)), value]
    path.write_bytes(b"Obj\x01" + b"".join(parts) + b"\0" + SYNC + rest)
    return path


ROW = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "long"}]}


def doubled(times: int) -> dict[str, Any]:
    types: list[Any] = [{"type": "record", "name": "r0", "fields": []}]
    for at in range(1, times):
        fields = [{"name": name, "type": f"r{at - 1}"} for name in "ab"]
        types.append({"type": "record", "name": f"r{at}", "fields": fields})
    return {"type": "record", "name": "r", "fields": [{"name": f"f{at}", "type": one} for at, one in enumerate(types)]}


HEADERS = {
    "no JSON": b"{",
    "no schema": b"{}",
    "an unknown type": b'{"type": "record", "name": "r", "fields": [{"name": "a", "type": "b"}]}',
    "no name": b'{"type": "record", "fields": []}',
    "a list": b"[]",
    "no text": b"\xff\xfe",
    "deep": b'{"type": "record", "name": "r", "fields": [{"name": "a", "type": ' + b"[" * 3_000,
    "doubled": json.dumps(doubled(40)).encode(),
    "an array of nothing": json.dumps(
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}
    ).encode(),
    "within itself": json.dumps(
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "r"]}]}
    ).encode(),
}


@pytest.mark.parametrize("schema", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_cannot_be_read_is_refused_with_the_files_name(tmp_path: Path, schema: bytes) -> None:
    headed(tmp_path / "t.avro", schema)
    with pytest.raises(ConfigurationError, match=r"reading archive .*t\.avro"):
        ArchiveLog([tmp_path])


@pytest.mark.parametrize("codec", [b"\xff\xfe", b"lz4"])
def test_a_codec_that_is_none_is_refused(tmp_path: Path, codec: bytes) -> None:
    headed(tmp_path / "t.avro", json.dumps(ROW).encode(), **{"avro.codec": codec})
    with pytest.raises(ConfigurationError, match="reading archive"):
        ArchiveLog([tmp_path])


def test_metadata_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.avro").write_bytes(b"Obj\x01" + zigzag_bytes(2**60) + b"\x02a" + zigzag_bytes(2**60))
    with pytest.raises(ConfigurationError, match="reading archive"):
        ArchiveLog([tmp_path])


def bombs() -> dict[str, bytes]:
    zeros = bytes(1 << 16)
    flate, bz2_, xz = zlib.compressobj(9, wbits=-15), bz2.BZ2Compressor(), lzma.LZMACompressor()
    times = (BLOCK_BYTES_MAX >> 16) + 1
    return {
        "deflate": b"".join(flate.compress(zeros) for _ in range(times)) + flate.flush(),
        "bzip2": b"".join(bz2_.compress(zeros) for _ in range(times)) + bz2_.flush(),
        "xz": b"".join(xz.compress(zeros) for _ in range(times)) + xz.flush(),
        "snappy": zigzag_bytes(1 << 40) + bytes(40),
        "zstandard": bytes(pyarrow.compress(bytes(BLOCK_BYTES_MAX + 1), codec="zstd")),
    }


def block(count: int, content: bytes) -> bytes:
    return zigzag_bytes(count) + zigzag_bytes(len(content)) + content + SYNC


def test_a_bomb_is_a_damaged_block_and_the_next_block_is_read(tmp_path: Path) -> None:
    for codec, packed in bombs().items():
        folder = tmp_path / codec
        folder.mkdir()
        rest = block(5, packed) + block(2, b"")
        headed(folder / "t.avro", json.dumps(ROW).encode(), rest, **{"avro.codec": codec.encode()})
        batches = drain(folder)
        assert {batch.topic for batch in batches} == {DAMAGED_TOPIC}
        kept = [value for batch in batches for value in batch.values]
        assert len(kept) == 2 and all(value is not None and len(value) <= DAMAGED_BYTES_MAX for value in kept)


@pytest.mark.parametrize(("count", "damaged"), [(5_000_000, True), (2**62, True), (3, False)])
def test_records_without_bytes_are_read_while_they_are_few(tmp_path: Path, count: int, damaged: bool) -> None:
    empty = b'{"type": "record", "name": "r", "fields": []}'
    headed(tmp_path / "t.avro", empty, block(count, b""))
    topics = [batch.topic for batch in drain(tmp_path) for _ in batch.values]
    assert topics == ([DAMAGED_TOPIC] if damaged else ["t"] * count)


def test_a_large_damaged_block_is_passed_over_and_kept_in_part(tmp_path: Path) -> None:
    rest = block(1, b"\x02") + b"\xff" * (3 * DAMAGED_BYTES_MAX) + SYNC + block(1, b"\x04")
    headed(tmp_path / "t.avro", json.dumps(ROW).encode(), rest)
    found = [(batch.topic, len(value or b"")) for batch in drain(tmp_path) for value in batch.values]
    assert sorted(found) == sorted([("t", 6), (DAMAGED_TOPIC, DAMAGED_BYTES_MAX), ("t", 6)])


def test_a_name_with_numbers_that_kafka_does_not_have_is_a_topic(tmp_path: Path) -> None:
    assert place_of(Path("t+99999999999+0.avro")) == ("t+99999999999+0", 0, 0)
    assert place_of(Path("t+0+9999999999999999999.avro")) == ("t+0+9999999999999999999", 0, 0)
    assert place_of(Path("t+1048576+0.avro")) == ("t+1048576+0", 0, 0)


def test_a_name_that_is_no_text_gives_a_topic_that_is_one() -> None:
    assert place_of(Path(os.fsdecode(b"t\xff.avro"))) == ("t\\xff", 0, 0)
