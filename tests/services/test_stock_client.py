"""A shop's own calls against a real server: what can be sold, reservations, and what comes of them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from nurt.app.drill import SECRET, Sale, settings_of
from nurt.app.stock import open_shop
from nurt.model.stock.plan import UNIT
from nurt_client import AsyncStock, ConfigurationError, Line
from nurt_client.ids import fingerprint
from nurt_client.keys import config_key, config_text
from tests.services.shops import SHOPS, Shop
from tests.services.stack.redis_server import RedisServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(start_redis: Callable[..., RedisServer]) -> str:
    return start_redis("valkey").socket_url


@pytest.fixture(params=SHOPS)
def sale(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Sale, Shop]]:
    """Ten pieces of A and four of B, and K, a kit of two A and one B."""
    shop = SHOPS[request.param](url, secret=SECRET)
    yield sale_of(url, tmp_path), shop
    shop.close()


def sale_of(url: str, home: Path) -> Sale:
    sale = Sale(settings_of(url, home))
    sale.feed("stock_level", [level("A", 10), level("B", 4)])
    sale.feed("kit_part", [part("1", "A", 2), part("2", "B", 1)])
    sale.tick()
    return sale


def level(sku: str, pieces: int) -> dict[str, object]:
    return {"system": "erp", "key": sku, "sku": sku, "location": "MAIN", "quantity": pieces * UNIT}


def part(key: str, sku: str, pieces: int) -> dict[str, object]:
    return {"system": "erp", "key": key, "kit": "K", "sku": sku, "quantity": pieces * UNIT}


def test_a_basket_is_answered_at_once_with_kits_and_reservations(sale: tuple[Sale, Shop]) -> None:
    _, shop = sale
    assert shop.available(["A", "B", "K", "none"], "web", "PL") == {"A": 10, "B": 4, "K": 4, "none": 0}
    assert shop.reserve("1", [Line("1", "K", 2)], "web", "PL")
    assert shop.available(["A", "B", "K"], "app", "PL") == {"A": 6, "B": 2, "K": 2}
    assert shop.release("1", "web")
    assert not shop.release("1", "web"), "it holds nothing any more"
    assert shop.available(["A"], "app", "PL") == {"A": 10}


def test_a_kit_of_kits_is_reserved_by_its_last_parts(sale: tuple[Sale, Shop]) -> None:
    flow, shop = sale
    flow.feed("kit_part", [{**part("3", "K", 2), "kit": "L"}])
    flow.tick()
    assert shop.available(["L"], "web", "PL") == {"L": 2}
    assert shop.reserve("1", [Line("1", "L", 1)], "web", "PL")
    assert shop.available(["A", "B", "L"], "web", "PL") == {"A": 6, "B": 2, "L": 1}
    flow.feed("kit_part", [{**part("4", "L", 1), "kit": "K"}])  # now each contains the other
    flow.tick()
    assert shop.available(["K", "L"], "web", "PL") == {"K": 0, "L": 0}


def test_an_order_is_held_whole_or_not_at_all_and_asked_twice_once(sale: tuple[Sale, Shop]) -> None:
    _, shop = sale
    refused = shop.reserve("1", [Line("1", "A", 3), Line("2", "B", 5)], "web", "PL")
    assert (refused.status, refused.sku, refused.available) == ("refused", "B", Decimal(4))
    assert not refused
    for _ in range(2):
        assert shop.reserve("1", [Line("1", "A", 3)], "web", "PL").status == "accepted"
    assert shop.available(["A"], "web", "PL") == {"A": 7}
    assert shop.reserve("1", [Line("1", "A", 4)], "web", "PL").status == "differs"


def test_a_reservation_becomes_the_orders_own(sale: tuple[Sale, Shop]) -> None:
    flow, shop = sale
    assert shop.reserve("1", [Line("1", "A", 3)], "web", "PL")
    now_us = time.time_ns() // 1000
    flow.feed("order", [{"system": "web", "key": "1", "number": "1", "status": "open", "placed_at": now_us}])
    flow.feed("order_line", [{"system": "web", "key": "1", "parent": "1", "sku": "A", "quantity": 3 * UNIT}])
    flow.tick()
    assert shop.available(["A"], "web", "PL") == {"A": 7}
    assert flow.held()[0] == 0
    flow.feed("order", [{"system": "web", "key": "2", "number": "2", "status": "open", "placed_at": now_us}])
    assert shop.reserve("2", [Line("1", "A", 3)], "web", "PL").status == "known", "its rows hold by themselves"


def test_what_cannot_be_asked_is_said_in_words(sale: tuple[Sale, Shop]) -> None:
    flow, shop = sale
    assert shop.reserve("1", [Line("1", "A", 1)], "till", "PL").status == "unknown route"
    with pytest.raises(ConfigurationError, match="no such channel and market"):
        shop.available(["A"], "till", "PL")
    with pytest.raises(ConfigurationError, match="leave it out"):
        shop.reserve("1", [Line("1", "A", 0)], "web", "PL")
    flow.client.delete(flow.place + b"o")  # as when the flow has not caught up
    assert shop.reserve("1", [Line("1", "A", 1)], "web", "PL").status == "closed"


def test_a_reservation_that_expired_is_free_for_the_next(sale: tuple[Sale, Shop]) -> None:
    _, shop = sale
    assert shop.reserve("1", [Line("1", "A", 10)], "web", "PL", expires_s=0.05)
    assert shop.reserve("2", [Line("1", "A", 1)], "web", "PL").status == "refused"
    time.sleep(0.1)
    assert shop.reserve("2", [Line("1", "A", "0.5")], "web", "PL")
    assert shop.available(["A"], "web", "PL") == {"A": Decimal("9.5")}
    assert not shop.release("1", "web")


def test_a_plan_that_changed_is_read_again(sale: tuple[Sale, Shop]) -> None:
    flow, shop = sale
    assert shop.available(["A"], "web", "PL") == {"A": 10}
    plan = flow.client.get(flow.place + b"f")
    version = orjson.loads(plan)["version"].encode()
    flow.client.set(flow.place + b"f", plan.replace(version, b"another"))
    assert shop.available(["A"], "web", "PL") == {"A": 10}, "what it knows agrees with the promise still"
    for key in flow.client.keys(flow.place + b"q*"):
        flow.client.set(key, flow.client.get(key).replace(version, b"another"))
    assert shop.available(["A", "K"], "web", "PL") == {"A": 10, "K": 4}


def test_what_is_weighed_under_another_plan_cannot_be_sold_yet(sale: tuple[Sale, Shop]) -> None:
    flow, shop = sale
    for key in flow.client.keys(flow.place + b"q*"):
        flow.client.set(key, b"another" + flow.client.get(key)[flow.client.get(key).index(b";") :])
    assert shop.available(["A", "K"], "web", "PL") == {"A": 0, "K": 0}


def test_another_secret_than_the_flows_is_noticed_and_not_shown(sale: tuple[Sale, Shop]) -> None:
    flow, shop = sale
    prefix = flow.place[: flow.place.index(b"{")]
    for call in (lambda: shop.available(["A"], "web", "PL"), lambda: shop.reserve("1", [Line("1", "A", 1)], "web")):
        flow.client.set(config_key(prefix), config_text(16, fingerprint(bytes([1] * 16))))
        with pytest.raises(ConfigurationError, match=r"secret.*is not the one") as said:
            call()
        assert SECRET not in str(said.value)
    flow.client.set(config_key(prefix), config_text(16, fingerprint(bytes.fromhex(SECRET))))
    assert shop.available(["A"], "web", "PL") == {"A": 10}


@pytest.mark.parametrize("kind", SHOPS)
def test_a_realm_of_which_nothing_is_known_is_named(url: str, kind: str) -> None:
    shop = SHOPS[kind](url, secret=SECRET, prefix="theirs", realm="hu")
    with pytest.raises(ConfigurationError, match=r"realm 'hu' under the prefix 'theirs': nothing is known yet"):
        shop.available(["A"], "web", "PL")
    assert shop.reserve("1", [Line("1", "A", 1)], "web", "PL").status == "closed"
    shop.close()


def test_nurt_opens_the_deployment_of_its_settings_and_no_other_realm(url: str, tmp_path: Path) -> None:
    sale_of(url, tmp_path)
    with open_shop(settings_of(url, tmp_path)) as shop:
        assert shop.available(["B"], "web", "PL") == {"B": 4}
    with pytest.raises(ConfigurationError, match="no system of it"):
        open_shop(settings_of(url, tmp_path), "hu")


def test_many_tasks_of_one_loop_share_a_client_and_never_more_pieces_than_there_are(url: str, tmp_path: Path) -> None:
    sale_of(url, tmp_path)

    async def buy() -> list[bool]:
        async with AsyncStock.open(url, secret=SECRET) as shop:
            asked = (shop.reserve(str(order), [Line("1", "A", 1)], "web", "PL") for order in range(300))
            return [bool(held) for held in await asyncio.gather(*asked)]

    assert sum(asyncio.run(buy())) == 10


@pytest.mark.parametrize("page", ["README.md", "client/README.md"])
def test_the_pages_examples_do_as_they_say(
    url: str, tmp_path: Path, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = sale_of(url, tmp_path)
    (example, *_) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (tmp_path / "secret").write_text(SECRET)
    ours = {"redis://redis:6379/0": url, "nurt-data/secret": f"{tmp_path}/secret", "shop_pl": "web", "A-1": "A"}
    for theirs, own in ours.items():
        assert theirs in example
        example = example.replace(theirs, own)
    exec(example, {})
    assert flow.held() == (2, 1)
    assert capsys.readouterr().out == "", "it was refused"
