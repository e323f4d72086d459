"""Stock and orders on a terminal: what can be sold and why, an order with its sales documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from nurt.adapters.clock import SystemClock
from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.errors import naming_failures
from nurt.app.opening import fold_context
from nurt.cli.frame import print_json, print_table, refuse, shown, stdout
from nurt.cli.opening import deployment
from nurt.columnar.ids import Ids
from nurt.columnar.values import Values
from nurt.mapping.load import read_mapping
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import cut_keys
from nurt.model.units import Day, Micros, in_micros
from nurt.settings import Settings, stock_settings
from nurt.state.table import OWNER
from nurt.stock.from_rows import KIT_PART, LEVEL, POSITIONS, SUPPLY
from nurt.stock.holds import BOOKING, HOLDS
from nurt.stock.matching.match_keys import order_match_key
from nurt.stock.routes import compile_routes
from nurt.stock.stages.view import Looked, StockView
from nurt_client.ids import sku_id
from nurt_client.quantities import to_decimal

FIGURES = ("available", "on_hand", "inbound", "held", "reserved", "buffer", "oversold")
LINES = ("ordered", "returned", "booked", "shipped", "remaining")


Opened = tuple[StockView, list[str], Ids]


@contextmanager
def opened_stock(config: Path) -> Iterator[Opened]:
    """Open the stock of the deployment that a settings file describes."""
    with deployment(config) as own, view_of(own) as opened:
        yield opened


@contextmanager
def view_of(own: Settings) -> Iterator[Opened]:
    """Open a deployment's stock for reading: the view, the realms, and the names of skus."""
    mapping = read_mapping(own.mapping_files)
    if mapping.stock is None:
        raise refuse(
            "looking at stock", "the mapping has no section `stock`", "docs/mapping.md, Stock, says what to write"
        )
    settings = stock_settings(own)
    ids = Ids(settings.ids_secret())
    client: Any = open_redis(settings.redis_url)
    view = StockView(
        lambda blocks: [Values.of(client.mget(cut_keys(block)) if len(block) else []) for block in blocks],
        Keys(settings.prefix, settings.shards),
        fold_context(mapping, ids),
        compile_routes(mapping.stock),
    )
    with naming_failures(client):
        yield view, sorted({system.realm for system in mapping.systems.values()}), ids
    client.close()


def show_stock(
    opened: Opened, sku: str, channel: str | None = None, market: str | None = None, as_json: bool = False
) -> None:
    """Print what can be sold of a sku, and why."""
    view, realms, ids = opened
    for realm in realms:
        looked = view.look(realm, words_of([sku_id(ids, sku)]), SystemClock().now())
        if len(looked.ids):
            break
    else:
        raise refuse(f"showing stock of {sku}", "no stock level, supply, kit or order names it", "check the spelling")
    routes = view.routes
    rows = [
        decimals(row, FIGURES)
        for row in looked.figures.frame(routes, looked.skus).iter_rows(named=True)
        if channel in (None, row["channel"]) and market in (None, row["market"])
    ]
    made_of = _made_of(looked, view)
    if as_json:
        for row in rows:
            row.pop(OWNER)
        print_json({"sku": sku, "realm": realm, "figures": rows, "made_of": made_of})
        return
    print_table(
        f"{sku}: what can be sold",
        ("channel", "market", "available>", "on hand>", "inbound>", "held>", "reserved>", "buffer>"),
        [[row["channel"], row["market"], *(row[name] for name in FIGURES[:-1])] for row in rows],
    )
    stdout.print()
    print_table("Where it comes from", ("what", "where", "quantity>", "why"), [list(one.values()) for one in made_of])
    if rows and rows[0]["oversold"]:
        stdout.print(Text(f"\noversold by {rows[0]['oversold']}: more is held than there is", style="bold red"))
    if len(set(routes.bins[: routes.sold])) > 1:
        stdout.print(
            Text(
                "\nChannels and markets share locations: what is held for one may leave less for another than its "
                "own line shows, so `available` can be below on hand + inbound - held - reserved - buffer, or above it "
                "where others can be served elsewhere.",
                "dim",
            )
        )


def _made_of(looked: Looked, view: StockView) -> list[dict[str, Any]]:
    """List every number that counts, with its reason."""
    made: list[dict[str, Any]] = []
    plan = view.routes.plan

    def add(what: str, where: str, quantity: int, why: str) -> None:
        made.append({"what": what, "where": where, **decimals({"quantity": quantity}, ["quantity"]), "why": why})

    for row in POSITIONS.unpack(looked.positions.plain()).sort("part", "location", "system").iter_rows(named=True):
        place = row["location"] or ""
        if row["part"] == LEVEL:
            known = place in plan.locations
            add("on hand", place, row["quantity"] or 0, row["system"] if known else f"{row['system']}: not in the plan")
            if row["reserved_quantity"]:
                add("reserved by its system", place, -row["reserved_quantity"], row["system"])
        elif row["part"] == SUPPLY and row["quantity"]:
            add("inbound", place, row["quantity"], f"expected {_day(row['expected_on'])}, {row['system']}")
        elif row["part"] == KIT_PART:
            add("kit: made of", row["of"] or "", row["quantity"] or 0, "in one kit")
    for name, location in plan.locations.items():
        if location.buffer:
            add("buffer", name, -location.buffer, "of the location")
    for route in plan.channels.values():
        if route.buffer:
            add("buffer", route.name, -route.buffer, "of the channel")
    for market in plan.markets.values():
        if market.buffer:
            add("buffer", market.name, -market.buffer, "of the market")
    for row in HOLDS.unpack(looked.held.plain()).sort("part", "channel", "market").iter_rows(named=True):
        where = row["location"] or f"{row['channel'] or 'any'}/{row['market'] or ''}"
        if row["part"] == BOOKING:
            add(
                "booked",
                where,
                -row["quantity"],
                f"on hand may not show it before {time_text(in_micros(row['due_ms']))}",
            )
        else:
            add("held by orders", where, -row["quantity"], "" if row["of"] is None else f"through kit {row['of']}")
    for at, (channel, market_name) in enumerate(view.routes.names):
        if looked.ledger[0, at]:
            add("reserved", f"{channel}/{market_name}", -int(looked.ledger[0, at]), "by checkouts, until they expire")
    return made


def orders_of(opened: Opened, number: str) -> list[dict[str, Any]]:
    """Find the current orders with a number or reference, in all realms."""
    view, realms, ids = opened
    found: list[dict[str, Any]] = []
    for realm in realms:
        sales_documents = view.by_match_key(realm, [order_match_key(ids, number)])
        joined = view.orders(realm, sales_documents, SystemClock().now())
        found += [one for one in joined.values() if one and number in (one["number"], one["reference"])]
    return found


def print_order(one: dict[str, Any]) -> None:
    """Print an order with its lines and sales documents."""
    title = Text.assemble(
        ("order ", "dim"), shown(one["number"] or one["reference"], "bold"), shown(f"  {one['stage']}", "bold")
    )
    stdout.print(title)
    stdout.print(
        shown(
            f"{one['system']}, channel {one['channel']}, market {one['market'] or '-'}, status {one['status'] or '-'}, "
            f"placed {time_text(one['placed_at'])}",
            "dim",
        )
    )
    rows = [[line["sku"], line["location"] or "", *(line[name] for name in LINES)] for line in one["lines"]]
    print_table("", ("sku", "location", *(f"{name}>" for name in LINES)), rows)
    steps = [
        ["document", d["system"], d["number"] or "", d["status"] or "", time_text(d["booked_at"]), ""]
        for d in one["documents"]
    ]
    for s in one["shipments"]:
        carried = " ".join(filter(None, [s["carrier"], s["tracking"]]))
        when = time_text(s["shipped_at"])
        steps.append(["shipment", s["system"], s["number"] or "", s["status"] or "", when, carried])
    if steps:
        print_table("", ("", "system", "number", "status", "when", "tracking"), steps)
    else:
        stdout.print(Text("no document and no shipment of it yet", "dim"))
    stdout.print()


def decimals(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Turn quantities of a row into decimals, for people."""
    return {**row, **{name: to_decimal(row[name]) for name in names}}


def time_text(moment: Micros | None) -> str:
    """Write a moment for people."""
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _day(day: Day | None) -> str:
    return "on no day" if day is None else datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
