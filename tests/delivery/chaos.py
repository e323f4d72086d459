"""Histories for deliveries: changes, merges, splits and erasures in batches, through faults and kills."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from nurt.delivery.journal import Message
from nurt.delivery.run.clock import DeliveryClock
from nurt.delivery.run.deliverer import Deliverer
from nurt.fake.server import Fake
from tests.delivery.scene import Scene, key_of

STEPS = ("intent noted", "answered", "answer noted", "batch noted")


class Killed(BaseException):
    """The worker ends here, as by kill -9: nothing after this happens."""


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every wait be short."""
    for name, value in {
        "nurt.delivery.retry.BACKOFF_S": 0.002,
        "nurt.delivery.retry.BACKOFF_S_MAX": 0.05,
        "nurt.delivery.retry.PARK_S": 0.05,
        "nurt.delivery.order_links.WAIT_S": 0.01,
        "nurt.delivery.order_links.WAIT_S_MAX": 0.1,
        "nurt.delivery.retry.PARK_S_MAX": 0.1,
        "nurt.delivery.breaker.OPEN_S": 0.02,
        "nurt.delivery.breaker.OPEN_S_MAX": 0.1,
        "nurt.delivery.run.sender.BUDGET_WAIT_S": 0.02,
    }.items():
        monkeypatch.setattr(name, value)


def history(scene: Scene, random: Random, people: int, changes: int, bad_share: float = 0.05) -> list[Message]:
    """Change people at random: values go there and back again, so that a forgotten write shows."""
    messages = []
    for _ in range(changes):
        number = random.randrange(people)
        dice = random.random()
        known = scene.profiles.get(number)
        if dice < 0.08 and known is not None:
            messages.append(scene.erase(number))
        elif dice < 0.16 and known is not None:
            messages.append(scene.merge(number, into=(number + 1) % people))
        else:
            fields: dict[str, Any] = {
                "email": f"{number}@{random.choice(('a', 'b'))}.pl",
                "first_name": random.choice(("Anna", "Ola")),
                "last_name": random.choice((None, "Nowak")),
                "loyalty_card": "bad" if random.random() < bad_share else None,
            }
            messages.append(scene.say(number, **{name: value for name, value in fields.items() if value}))
    return messages


@dataclass
class Hands:
    """People at the receiver: they delete, archive and merge rows at random moments, and make some anew.

    Attributes:
        gone: keys of rows that they took away.
        filled: keys of rows whose fields are theirs: another row was merged into it, or nurt cannot see that it is new.
        shows_ids: the receiver tells the id of each row when it is made, so nurt sees that one is new.
    """

    random: Random
    people: int
    share: float = 0.5
    shows_ids: bool = True
    gone: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)

    def __call__(self, fake: Fake, _at: int) -> None:
        if self.random.random() > self.share:
            return
        key, other = (key_of(self.random.randrange(self.people)) for _ in range(2))
        with fake.lock:
            match self.random.randrange(4):
                case 0:
                    done = fake.merge_by_hand(key, other)
                    self.filled |= {other} if done else set()
                case 1:
                    done = fake.make_anew_by_hand(key)
                    self.filled |= {key} if done and not self.shows_ids else set()
                case _:
                    done = fake.delete_by_hand(key)
        if done:
            self.gone.add(key)


def say_all(scene: Scene, people: int) -> list[Message]:
    """Change every live profile once more, in one field."""
    live = [number for number in range(people) if scene.profiles.get(number, {}).get("state") == "live"]
    messages = []
    for number in live:
        told = scene.profiles[number]
        fields = {name: told[name]["value"] for name in ("email", "last_name", "loyalty_card") if told[name]}
        messages.append(scene.say(number, **fields, first_name="Ewa"))
    return messages


def live_through(
    scene: Scene,
    fake: Fake,
    messages: Sequence[Message],
    random: Random,
    batch: int = 25,
    kill_share: float = 0.0,
    faults: Callable[[Fake, int], None] = lambda _fake, _at: None,
    clock: DeliveryClock | None = None,
) -> int:
    """Deliver a history; a killed worker is followed by another that begins at the last committed message."""
    kills = 0

    def fault(_step: str) -> None:
        if random.random() < kill_share:
            raise Killed

    committed = 0
    to = scene.deliverer(fault=fault, clock=clock)
    at = 0
    while committed < len(messages):
        faults(fake, committed)
        end = min(len(messages), at + random.randint(1, batch))
        try:
            to.deliver(messages[at:end])
            to.retry_parked()
        except Killed:
            kills += 1
            to = scene.deliverer(fault=fault, clock=clock)
            at = committed
            continue
        at = end
        if random.random() < 0.6 or at == len(messages):
            committed = at
    settle(scene, fake, scene.deliverer(clock=clock))
    return kills


def settle(scene: Scene, fake: Fake, to: Deliverer, seconds: float = 20.0) -> None:
    """End all faults and try what is parked until nothing is."""
    fake.faults.down = False
    fake.faults.error_rate = fake.faults.cut_before = fake.faults.cut_after = fake.faults.throttle_rate = 0.0
    until = time.monotonic() + seconds
    while scene.store().counts()["parked"] and time.monotonic() < until:
        to.retry_parked()
        time.sleep(0.01)
    assert scene.store().counts()["parked"] == 0
