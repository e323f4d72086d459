"""Make change events by the million: the load of our benchmarks.

Two jobs, both as Debezium writes them and readable with their schemas:

* `mixed` (`mixed_load`): the demo's shop `shop_pl` (so `presets/demo.yaml` maps it): customers 10%, addresses 10%,
  orders 30%, order lines 50%; a million customers by Zipf; MariaDB envelopes, whose `before` is the row that was there.
  1% of the changes are deletions, each followed by its tombstone, and 0.6% re-keys: a deletion, its tombstone and a
  creation, with the headers that name the other key.
* `orders` (`orders_load`, mapped by `ORDERS_MAPPING`): one table of orders, PostgreSQL envelopes of about 190 bytes
  and 35 fields, no `before`.

Run: python benchmarks/load.py mixed|orders [--events N] [--bootstrap HOST:PORT]
Without --bootstrap it only times the making. A message lies in the partition that CRC32 of its key's body names, so all
messages of a key lie in one, in their order. Messages carry no other headers and no transaction block (Debezium's
default for the latter); a real connector adds four headers of about 180 bytes.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import orders_load
from nurt.simulate.bulk.shop import mixed_load
from nurt.simulate.connector.schemas import SchemaBook

JOBS = {"mixed": mixed_load, "orders": orders_load}


def produce(job: Iterator[list[RawBatch]], bootstrap: str) -> int:
    """Produce a load to Kafka, each message to its partition; topics must be there. Returns how many it was."""
    options = {
        "bootstrap.servers": bootstrap,
        "linger.ms": 20,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": 2_000_000,
        "queue.buffering.max.kbytes": 1_000_000,
    }
    producer, sent = Producer(options), 0
    for batches in job:
        for batch in batches:
            while len(producer) > 1_000_000:
                producer.poll(0.05)
            by_partition: dict[int, list[int]] = {}
            for row, partition in enumerate(batch.partitions):
                by_partition.setdefault(int(partition), []).append(row)
            for partition, rows in by_partition.items():
                _produce(producer, batch, partition, rows)
            sent += len(batch)
    left = producer.flush(120)
    assert left == 0, f"{left} messages were not delivered"
    return sent


def _produce(producer: Producer, batch: RawBatch, partition: int, rows: list[int]) -> None:
    """Produce the messages of one partition in their order.

    `produce_batch` takes one partition for all (it does not look at a message's own), no timestamps (the broker's log
    says when) and no headers: messages that have some are produced one at a time.
    """
    held: list[dict[str, bytes | None]] = []

    def let_go() -> None:
        queued = producer.produce_batch(batch.topic, held, partition) if held else 0
        assert queued == len(held), "the producer's queue is full"
        held.clear()

    for row in rows:
        headers = batch.headers[row]
        if headers:
            let_go()
            producer.produce(batch.topic, batch.values[row], batch.keys[row], partition, headers=headers)
        else:
            held.append({"key": batch.keys[row], "value": batch.values[row]})
    let_go()


def make_topics(bootstrap: str, topics: list[str], partitions: int) -> None:
    """Make the topics of a load."""
    config = {"retention.ms": "-1"}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([NewTopic(name, partitions, 1, config=config) for name in topics]).values():
        made.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("job", choices=sorted(JOBS))
    parser.add_argument("--events", type=int, default=3_000_000, help="changes of rows")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--bootstrap", default="", help="produce there, into new topics")
    chosen = parser.parse_args()
    book = SchemaBook()
    next(iter(JOBS[chosen.job](1000, SchemaBook())))  # compiles
    job = JOBS[chosen.job](chosen.events, book, partitions=chosen.partitions)
    began = time.perf_counter()
    if chosen.bootstrap:
        first = next(job)
        make_topics(chosen.bootstrap, [batch.topic for batch in first], chosen.partitions)
        sent = produce(iter([first]), chosen.bootstrap) + produce(job, chosen.bootstrap)
        took = time.perf_counter() - began
        print(f"{chosen.job}: {sent:,} messages produced in {took:.1f} s, {sent / took:,.0f}/s")
        return
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for batches in job:
        for batch in batches:
            counts[batch.topic] += len(batch)
            sizes[batch.topic] += sum(len(value) for value in batch.values if value is not None)
    took = time.perf_counter() - began
    for topic, count in counts.items():
        print(f"{topic}: {count:,} messages, {sizes[topic] / count:.0f} bytes a value")
    print(f"{chosen.job}: {counts.total():,} messages in {took:.1f} s, {counts.total() / took:,.0f}/s")


if __name__ == "__main__":
    main()
