"""The oversell drill, small: real processes, a real server, an ERP that lags."""

from __future__ import annotations

import pytest

from benchmarks.flash_sale import run
from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.redis_server import executable


@pytest.mark.timeout(180)
def test_a_flash_sale_sells_every_piece_once_and_refuses_nobody_while_one_is_left() -> None:
    try:
        executable("valkey")
    except ServiceAbsent as absent:
        skip_or_fail(absent)
    outcome = run(attempts=3_000, processes=3)
    assert outcome.oversold == 0
    assert outcome.refused_wrongly == 0
    assert outcome.leaked == 0
    assert outcome.left == 0
    assert outcome.accepted > 0
    assert outcome.oversold_without_nurt > 0, "the drill is a drill: looking alone oversells"
