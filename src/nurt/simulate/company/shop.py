"""Simulate some days of two shops and an ERP: the demo's change streams."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from nurt.model.raw import Headers
from nurt.ports.registry import SchemaRegistry
from nurt.simulate.company import erp_books, shop_customers, shop_orders
from nurt.simulate.company.people import invent_person
from nurt.simulate.company.tables import ERP, demo_connectors
from nurt.simulate.company.world import DAY_US, HOUR_US, Deed, Life, World
from nurt.simulate.connector.debezium import Connector
from nurt.simulate.connector.messages import MessageWriter

_FAMILY_SHARE = 0.06  # lives with the previous person and shares the phone
_STANDING_SHARE = 0.25  # had an account before the connectors started


@dataclass(frozen=True, slots=True)
class Simulated:
    """Summary of a simulation: messages by topic, and what people did."""

    messages: Mapping[str, int]
    deeds: Mapping[str, int]

    @property
    def total(self) -> int:
        """Count all messages."""
        return sum(self.messages.values())


class _Counted:
    """Writer that passes messages on and counts them by topic."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer
        self.counts: dict[str, int] = {}

    def write(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int
    ) -> None:
        self.counts[topic] = self.counts.get(topic, 0) + 1
        self._writer.write(topic, partition, key, value, headers, timestamp_ms)


def simulate(
    seed: int,
    customers: int,
    days: int,
    writer: MessageWriter,
    progress: Callable[[int, int], None] | None = None,
    *,
    registry: SchemaRegistry,
    last_day: date = date(2026, 3, 31),
    partitions: int = 4,
    wait: Deed | None = None,
) -> Simulated:
    """Write the messages of the databases' connectors over some days; the same arguments write the same bytes.

    `customers` people live `days` days that end with `last_day`; in 60 days one makes about 30 row changes and 25
    transaction markers. `progress` is called with (days done, days). `wait` is called with the moment (us) of each
    event before it happens, and may sleep.
    """
    counted = _Counted(writer)
    end_us = (last_day + timedelta(days=1) - date(1970, 1, 1)).days * DAY_US
    start_us = end_us - days * DAY_US
    connectors = demo_connectors(counted, registry, partitions=partitions, start_us=start_us - HOUR_US)
    world = World(random.Random(seed), connectors, start_us, end_us)
    lives = _people(world, customers)
    erp_books.open_books(world)
    standing = lives[: int(customers * _STANDING_SHARE)]
    for life in standing:
        _load_account(world, life)
    for connector in connectors.values():
        connector.snapshot()
    for number, life in enumerate(lives):
        _plan(world, life, registered=number < len(standing))
    _plan_jobs(world)
    for day in range(days):
        world.run_until(start_us + (day + 1) * DAY_US, wait)
        if progress is not None:
            progress(day + 1, days)
    return Simulated(dict(counted.counts), dict(world.deeds))


def _people(world: World, customers: int) -> list[Life]:
    lives: list[Life] = []
    for number in range(customers):
        family = lives[-1].person if lives and world.rng.random() < _FAMILY_SHARE else None
        lives.append(Life(invent_person(world.rng, number, family)))
    world.rng.shuffle(lives)
    return lives


def _load_account(world: World, life: Life) -> None:
    """Give a person an old account, and some people a contractor."""
    before_us = world.start_us - world.rng.randrange(1, 900) * DAY_US
    shop, system = world.shop_of(life), life.person.country.shop
    life.customer_id = world.next_id(system, "customer_entity")
    row = shop_customers.account_row(world, life, life.customer_id, before_us)
    shop.load("customer_entity", [{**row, "confirmation": None}])
    shop.load("customer_address_entity", [shop_customers.address_row(world, life, life.customer_id, before_us)])
    if life.person.firm or world.rng.random() < 0.3:
        life.contractor_id = world.next_id("erp", "contractor")
        contractor = erp_books.contractor_row(world, life, life.contractor_id, before_us)
        world.connectors["erp"].load("contractor", [contractor])


def _plan(world: World, life: Life, registered: bool) -> None:
    """Plan a person's days: when they come, what they change, how often they order."""
    rng = world.rng

    def some_time(earliest_us: int) -> int:
        return rng.randrange(earliest_us, world.end_us)

    def plan(chance: float, deed: Callable[[World, Life, int], None], after_us: int) -> None:
        if rng.random() < chance and after_us < world.end_us:
            world.later(_by_day(rng, some_time(after_us)), partial(deed, world, life))

    came_us = world.start_us
    if not registered:
        came_us = some_time(world.start_us)
        if rng.random() < 0.3:  # first a guest, perhaps an account later
            world.later(came_us, partial(shop_orders.place, world, life))
            plan(0.5, shop_customers.register, came_us)
        else:
            world.later(came_us, partial(shop_customers.register, world, life))
    for _ in range(min(12, int(rng.expovariate(1 / 2.2)))):
        plan(1.0, shop_orders.place, came_us)
    for _ in range(rng.choice((0, 1, 2, 3))):
        plan(1.0, shop_customers.visit, came_us)
    plan(0.10, shop_customers.register_again, came_us)
    plan(0.12, shop_customers.change_email, came_us)
    plan(0.05, shop_customers.change_phone, came_us)
    plan(0.08, shop_customers.move_house, came_us)
    plan(0.40, shop_customers.subscribe, came_us)
    plan(0.03, shop_customers.leave, came_us)
    plan(0.06, erp_books.book_contractor, came_us)
    plan(0.15, erp_books.correct_contractor, came_us)
    plan(0.02, erp_books.renumber_contractor, came_us)


def _by_day(rng: random.Random, at_us: int) -> int:
    """Move a moment into the hours in which people are awake."""
    return at_us // DAY_US * DAY_US + rng.randrange(6 * HOUR_US, 22 * HOUR_US)


def _plan_jobs(world: World) -> None:
    """Plan events without people: heartbeats, prices, a restart of a connector, a snapshot of a table."""
    middle_us = (world.start_us + world.end_us) // 2
    for connector in world.connectors.values():
        world.later(world.start_us + HOUR_US, partial(_beat, world, connector))
        world.later(middle_us, partial(_restart, connector))
        world.later(middle_us + DAY_US // 2, partial(_read_again, connector))
    world.later(world.start_us + 9 * HOUR_US, partial(erp_books.change_price, world))


def _beat(world: World, connector: Connector, at_us: int) -> None:
    connector.heartbeat(at_us)
    world.later(at_us + 6 * HOUR_US, partial(_beat, world, connector))


def _restart(connector: Connector, at_us: int) -> None:
    connector.redeliver(40)


def _read_again(connector: Connector, at_us: int) -> None:
    connector.incremental_snapshot("contractor" if connector.prefix == ERP else "customer_entity", at_us)
