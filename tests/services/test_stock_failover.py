"""A shop asks on while the primary is lost: it hears what to do meanwhile, and is answered by the new one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nurt.app.drill import SECRET, Sale, settings_of
from nurt.app.stock import close_reservations
from nurt.errors import ConnectionFailed, Fenced
from nurt.settings import stock_settings
from nurt_client import Line, Reservation
from tests.services.shops import SHOPS, Shop
from tests.services.stack.sentinels import Guarded, guarded, wait_until
from tests.services.test_stock_client import level


@pytest.fixture
def group() -> Iterator[Guarded]:
    with guarded() as group:
        yield group


def reserve_until_answered(shop: Shop, order: str, seconds: float = 20.0) -> tuple[Reservation, int]:
    """Ask as a shop does that tries again; says how often it was told that nobody answers."""
    deadline, failed = time.monotonic() + seconds, 0
    while True:
        try:
            return shop.reserve(order, [Line("1", "A", 1)], "web", "PL"), failed
        except ConnectionFailed as told:
            assert "ask again" in str(told)
            assert time.monotonic() < deadline, str(told)
            failed += 1
            time.sleep(0.05)


@pytest.mark.parametrize("kind", SHOPS)
def test_a_shop_is_answered_by_the_new_primary_and_a_flow_whose_server_forgot_closes_the_ledger(
    group: Guarded, tmp_path: Path, kind: str
) -> None:
    first, second = group.servers
    settings = settings_of(group.url, tmp_path)
    sale, shop = Sale(settings), SHOPS[kind](group.url, secret=SECRET)
    sale.feed("stock_level", [level("A", 10)])
    sale.tick()
    assert shop.reserve("1", [Line("1", "A", 3)], "web", "PL")
    wait_until(lambda: in_step(group), "the replica to have it")
    group.fail_over(first, second)
    held, failed = reserve_until_answered(shop, "2")
    assert held.status == "accepted"
    assert failed, "it was never told that nobody answers"
    sale.tick()  # the flow goes on there by itself
    assert shop.available(["A"], "web", "PL") == {"A": 6}, "what was reserved before is held still"

    first.start()
    group.join(first, second)
    group.hold_back(first)
    sale.tick()  # written by the flow, and never heard of by the replica
    assert shop.reserve("3", [Line("1", "A", 6)], "web", "PL")
    group.fail_over(second, first)
    with pytest.raises(Fenced, match="came back older"):
        for _ in range(3):
            sale.tick()
    close_reservations(stock_settings(settings), run=1)  # as the run does that ends so
    assert reserve_until_answered(shop, "4")[0].status == "closed", "reservation 3 is lost: nobody may have its pieces"
    shop.close()


def in_step(group: Guarded) -> bool:
    first, second = group.servers
    with first.client() as one, second.client() as other:
        offset = one.info("replication")["master_repl_offset"]
        return bool(other.info("replication")["master_repl_offset"] >= offset)
