"""A receiver that hangs, or trickles, is given up in time and tried again; nothing is lost, nothing told twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
from redis import Redis

from nurt.adapters.analytics.clickhouse import ClickhouseSink
from nurt.adapters.analytics.postgres import PostgresSink
from nurt.adapters.receivers.webhook import Webhook
from nurt.delivery.journal import Message
from nurt.delivery.read.families import FAMILIES, tables_of
from nurt.fake.server import Fake, Request, Response, running
from nurt.fake.webhook import FakeWebhook
from nurt.model.delivery import CallFailure
from tests.contracts.published import encode, id_of, rich
from tests.delivery.chaos import hurry
from tests.delivery.scene import Scene, mapping_of
from tests.services.receivers.families import RECEIVERS, expect, scene_at

ONE = Message(id_of(1).hex(), (0, 1), None, encode(rich(1, 1)))


def _sink(postgres: Any) -> tuple[PostgresSink, str]:
    url = f"postgresql://{postgres.user}:{postgres.password}@127.0.0.1:{postgres.port}/{postgres.database}"
    schema = f"s{time.time_ns()}"
    return PostgresSink(
        mapping_of(f"{{kind: postgres, url: '{url}', schema: {schema}, timeout_s: 1}}"), FAMILIES["profiles"]
    ), schema


def test_a_locked_table_is_given_up_and_tried_again(postgres: Any) -> None:
    import psycopg

    sink, schema = _sink(postgres)
    assert sink.write(tables_of([ONE], [])).failure is None
    with psycopg.connect(sink._url) as other:
        other.execute(f"LOCK TABLE {schema}.profiles".encode())
        began = time.monotonic()
        assert sink.write(tables_of([ONE], [])).failure is CallFailure.DOWN
        assert time.monotonic() - began < 5
    assert sink.write(tables_of([ONE], [])).failure is None
    sink.close()


def test_a_server_process_that_stands_still_is_given_up_and_another_one_taken(postgres: Any) -> None:
    sink, _ = _sink(postgres)
    assert sink.write(tables_of([ONE], [])).failure is None
    still = sink._connection.info.backend_pid
    os.kill(still, signal.SIGSTOP)
    try:
        assert sink.write(tables_of([ONE], [])).failure is CallFailure.DOWN
    finally:
        os.kill(still, signal.SIGCONT)
    assert sink.write(tables_of([ONE], [])).failure is None
    sink.close()


class Mute(Fake):
    """Takes requests and says nothing for long."""

    def answer(self, asked: Request) -> Response:
        """See Fake."""
        time.sleep(1.5)
        return Response(200, "")


def test_a_clickhouse_that_hangs_is_given_up() -> None:
    with running(Mute()) as fake:
        sink = ClickhouseSink(
            mapping_of(f"{{kind: clickhouse, url: '{fake.url}', timeout_s: 0.3}}"), FAMILIES["profiles"]
        )
        answer = sink.write(tables_of([ONE], []))
        assert (answer.failure, answer.code) == (CallFailure.DOWN, "ReadTimeout")
        sink.close()


@pytest.mark.parametrize("drip_s", [0.0, 0.05])
def test_a_receiver_that_hangs_or_trickles_is_tried_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, drip_s: float
) -> None:
    monkeypatch.setattr("nurt.adapters.http.WHOLE", 1.0)
    fake = Trickling()
    with running(fake):
        fake.faults.drip_s, fake.faults.latency_s = drip_s, 0.0 if drip_s else 1.0
        objects = "{contact: {key: id, fields: {email: email}}}"
        text = f"{{kind: webhook, url: '{fake.url}', timeout_s: 0.4, objects: {objects}}}"
        scene = Scene(Redis.from_url(redis_url), mapping_of(text), Webhook)

        def mend() -> None:
            fake.faults.drip_s = fake.faults.latency_s = 0.0

        threading.Timer(1.5, mend).start()
        scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl") for n in range(5)])
        assert len(fake.rows) == 5 and scene.store().status()["last_error"] == "ReadTimeout"


class Trickling(FakeWebhook):
    """Answers with a long text."""

    def answer(self, asked: Request) -> Response:
        """See Fake."""
        told = super().answer(asked)
        return Response(200, "thank you " * 20) if told.status == 204 else told


PAGE = Response(200, "<html>We are back soon</html>", {"Content-Type": "text/html"})
ODD = Response(200, [], {"Content-Type": "application/json"})


@pytest.mark.parametrize("odd", [PAGE, ODD], ids=["a page", "an empty list"])
@pytest.mark.parametrize("name", sorted({*RECEIVERS} - {"webhook"}))
def test_a_success_of_something_else_is_none(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str, odd: Response
) -> None:
    hurry(monkeypatch)
    with running(RECEIVERS[name].fake(1)) as fake:
        scene = scene_at(name, fake, redis_url)
        real, left = fake.answer, [5]

        def answer(asked: Request) -> Response:
            if left[0] and "token" not in asked.path:
                left[0] -= 1
                return odd
            return real(asked)

        fake.answer = answer  # type: ignore[method-assign]
        scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl", first_name="A") for n in range(4)])
        assert left == [0]
        expect(name, scene, fake)
