"""Rules of deliveries, each played with the rule and without it: a rule that nothing would miss is not tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from redis import Redis

from nurt.adapters.receivers.webhook import Webhook
from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.delivery.last_known import LastKnown, RemoteRow
from nurt.delivery.retry import Attempt, Decision, decide
from nurt.delivery.run.clock import DeliveryClock
from nurt.delivery.run.key_locks import KeyLocks
from nurt.delivery.run.sender import Sender
from nurt.fake.server import Fake, running
from nurt.model.delivery import CallFailure, CallResult, RowOutcome, RowResult
from tests.delivery.chaos import Hands, history, hurry, live_through, say_all
from tests.delivery.scene import Scene, account, accounts, key_of, mapping_of, order_key
from tests.services.receivers.families import RECEIVERS, expect, scene_at
from tests.services.receivers.test_chaos_receivers import FASTER, _down_for

Play = Callable[[str, int], None]
"""Plays a history, given a Redis and a seed; raises AssertionError when something is wrong at its end."""


def _through_cuts_and_kills(redis_url: str, seed: int) -> None:
    random = Random(seed)
    with running(RECEIVERS["webhook"].fake(seed)) as fake:
        scene = scene_at("webhook", fake, redis_url)
        fake.faults.cut_after, fake.faults.error_rate = 0.2, 0.1
        live_through(scene, fake, history(scene, random, 25, 250), random, batch=10, kill_share=0.08)
        expect("webhook", scene, fake)


def _through_hands(name: str, redis_url: str, seed: int) -> None:
    random = Random(seed)
    with running(RECEIVERS[name].fake(seed)) as fake:
        scene = scene_at(name, fake, redis_url)
        hands = Hands(random, 20, share=0.8, shows_ids=name != "dataverse")
        live_through(scene, fake, history(scene, random, 20, 80), random, batch=6, faults=hands)
        live_through(scene, fake, say_all(scene, 20), random)
        expect(name, scene, fake, hands)


def _through_an_erasure(redis_url: str, seed: int) -> None:
    with running(RECEIVERS["salesforce"].fake(seed)) as fake:
        scene = scene_at("salesforce", fake, redis_url, when_gone="restore")
        told = scene.say(1, email="a@x.pl")
        scene.deliverer().deliver([told])
        scene.deliverer().deliver([scene.erase(1)])
        scene.deliverer().deliver([told])
        expect("salesforce", scene, fake)


def _through_errors(redis_url: str, seed: int) -> None:
    random = Random(seed)
    with running(RECEIVERS["webhook"].fake(seed)) as fake:
        scene = scene_at("webhook", fake, redis_url)
        fake.faults.error_rate = 0.3
        live_through(scene, fake, history(scene, random, 25, 120), random)
        expect("webhook", scene, fake)


def _through_a_window(redis_url: str, seed: int) -> None:
    with running(RECEIVERS["mailchimp"].fake(seed)) as fake:
        scene = scene_at("mailchimp", fake, redis_url, "{rows_max: 5, rates: [{calls: 20, seconds: 1}]}")
        for some in range(0, 45, 15):
            scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl") for n in range(some, some + 15)])
        assert fake.busiest(1.0) <= 20


def _through_an_outage(redis_url: str, seed: int) -> None:
    random = Random(seed)
    with running(RECEIVERS["webhook"].fake(seed)) as fake:
        scene = scene_at("webhook", fake, redis_url, "{rows_max: 2}")
        _down_for(fake, 120.0 / FASTER)
        live_through(scene, fake, history(scene, random, 30, 60), random, batch=60, clock=DeliveryClock(FASTER))
        calls = scene.store().counts()["calls"] - scene.store().counts()["accepted"]
        assert calls < 30, "it is left alone"


def _through_a_refused_batch(redis_url: str, seed: int) -> None:
    with running(RECEIVERS["webhook"].fake(seed)) as fake:
        scene = scene_at("webhook", fake, redis_url)
        told = [scene.say(n, email="a@x.pl", loyalty_card="bad" if n == 3 + seed else None) for n in range(30)]
        scene.deliverer().deliver(told)
        expect("webhook", scene, fake)


def _through_a_storm(redis_url: str, seed: int) -> None:
    with running(RECEIVERS["webhook"].fake(seed)) as fake:
        scene = scene_at("webhook", fake, redis_url)
        fake.faults.throttle_rate, fake.faults.retry_after = 1.0, "0.5"
        calm = _calm_after(fake, 1)
        scene.deliverer(fault=calm).deliver([scene.say(1, email="a@x.pl")])
        (first, *_), (second, *_) = fake.calls
        assert second - first >= 0.5


def _calm_after(fake: Fake, calls: int) -> Callable[[str], None]:
    def look(_step: str) -> None:
        if len(fake.calls) >= calls:
            fake.faults.throttle_rate = 0.0

    return look


def _through_a_merge(redis_url: str, seed: int) -> None:
    with running(RECEIVERS["webhook"].fake(seed)) as fake:
        objects = (
            "{contact: {key: id, fields: {email: email}}, order: {of: orders, key: id, parent: {person: contact}}}"
        )
        mapping = mapping_of(f"{{kind: webhook, url: '{fake.url}', objects: {objects}}}")
        scene = Scene(Redis.from_url(redis_url), mapping, Webhook)
        to = scene.deliverer()
        to.deliver([*(scene.say(n, email="a@x.pl", accounts=accounts(n)) for n in (1, 2)), scene.order(1, account(2))])
        to.deliver([scene.merge(2, into=1), scene.say(1, email="a@x.pl", accounts=accounts(1, 2))])
        assert fake.rows.get(("order", order_key(1)), {}).get("person") == key_of(1)  # type: ignore[attr-defined]


def _judged(change: Callable[[Attempt, CallResult], Decision | CallResult]) -> Callable[..., Decision]:
    def judge(attempt: Attempt, answer: CallResult, jitter: float, answered_well: int) -> Decision:
        changed = change(attempt, answer)
        return changed if isinstance(changed, Decision) else decide(attempt, changed, jitter, answered_well)

    return judge


def _all_refused(attempt: Attempt, answer: CallResult) -> Decision | CallResult:
    if answer.failure is not CallFailure.REFUSED:
        return answer
    return Decision(tuple((write, RowResult(RowOutcome.REFUSED, answer.code)) for write in attempt.call.writes))


def _trouble_refused(_attempt: Attempt, answer: CallResult) -> Decision | CallResult:
    return replace(answer, failure=CallFailure.REFUSED) if answer.failure is CallFailure.DOWN else answer


def _waits_forgotten(_attempt: Attempt, answer: CallResult) -> Decision | CallResult:
    return replace(answer, wait_s=None)


def _forget_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DECIDE, _judged(_waits_forgotten))
    patch.setattr(DeliveryStore, "pause", lambda *_: None)


DECIDE = "nurt.delivery.run.sender.decide"
RULES: dict[str, tuple[Play, Callable[[pytest.MonkeyPatch], None]]] = {
    "nothing in flight is believed": (
        _through_cuts_and_kills,
        lambda patch: patch.setattr(LastKnown, "begin", lambda self, _write: self),
    ),
    "a difference makes no row": (
        partial(_through_hands, "dataverse"),
        lambda patch: patch.setattr("nurt.delivery.diff.is_believed", lambda *_: False),
    ),
    "a row that was made anew gets all its fields": (
        partial(_through_hands, "hubspot"),
        lambda patch: patch.setattr(RemoteRow, "is_another", lambda *_: False),
    ),
    "nobody who was erased comes back": (
        _through_an_erasure,
        lambda patch: patch.setattr("nurt.delivery.run.batch.is_old", lambda *_: False),
    ),
    "calls keep the rates": (
        _through_a_window,
        lambda patch: patch.setattr(DeliveryStore, "take", lambda *_: 0.0),
    ),
    "requests beyond a call's first are paid for": (
        _through_a_window,
        lambda patch: patch.setattr(Sender, "_spend", lambda _self: None),
    ),
    "a receiver that is down is left alone": (
        _through_an_outage,
        lambda patch: patch.setattr("nurt.delivery.breaker.FAILURES_MAX", 10**9),
    ),
    "a batch that is refused is halved": (
        _through_a_refused_batch,
        lambda patch: patch.setattr(DECIDE, _judged(_all_refused)),
    ),
    "trouble is no refusal": (
        _through_errors,
        lambda patch: patch.setattr(DECIDE, _judged(_trouble_refused)),
    ),
    "Retry-After is obeyed": (_through_a_storm, _forget_waits),
    "a profile's orders are told of its accounts": (
        _through_a_merge,
        lambda patch: patch.setattr("nurt.delivery.run.batch.affected_accounts", lambda *_: set()),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_switched_off_is_missed(rule: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play, switch_off = RULES[rule]
    if play is not _through_an_outage:
        hurry(monkeypatch)
    play(redis_url, 0)
    switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        for seed in range(8):
            play(redis_url, seed)


def test_lanes_that_are_not_kept_are_missed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.delivery.test_locks_and_rates import test_no_key_is_ever_in_two_calls_at_once as play

    monkeypatch.setattr(KeyLocks, "claim", lambda _self, _call, _calls_max: True)
    with pytest.raises(AssertionError):
        for _ in range(5):
            play(redis_url)
