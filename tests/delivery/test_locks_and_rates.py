"""Several workers of one destination: no two calls write one key at once, and all together keep the limit."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from nurt.adapters.receivers.webhook import Webhook
from nurt.delivery.run.deliverer import Deliverer
from nurt.delivery.run.key_locks import KeyLocks
from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook
from nurt.model.delivery import Call, CallFailure, CallResult, Limits, Op, Ref, RowOutcome, RowResult, Write
from tests.delivery.scene import Scene, mapping_of

MAPPING = """
kind: webhook
url: {url}
limits: {{rows_max: 4, rates: {rates}}}
objects:
  company: {{key: tax_id, fields: {{name: company}}, when_gone: keep}}
  contact: {{key: id, fields: {{email: email}}}}
"""


class Watched:
    """A receiver that notices when a key is written twice at once."""

    def __init__(self, *_mapping: object) -> None:
        self.limits = Limits(rows_max=4, concurrency=4)
        self.bucket = "watched"
        self.clashes = 0
        self.most = 0
        self._lock = threading.Lock()
        self._flying: Counter[tuple[str, str]] = Counter()
        self._calls = 0

    def send(self, call: Call) -> CallResult:
        keys = [(write.object, write.key) for write in call.writes]
        with self._lock:
            self._calls += 1
            self.most = max(self.most, self._calls)
            self.clashes += len(keys) != len(set(keys)) or any(self._flying[key] for key in keys)
            self._flying.update(keys)
        time.sleep(0.003)
        with self._lock:
            self._calls -= 1
            self._flying.subtract(keys)
        return CallResult(tuple(RowResult(RowOutcome.ACCEPTED) for _ in call.writes))

    def obey(self, spend: Callable[[], None]) -> None: ...

    def refresh(self) -> None: ...

    def verify(self) -> list[str]:
        return []

    def close(self) -> None: ...


def _workers(scene: Scene, key_locks: KeyLocks) -> list[Deliverer]:
    """Open two workers of one run."""
    first, second = scene.deliverer(key_locks=key_locks), scene.deliverer(key_locks=key_locks)
    first._store.run = second._store.run  # type: ignore[attr-defined]
    first._store._last_write_key = first._store.key("w1")  # type: ignore[attr-defined]
    return [first, second]


def test_no_key_is_ever_in_two_calls_at_once(redis_url: str) -> None:
    receiver = Watched()
    scene = Scene(Redis.from_url(redis_url), mapping_of(MAPPING.format(url="http://x", rates="[]")), lambda _: receiver)
    workers = _workers(scene, KeyLocks())
    shares = [
        [
            scene.say(n, email=f"{n}.{at}@x.pl", company=f"F{at}", tax_id=f"PL{n % 3}")
            for at in range(8)
            for n in range(60)
            if n % 2 == share
        ]
        for share in (0, 1)
    ]

    def deliver(to: Deliverer, share: list[object]) -> None:
        for at in range(0, len(share), 20):
            to.deliver(share[at : at + 20])  # type: ignore[arg-type]

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(deliver, to, share) for to, share in zip(workers, shares, strict=True)]:  # type: ignore[arg-type]
            done.result()
    assert receiver.clashes == 0 and 2 < receiver.most <= receiver.limits.concurrency, "over both workers"


def test_a_merge_holds_the_heirs_row_too() -> None:
    key_locks = KeyLocks()
    merge = Write("a", 1, "contact", Op.MERGE, "a", {}, refs=(Ref("contact", "b", None),))
    change = Write("b", 1, "contact", Op.UPSERT, "b", {"email": "b@x.pl"})
    assert key_locks.claim(Call("contact", Op.MERGE, (merge,), False), 4)
    assert not key_locks.claim(Call("contact", Op.UPSERT, (change,), False), 4)
    key_locks.release(Call("contact", Op.MERGE, (merge,), False))
    assert key_locks.claim(Call("contact", Op.UPSERT, (change,), False), 4)


def test_a_receiver_that_is_away_and_says_for_how_long_is_left_alone_by_every_call(redis_url: str) -> None:
    class Away(Watched):
        def __init__(self, *_mapping: object) -> None:
            super().__init__()
            self.calls_at: list[float] = []

        def send(self, call: Call) -> CallResult:
            self.calls_at.append(time.monotonic())
            if len(self.calls_at) == 1:
                return CallResult(failure=CallFailure.DOWN, code="http_503", wait_s=0.6)
            return super().send(call)

    receiver = Away()
    receiver.limits = Limits(rows_max=4, concurrency=1)
    scene = Scene(Redis.from_url(redis_url), mapping_of(MAPPING.format(url="http://x", rates="[]")), lambda _: receiver)
    scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl") for n in range(20)])
    first, *others = receiver.calls_at
    assert len(others) == 5 and min(others) - first >= 0.55


def test_workers_share_one_limit(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(FakeWebhook()) as fake:
        fake.faults.windows = [(15, 1.0)]
        text = MAPPING.format(url=fake.url, rates="[{calls: 15, seconds: 1}]")
        scene = Scene(Redis.from_url(redis_url), mapping_of(text), Webhook)
        workers = _workers(scene, KeyLocks())
        shares = [[scene.say(n, email=f"{n}@x.pl") for n in range(share, 120, 2)] for share in (0, 1)]
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(to.deliver, share) for to, share in zip(workers, shares, strict=True)]:
                done.result()
        assert len(fake.calls) == 30 and fake.busiest(1.0) <= 15 and not fake.throttled
