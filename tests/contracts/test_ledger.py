"""The ledger's script on real servers does what its Python meaning does, whatever is asked of it."""

from __future__ import annotations

import re
from random import Random

import pytest

from nurt.cli.commands.stock import REFUSED
from nurt.model.stock.plan import UNIT, Channel, Location, Market, StockPlan
from nurt.stock.routes import compile_routes
from nurt.testing.ledger import Ledger
from nurt_client.ledger import LEDGER_SCRIPT, read_held
from tests.services.stack.redis_server import RedisServer

PLACE = b"t{r:default}"
PLAN = StockPlan(
    {"N": Location("N"), "S": Location("S")},
    {"web": Channel("web", ("N", "S"), ("PL", "DE")), "app": Channel("app", ("S",), ("PL",), buffer=UNIT)},
    {"PL": Market("PL"), "DE": Market("DE", ("S",))},
)
ROUTES = compile_routes(PLAN)
SKUS = [bytes([number]) * 16 for number in (1, 2)]
ORDERS = [bytes([number]) * 16 for number in range(40, 44)]


class Both:
    """Says everything to the script and to its meaning, and compares."""

    def __init__(self, server: RedisServer) -> None:
        self.client = server.client()
        self.client.flushall()
        self.values: dict[bytes, bytes] = {}
        self.due: dict[bytes, int] = {}
        self.meaning = Ledger(PLACE, self.values, self.due, {})
        self.now_ms = 1_000_000

    def put(self, name: bytes, value: bytes) -> None:
        self.client.set(PLACE + name, value)
        self.values[PLACE + name] = value

    def promise(self, sku: bytes, north: int, south: int, version: str = ROUTES.version) -> None:
        caps = [north * UNIT, south * UNIT]
        slack = [
            sum(caps[bin] * ROUTES.covers[bin, union] for bin in range(2)) for union in range(len(ROUTES.covers[0]))
        ]
        self.put(b"q" + sku, f"{version};{','.join(map(str, slack))};".encode())

    def call(self, what: str, *arguments: bytes | str | int) -> list[bytes]:
        said = self.client.eval(LEDGER_SCRIPT, 1, PLACE, what, self.now_ms, *arguments)
        meant = self.meaning.call(what, arguments, self.now_ms)
        assert said == meant, (what, arguments)
        for sku in SKUS:
            assert self.client.get(PLACE + b"m" + sku) == self.values.get(PLACE + b"m" + sku)
        assert {name for name, _ in self.client.zrange(PLACE + b"u", 0, -1, withscores=True)} == set(self.due)
        return list(said)


@pytest.fixture
def both(shared_redis: RedisServer) -> Both:
    both = Both(shared_redis)
    both.put(b"f", ROUTES.text())
    both.call("open")
    return both


def test_nothing_is_reserved_before_the_orders_have_caught_up(both: Both) -> None:
    both.client.delete(PLACE + b"o")
    del both.values[PLACE + b"o"]
    assert both.call("reserve", ORDERS[0], "web/PL", 1000, "1", SKUS[0], UNIT) == [b"closed"]


def test_a_line_asked_for_again_holds_once(both: Both) -> None:
    both.promise(SKUS[0], 1, 0)
    assert both.call("reserve", ORDERS[0], "web/PL", 1000, "1", SKUS[0], UNIT)[0] == b"accepted"
    assert both.call("reserve", ORDERS[0], "web/PL", 1000, "1", SKUS[0], UNIT)[0] == b"accepted"
    assert both.call("reserve", ORDERS[1], "web/PL", 1000, "1", SKUS[0], UNIT) == [b"refused", SKUS[0], b"0"]


def test_all_lines_of_a_basket_are_held_or_none(both: Both) -> None:
    both.promise(SKUS[0], 5, 0)
    both.promise(SKUS[1], 0, 0)
    lines = ("1", SKUS[0], UNIT, "2", SKUS[1], UNIT)
    assert both.call("reserve", ORDERS[0], "web/PL", 1000, *lines)[0] == b"refused"
    assert read_held(both.values.get(PLACE + b"m" + SKUS[0])) == {}


def test_what_only_one_location_has_is_not_promised_to_a_market_that_it_does_not_serve(both: Both) -> None:
    both.promise(SKUS[0], 5, 1)
    assert both.call("reserve", ORDERS[0], "web/PL", 1000, "1", SKUS[0], 5 * UNIT)[0] == b"accepted"
    assert both.call("reserve", ORDERS[1], "web/DE", 1000, "1", SKUS[0], UNIT)[0] == b"accepted"
    assert both.call("reserve", ORDERS[2], "web/PL", 1000, "1", SKUS[0], UNIT)[0] == b"refused"


def test_an_order_that_is_known_holds_by_its_own_rows(both: Both) -> None:
    both.promise(SKUS[0], 3, 0)
    both.call("reserve", ORDERS[0], "web/PL", 1000, "1", SKUS[0], 2 * UNIT)
    both.call("book", ORDERS[0], 0, 1, SKUS[0], UNIT)
    assert read_held(both.values[PLACE + b"m" + SKUS[0]]) == {"web/PL": UNIT}
    both.call("book", ORDERS[0], 1, 0)
    assert PLACE + b"m" + SKUS[0] not in both.values
    both.put(b"j" + ORDERS[1], b"B" + ORDERS[1])
    assert both.call("reserve", ORDERS[1], "web/PL", 1000, "1", SKUS[0], UNIT) == [b"known"]


def test_a_line_reserved_after_the_orders_own_rows_said_it_is_not_held_again(both: Both) -> None:
    both.promise(SKUS[0], 1, 0)
    both.promise(SKUS[1], 1, 0)
    both.call("reserve", ORDERS[0], "web/PL", 1000, "1", SKUS[0], UNIT)
    both.call("book", ORDERS[0], 0, 2, SKUS[0], UNIT, SKUS[1], UNIT)
    assert both.call("reserve", ORDERS[0], "web/PL", 1000, "2", SKUS[1], UNIT)[0] == b"accepted"
    assert PLACE + b"m" + SKUS[1] not in both.values
    both.call("book", ORDERS[0], 0, 1, SKUS[0], UNIT)
    assert read_held(both.values[PLACE + b"m" + SKUS[1]]) == {"web/PL": UNIT}, "its own rows say it no longer"


def test_a_reservation_that_expired_is_free_for_the_next(both: Both) -> None:
    both.promise(SKUS[0], 1, 0)
    both.call("reserve", ORDERS[0], "web/PL", 1000, "1", SKUS[0], UNIT)
    both.now_ms += 1000
    assert both.call("reserve", ORDERS[1], "web/PL", 1000, "1", SKUS[0], UNIT)[0] == b"accepted"
    assert both.call("release", ORDERS[0]) == [b"nothing"]
    assert both.call("release", ORDERS[1]) == [b"released"]


def test_every_answer_of_the_script_to_a_checkout_has_words_of_its_own() -> None:
    reserve = LEDGER_SCRIPT.decode().split("local function reserve()")[1].split("local function")[0]
    answers = set(re.findall(r"return \{'([a-z ]+)'", reserve))
    assert answers == {"accepted", "known", "refused", *REFUSED}


VERDICTS = {b"accepted", b"refused", b"differs", b"known", b"stale", b"released", b"nothing", b"booked"}


@pytest.mark.parametrize("seed", range(6))
def test_the_script_does_what_it_means_whatever_is_asked(both: Both, seed: int) -> None:
    random = Random(seed)
    both.put(b"j" + ORDERS[3], b"B" + ORDERS[3])
    given: set[bytes] = set()
    for _ in range(400):
        both.now_ms += random.randint(0, 200)
        given.add(ask_anything(both, random)[0])
    assert VERDICTS - given == set(), "every verdict was compared"


def ask_anything(both: Both, random: Random) -> list[bytes]:
    """Say one of all calls, or promise something else; returns the verdict that both gave."""
    order, sku, route = random.choice(ORDERS), random.choice(SKUS), random.choice(["web/PL", "web/DE", "app/PL"])
    match random.randint(0, 6):
        case 0:
            both.promise(sku, random.randint(0, 5), random.randint(0, 5), random.choice([ROUTES.version] * 4 + ["x"]))
            return both.call("sweep")
        case 1:
            return both.call("release", order)
        case 2:
            known = [one for each in SKUS[: random.randint(0, 2)] for one in (each, random.randint(0, 3) * UNIT)]
            return both.call("book", order, random.randint(0, 2) // 2, len(known) // 2, *known)
        case 3:
            return both.call("sweep")
        case _:
            lines: list[bytes | str | int] = []
            for number in range(random.randint(1, 3)):
                lines += [str(number), random.choice(SKUS), random.randint(1, 3) * UNIT]
            return both.call("reserve", order, route, random.choice([500, 5000]), *lines)
