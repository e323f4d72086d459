"""Rules of the flow of stock, each told as a small history by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, UPSERT
from nurt.model.stock.plan import UNIT, Channel, Location, Market, StockPlan
from nurt_client.ids import ledger_token
from tests.oracle.frames import batch_of
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.sources import Event, Stored
from tests.oracle.stock_engine import StockEngine, moment_of
from tests.oracle.stock_histories import BASE_MS
from tests.oracle.values import TODAY

IDS = DEPLOYMENT_IDS.ids
PARENTS = {"order_line": "order", "document_line": "document", "shipment_line": "shipment", "shipment": "order"}
PARENTS |= {"tracking": "shipment"}


def plan(**rules: Any) -> StockPlan:
    return StockPlan(
        {"N": Location("N", stale_s=60, stale_buffer=3 * UNIT)},
        {"pl": Channel("pl", ("N",), ("PL",))},
        {"PL": Market("PL")},
        **{"grace_s": 30, "low": 2 * UNIT, **rules},
    )


class LastPublished:
    """An engine, told row by row."""

    def __init__(self, rules: StockPlan | None = None) -> None:
        self.engine = StockEngine(rules or plan())
        self.engine.start(1)
        self.number = 0
        self.ts_ms = BASE_MS

    def row(
        self, system: str, kind: str, key: str, parent: str | None = None, *, gone: bool = False, **fields: Any
    ) -> None:
        self.number += 1
        names = {name: fields.get(name) for name in ENTITIES[kind].fields}
        of = PARENTS.get(kind)
        stored = None if gone else Stored(names, None, (of, of, parent) if of and parent else None)
        place = (self.number, 0, 0, 0)
        event = Event(
            self.number,
            system,
            kind,
            kind,
            key,
            DELETE if gone else UPSERT,
            0,
            0,
            place,
            0,
            self.number,
            self.ts_ms,
            stored,
        )
        self.engine.feed(batch_of([event], DEPLOYMENT_IDS))

    def level(self, pieces: int) -> None:
        self.row("erp", "stock_level", "1", sku="A", location="N", quantity=pieces * UNIT)

    def order(self, number: str, pieces: int, **fields: Any) -> None:
        self.row("pl", "order", number, number=number, placed_at=BASE_MS * 1000, **fields)
        self.row("pl", "order_line", number, number, sku="A", quantity=pieces * UNIT)

    def document(self, key: str, order: str | None, pieces: int, **fields: Any) -> None:
        self.row("erp", "document", key, number=f"D{key}", order_ref=order, booked_at=BASE_MS * 1000, **fields)
        self.row("erp", "document_line", key, key, sku="A", quantity=pieces * UNIT)

    def left(self) -> int:
        return self.engine.figures["A", "pl", "PL"][1] // UNIT

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.engine.events.values()]

    def reserve(self, number: str, pieces: int) -> str:
        self.engine.drain(TODAY)
        ledger = self.engine.memory.ledger(self.engine.keys.realm_place("default"))
        sku = DEPLOYMENT_IDS.one("sku\x1fA")
        now_ms = self.engine.as_of
        match_key = ledger_token(IDS, "pl", number)
        answer = ledger.call("reserve", (match_key, "pl/PL", 10_000, "1", sku, pieces * UNIT), now_ms)
        self.engine.drain(TODAY)
        return answer[0].decode()


def test_a_booking_and_the_level_that_shows_it_count_once_in_either_order() -> None:
    for level_first in (False, True):
        told = LastPublished()
        told.level(10)
        told.order("1", 2)
        assert told.left() == 8
        if level_first:
            told.level(8)
            assert told.left() == 6  # until the booking comes nobody can know why it fell
            told.document("1", "1", 2)
            told.level(8)
        else:
            told.document("1", "1", 2)
            assert told.left() == 8
            told.level(8)
        assert told.left() == 8


def test_a_booking_whose_level_came_before_it_stops_counting_when_its_grace_is_over() -> None:
    told = LastPublished()
    told.level(10)
    told.order("1", 2)
    told.level(8)
    told.document("1", "1", 2)
    assert told.left() == 6
    told.engine.drain(TODAY + 2)
    assert told.left() == 8


def test_a_document_of_two_orders_books_both_and_a_second_one_nothing_more() -> None:
    told = LastPublished()
    told.level(10)
    told.order("1", 2)
    told.order("2", 3)
    assert told.left() == 5
    told.document("1", "1, 2", 5)
    told.level(5)
    assert told.left() == 5
    told.row("erp", "document", "1", number="D1", order_ref="1, 2", status="cancelled", booked_at=BASE_MS * 1000)
    told.document("2", "1;2", 5)
    told.level(5)
    assert told.left() == 5


def test_a_partial_booking_leaves_the_rest_held() -> None:
    told = LastPublished()
    told.level(10)
    told.order("1", 4)
    told.document("1", "1", 3)
    told.level(7)
    assert told.left() == 6


def test_a_cancelled_order_holds_nothing() -> None:
    told = LastPublished()
    told.level(10)
    told.order("1", 4)
    told.row("pl", "order", "1", number="1", status="cancelled")
    assert told.left() == 10


def test_parcels_end_what_they_hold_and_no_more() -> None:
    told = LastPublished()
    told.level(10)
    told.order("1", 4)
    told.row("wms", "shipment", "1", status="shipped", order_ref="1", tracking="T1")
    told.row("wms", "shipment_line", "1", "1", sku="A", quantity=3 * UNIT)
    assert told.left() == 6, "what has left is on hand still, as far as anybody told"
    told.engine.drain(TODAY + 2)
    assert told.left() == 9
    (order,) = [one for _, one in told.engine.orders.values() if one]
    assert order["stage"] == "partly_shipped"
    assert order["shipments"][0]["tracking"] == "T1"


def test_a_tracking_number_beside_its_parcel_ships_nothing_but_is_shown_with_it() -> None:
    told = LastPublished()
    told.level(10)
    told.order("1", 4)
    told.row("pl", "tracking", "7", "1", number="T7", carrier="DHL")
    assert told.left() == 6, "a number alone ships nothing"
    (order,) = [one for _, one in told.engine.orders.values() if one]
    assert (order["stage"], order["shipments"]) == ("placed", [])
    told.row("pl", "shipment_line", "1", "1", sku="A", quantity=1 * UNIT)
    told.row("pl", "shipment", "1", "1", status="shipped")
    told.row("pl", "tracking", "8", "1", number="T8")
    (order,) = [one for _, one in told.engine.orders.values() if one]
    assert [line["shipped"] // UNIT for line in order["lines"]] == [1]
    assert order["stage"] == "partly_shipped"
    assert [(one["tracking"], one["carrier"]) for one in order["shipments"]] == [("T7, T8", "DHL")]
    told.row("pl", "tracking", "7", "1", gone=True)
    told.row("pl", "shipment", "1", "1", status="shipped", carrier="UPS")
    (order,) = [one for _, one in told.engine.orders.values() if one]
    assert [(one["tracking"], one["carrier"]) for one in order["shipments"]] == [("T8", "UPS")]


def test_a_shipment_before_the_erps_booking_promises_nothing_twice() -> None:
    told = LastPublished()
    told.level(10)
    told.order("1", 4)
    assert told.left() == 6
    told.row("wms", "shipment", "1", status="shipped", order_ref="1")
    told.row("wms", "shipment_line", "1", "1", sku="A", quantity=4 * UNIT)
    assert told.left() == 6
    told.document("1", "1", 4)
    assert told.left() == 6
    told.level(6)
    assert told.left() == 6


def test_a_reservation_passes_to_the_order_without_counting_twice_or_not_at_all() -> None:
    told = LastPublished()
    told.level(10)
    told.engine.drain(TODAY)
    assert told.reserve("1", 3) == "accepted"
    assert told.left() == 7
    told.row("pl", "order", "1", number="1", placed_at=BASE_MS * 1000)
    told.engine.drain(TODAY)
    assert told.left() == 7  # its lines are not here yet: the reservation still holds
    told.row("pl", "order_line", "1", "1", sku="A", quantity=3 * UNIT)
    told.engine.drain(TODAY)
    assert told.left() == 7
    assert told.reserve("1", 3) == "accepted"
    assert told.left() == 7
    told.row("pl", "order", "1", number="1", status="cancelled")
    told.engine.drain(TODAY)
    assert told.left() == 10


def test_a_reservation_of_a_kit_passes_to_the_order_of_the_kit() -> None:
    told = LastPublished()
    told.level(10)
    told.row("erp", "kit_part", "1", kit="K", sku="A", quantity=2 * UNIT)
    told.engine.drain(TODAY)
    assert told.reserve("1", 4) == "accepted"  # what a client asks for two kits
    assert told.left() == 6
    told.row("pl", "order", "1", number="1", placed_at=BASE_MS * 1000)
    told.row("pl", "order_line", "1", "1", sku="K", quantity=2 * UNIT)
    told.engine.drain(TODAY)
    assert told.left() == 6
    assert told.engine.figures["K", "pl", "PL"][1] == 3 * UNIT


def test_a_reservation_expires() -> None:
    told = LastPublished()
    told.level(3)
    told.engine.drain(TODAY)
    assert told.reserve("1", 3) == "accepted"
    assert told.reserve("2", 1) == "refused"
    told.engine.drain(TODAY + 1)
    assert told.left() == 3


def test_a_threshold_is_crossed_once_until_it_is_left_behind() -> None:
    told = LastPublished()
    for pieces in (5, 2, 1, 2, 3, 2, 0, 0, 5, 1):
        told.level(pieces)
    # 2, 1, 2 low once; 3 is past 2 + 1, so 2 is low again; 0 out once; 5 back; 1 low
    assert told.kinds() == ["low_stock", "low_stock", "out_of_stock", "back_in_stock", "low_stock"]


def test_oversold_stock_names_its_orders() -> None:
    told = LastPublished()
    told.level(3)
    told.engine.drain(TODAY)
    told.order("1", 2)
    told.order("2", 2)
    (event,) = [one for one in told.engine.events.values() if one["kind"] == "oversold"]
    assert event["quantity"] == UNIT
    assert len(event["orders"]) == 2


def test_an_order_without_document_is_stuck_once() -> None:
    told = LastPublished(plan(stuck_s=15))
    told.level(3)
    told.order("1", 2)
    told.engine.drain(TODAY)
    assert "stuck_order" not in told.kinds()
    told.engine.drain(TODAY + 1)
    told.engine.drain(TODAY + 2)
    assert told.kinds().count("stuck_order") == 1


def test_a_location_without_news_keeps_more_back_until_news_come() -> None:
    told = LastPublished()
    told.level(10)
    told.engine.drain(TODAY)
    assert told.left() == 10
    told.engine.drain(TODAY + 4)
    assert told.left() == 7
    assert told.kinds() == ["stale_feed"]
    assert moment_of(TODAY + 4) - BASE_MS > 60_000


def test_a_feed_that_speaks_again_gives_its_buffer_back_once() -> None:
    told = LastPublished()
    told.level(10)
    told.engine.drain(TODAY + 4)
    told.engine.kill()
    told.engine.start(2)  # what is stale is known after a restart, too
    told.engine.drain(TODAY + 4)
    assert told.left() == 7
    told.ts_ms = moment_of(TODAY + 4)
    told.level(9)
    told.engine.drain(TODAY + 4)
    assert told.left() == 9
    assert told.kinds() == ["stale_feed", "fresh_feed"]


def test_a_channel_whose_own_figure_drifts_apart_is_told_once_until_it_agrees() -> None:
    rules = replace(plan(), channels={"pl": Channel("pl", ("N",), ("PL",), shown="web")}, drift=2 * UNIT)
    told = LastPublished(rules)
    told.level(10)
    for pieces in (10, 8, 7, 6, 10, 14):  # within two pieces; five and six apart; agreed; four too many
        told.row("pl", "stock_level", "w", sku="A", location="web", quantity=pieces * UNIT)
    drifts = [(event["kind"], event["quantity"] // UNIT) for event in told.engine.events.values()]
    assert drifts == [("drift", -3), ("drift_over", 0), ("drift", 4)]
    told.level(13)  # ours moves towards theirs
    assert told.kinds()[-1] == "drift_over"
    assert told.left() == 13, "what a channel shows is no stock"


def test_a_kit_of_kits_is_sold_as_often_as_its_last_parts_allow_and_holds_them() -> None:
    told = LastPublished()
    told.level(10)
    told.row("erp", "kit_part", "1", kit="K", sku="A", quantity=2 * UNIT)
    told.row("erp", "kit_part", "2", kit="L", sku="K", quantity=2 * UNIT)
    told.row("erp", "kit_part", "3", kit="L", sku="A", quantity=UNIT)
    assert told.engine.figures["L", "pl", "PL"][1] == 2 * UNIT  # five A each
    told.row("pl", "order", "1", number="1", placed_at=BASE_MS * 1000)
    told.row("pl", "order_line", "1", "1", sku="L", quantity=UNIT)
    assert told.left() == 5
    assert told.engine.figures["K", "pl", "PL"][1] == 2 * UNIT
    told.row("erp", "kit_part", "1", kit="K", sku="A", quantity=UNIT)  # the inner kit becomes smaller
    assert told.left() == 7
    assert told.engine.figures["L", "pl", "PL"][1] == 2 * UNIT


def test_a_kit_that_contains_itself_cannot_be_sold_until_it_is_mended() -> None:
    told = LastPublished()
    told.level(10)
    told.row("erp", "kit_part", "1", kit="K", sku="A", quantity=UNIT)
    told.row("erp", "kit_part", "2", kit="L", sku="K", quantity=UNIT)
    told.row("erp", "kit_part", "3", kit="K", sku="L", quantity=UNIT)
    assert told.engine.figures["K", "pl", "PL"][1] == told.engine.figures["L", "pl", "PL"][1] == 0
    assert told.left() == 10, "its part is sold by itself"
    told.row("erp", "kit_part", "3", gone=True)
    assert told.engine.figures["L", "pl", "PL"][1] == 10 * UNIT
