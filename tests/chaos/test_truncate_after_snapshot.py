"""A truncate after a second full snapshot, in a table of which some partitions were empty meanwhile."""

from __future__ import annotations

from zlib import crc32

from tests.oracle.engine import Engine
from tests.oracle.final_row import System
from tests.oracle.frames import batch_of
from tests.oracle.naming import DEPLOYMENT_IDS as IDS
from tests.oracle.sources import Connector, Event, Source
from tests.oracle.values import TODAY

HERE, THERE = (next(str(key) for key in range(9) if crc32(str(key).encode()) % 2 == partition) for partition in (0, 1))
"""Keys of rows that lie in partition 0, and in partition 1."""


def shop() -> Connector:
    log: list[Event] = []
    return Connector(Source(System("shop"), "postgres", 2, ("customer",), ("order",), False), log)


def published(connector: Connector) -> set[str]:
    """Feed everything in the order of writing; name the keys of the accounts that are published."""
    engine = Engine({"shop": connector.source.system}, {}, IDS.ids, TODAY)
    for event in connector.log:
        engine.feed(batch_of([event], IDS))
    return {account["key"] for profile in engine.drain(TODAY).values() for account in profile["accounts"]}


def test_a_row_written_after_a_truncate_lives_though_its_partition_missed_the_snapshot() -> None:
    connector = shop()
    connector.set_row("customer", "customer", HERE, email="ann@example.com")
    connector.commit()
    connector.snapshot()  # a new source epoch, but only in the partition that has rows
    connector.truncate_in("customer", "customer", partition=0)
    connector.set_row("customer", "customer", THERE, email="bob@example.com")
    assert published(connector) == {THERE}


def test_a_truncate_takes_all_rows_though_its_partition_missed_the_snapshot() -> None:
    connector = shop()
    connector.set_row("customer", "customer", HERE, email="ann@example.com")
    connector.commit()
    connector.snapshot()
    connector.truncate_in("customer", "customer", partition=1)
    assert published(connector) == set()
