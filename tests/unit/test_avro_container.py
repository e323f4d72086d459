from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pyarrow
import pytest

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.avro_container import containers_in, place_of, schema_id_of, schema_of
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
