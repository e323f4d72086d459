"""The oversell drill, small: real processes, a real server, an ERP that lags."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nurt.app.drill import run
from tests.command_line import run_nurt
from tests.services.stack.redis_server import RedisServer


@pytest.mark.timeout(180)
def test_a_flash_sale_sells_every_piece_once_and_refuses_nobody_while_one_is_left(
    start_redis: Callable[..., RedisServer],
) -> None:
    outcome = run(start_redis("valkey").socket_url, attempts=3_000, processes=3)
    assert outcome.oversold == 0
    assert outcome.refused_wrongly == 0
    assert outcome.leaked == 0
    assert outcome.left == 0
    assert outcome.accepted > 0
    assert outcome.oversold_without_nurt > 0, "the drill is a drill: looking alone oversells"


@pytest.mark.timeout(180)
def test_a_user_can_rehearse_it(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    ran = run_nurt(monkeypatch, capfd, "drill", "--attempts", "400", "--processes", "2", "--skus", "1", "--lag", "0.2")
    assert ran.code == 0, ran.err
    assert "Nothing oversold" in ran.out
