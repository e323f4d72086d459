"""The small job of the benchmark counts every order once, also when it is killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from benchmarks.load import produce
from benchmarks.small_flow import Place, decode_offsets, read_counts, run
from nurt.avro import compile_reader
from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import orders_load
from nurt.simulate.connector.schemas import SchemaBook
from tests.services.stack.redis_server import RedisServer

EVENTS, CHUNK, PARTITIONS = 30_000, 10_000, 4
TOPIC = "load.public.orders"


@dataclass
class Counted:
    """The load on a broker, and what a plain loop makes of it."""

    bootstrap: str
    schemas: dict[int, object]
    counts: dict[int, tuple[int, int, int]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def counted(kafka_alone: str) -> Counted:
    from benchmarks.load import make_topics

    book = SchemaBook()
    chunks = list(orders_load(EVENTS, book, customers=5_000, partitions=PARTITIONS, chunk_rows=CHUNK))
    make_topics(kafka_alone, [TOPIC], PARTITIONS)
    assert produce(iter(chunks), kafka_alone) == EVENTS
    expected = Counted(kafka_alone, dict(book.schemas))
    for chunk in chunks:
        for batch in chunk:
            count(batch, expected)
    return expected


def count(batch: RawBatch, expected: Counted) -> None:
    """Count the plain way, with fields that another decoder reads."""
    values = [value for value in batch.values if value is not None]
    (schema_id,) = {int.from_bytes(value[1:5], "big") for value in values}
    paths = ["after.customer_id", "after.gross", "after.placed_at"]
    for customer, gross, placed in compile_reader(expected.schemas[schema_id], paths).read(values).frame.rows():  # type: ignore[arg-type]
        orders, total, last = expected.counts.get(customer, (0, 0, 0))
        amount = int.from_bytes(gross, "big", signed=True)
        expected.counts[customer] = orders + 1, total + amount, max(last, placed)


def test_the_small_job_counts_what_a_plain_loop_counts(counted: Counted, redis_url: str, tmp_path: Path) -> None:
    prefix = uuid.uuid4().hex[:8]
    place = Place(counted.bootstrap, TOPIC, counted.schemas, redis_url, tmp_path, prefix, prefix, rows_max=3_000)
    run(place)
    client = redis.Redis.from_url(redis_url)
    assert read_counts(client, prefix) == counted.counts
    run(place)
    assert read_counts(client, prefix) == counted.counts


@pytest.mark.parametrize("stop_at", [0.1, 0.5, 0.9])
def test_the_small_job_killed_in_the_middle_counts_every_order_once(
    counted: Counted, start_redis: Callable[..., RedisServer], tmp_path: Path, stop_at: float
) -> None:
    server = start_redis()
    schemas = tmp_path / "schemas.json"
    schemas.write_text(json.dumps(counted.schemas))
    command = [sys.executable, "-m", "benchmarks.small_flow", "--bootstrap", counted.bootstrap, "--topic", TOPIC]
    command += ["--schemas", str(schemas), "--redis", server.url, "--home", str(tmp_path), "--rows-max", "100"]
    client = redis.Redis.from_url(server.url)
    victim = subprocess.Popen(command)
    try:
        while done(client) < stop_at * EVENTS:
            assert victim.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
    finally:
        victim.kill()
        victim.wait()
    assert done(client) < EVENTS
    assert subprocess.run(command, check=False).returncode == 0
    assert read_counts(client) == counted.counts


def done(client: redis.Redis) -> int:
    """Tell how many events the state has counted."""
    held = client.get("small{00}n")
    assert held is None or isinstance(held, bytes)
    return sum(decode_offsets(held).values())
