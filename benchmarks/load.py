"""Make change events by the million: the load of our benchmarks.

Two jobs, both as Debezium writes them and readable with their schemas:

* `mixed` (`mixed_load`): the demo's shop `shop_pl` (so `presets/demo.yaml` maps it): customers 10%, addresses 10%,
  orders 30%, order lines 50%; a million customers by Zipf; MariaDB envelopes, updates with their full `before`.
* `orders` (`orders_load`, mapped by `ORDERS_MAPPING`): one table of orders, PostgreSQL envelopes of about 190 bytes
  and 35 fields, no `before`.

Run: python benchmarks/load.py mixed|orders [--events N] [--bootstrap HOST:PORT]
Without --bootstrap it only times the making. Messages carry no headers and no transaction block (Debezium's default
for the latter); a real connector adds four headers of about 180 bytes.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from nurt.model.raw import RawBatch
from nurt.simulate.bulk import orders_load
from nurt.simulate.bulk_shop import mixed_load
from nurt.simulate.schemas import SchemaBook

JOBS = {"mixed": mixed_load, "orders": orders_load}


def produce(job: Iterator[list[RawBatch]], bootstrap: str) -> int:
    """Produce a load to Kafka, each message to its partition; topics must be there. Returns how many messages."""
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
            messages = [  # without timestamps, which `produce_batch` does not take: the broker's log says when
                {"key": key, "value": value, "partition": partition}
                for key, value, partition in zip(batch.keys, batch.values, batch.partitions, strict=True)
            ]
            while len(producer) > 1_000_000:
                producer.poll(0.05)
            queued = producer.produce_batch(batch.topic, messages)
            assert queued == len(messages), "the producer's queue is full"
            sent += queued
    left = producer.flush(120)
    assert left == 0, f"{left} messages were not delivered"
    return sent


def make_topics(bootstrap: str, topics: list[str], partitions: int) -> None:
    """Make the topics of a load."""
    config = {"retention.ms": "-1"}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([NewTopic(name, partitions, 1, config=config) for name in topics]).values():
        made.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("job", choices=sorted(JOBS))
    parser.add_argument("--events", type=int, default=3_000_000)
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
        print(f"{chosen.job}: {sent:,} events produced in {took:.1f} s, {sent / took:,.0f}/s")
        return
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for batches in job:
        for batch in batches:
            counts[batch.topic] += len(batch)
            sizes[batch.topic] += sum(len(value) for value in batch.values if value is not None)
    took = time.perf_counter() - began
    for topic, count in counts.items():
        print(f"{topic}: {count:,} events, {sizes[topic] / count:.0f} bytes a value")
    print(f"{chosen.job}: {counts.total():,} events in {took:.1f} s, {counts.total() / took:,.0f}/s")


if __name__ == "__main__":
    main()
