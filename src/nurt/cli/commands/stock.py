"""`nurt stock`, `nurt order`, `nurt reserve`, `nurt release`: what can be sold, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from nurt.adapters.clock import SystemClock
from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.errors import naming_failures
from nurt.app.opening import fold_context
from nurt.app.stock import open_shop
from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, deployment, page, print_json, print_table, refuse
from nurt.columnar.ids import Ids
from nurt.columnar.values import Values
from nurt.mapping.load import read_mapping
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import cut_keys
from nurt.model.units import Day, Micros, Millis, in_micros
from nurt.settings import Settings, stock_settings
from nurt.state.table import OWNER
from nurt.stock.from_rows import KIT_PART, LEVEL, SHELVES, SUPPLY
from nurt.stock.holds import BOOKING, HOLDS
from nurt.stock.matching.match_keys import order_token
from nurt.stock.routes import compile_routes
from nurt.stock.stages.view import Looked, StockView
from nurt_client import EXPIRES_S, Line
from nurt_client.ids import sku_id
from nurt_client.quantities import to_decimal

FIGURES = ("available", "on_hand", "inbound", "held", "reserved", "buffer", "oversold")
LINES = ("ordered", "returned", "booked", "shipped", "remaining")


Opened = tuple[StockView, list[str], Ids]

REFUSED = {
    "closed": "the flow of stock was not heard of for a minute, or catches up; see that `nurt run --flow stock` runs",
    "differs": "a line was reserved otherwise before; `nurt release` it first",
    "stale": "a new plan is being weighed; ask again",
    "unknown route": "the mapping's section `stock` has no such channel, or the channel does not sell to this market",
}
"""What to say of a reservation that was not made, by its status."""


@contextmanager
def _opened(config: Any) -> Iterator[Opened]:
    with deployment(config) as own, view_of(own) as opened:
        yield opened


@contextmanager
def view_of(own: Settings) -> Iterator[Opened]:
    """Open a deployment's stock for looking at it: the view, the realms, and what names skus."""
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


def stock(
    sku: Annotated[str, typer.Argument(help="Stock keeping unit, as the source systems write it.")],
    channel: Annotated[str | None, typer.Option("--channel", help="Only this sales channel.")] = None,
    market: Annotated[str | None, typer.Option("--market", help="Only this market.")] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what can be sold of a sku right now, and the arithmetic line by line.

    [bold]Examples[/bold]

    nurt stock A-100

    nurt stock A-100 --channel shop_pl --market PL --json
    """
    with _opened(config) as opened:
        show_stock(opened, sku, channel, market, as_json)


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
    page.print()
    print_table("Where it comes from", ("what", "where", "quantity>", "why"), [list(one.values()) for one in made_of])
    if rows and rows[0]["oversold"]:
        page.print(Text(f"\noversold by {rows[0]['oversold']}: more is held than there is", style="bold red"))
    if len(set(routes.bins[: routes.sold])) > 1:
        page.print(
            "\n[dim]Channels and markets share locations: what is held for one may leave less for another than its "
            "own line shows, so `available` can be below on hand + inbound - held - reserved - buffer, or above it "
            "where others can be served elsewhere.[/dim]"
        )


def _made_of(looked: Looked, view: StockView) -> list[dict[str, Any]]:
    """List every number that counts, with its reason."""
    made: list[dict[str, Any]] = []
    plan = view.routes.plan

    def add(what: str, where: str, quantity: int, why: str) -> None:
        made.append({"what": what, "where": where, **decimals({"quantity": quantity}, ["quantity"]), "why": why})

    for row in SHELVES.unpack(looked.shelves.plain()).sort("part", "location", "system").iter_rows(named=True):
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
            add("booked", where, -row["quantity"], f"on hand may not show it before {_time(row['due_ms'] * 1000)}")
        else:
            add("held by orders", where, -row["quantity"], "" if row["of"] is None else f"through kit {row['of']}")
    for at, (channel, market_name) in enumerate(view.routes.names):
        if looked.ledger[0, at]:
            add("reserved", f"{channel}/{market_name}", -int(looked.ledger[0, at]), "by checkouts, until they expire")
    return made


def order(
    number: Annotated[str, typer.Argument(help="The order's number or reference.")],
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show an order across shop, ERP and warehouse: documents, shipments, and what still holds stock.

    [bold]Examples[/bold]

    nurt order 100000017

    nurt order 100000017 --json
    """
    with _opened(config) as opened:
        found = orders_of(opened, number)
        if not found:
            raise refuse(
                f"showing order {number}", "no order has this number or reference", "check it, or wait for its row"
            )
        for one in found:
            one["lines"] = [decimals(line, LINES) for line in one["lines"]]
        if as_json:
            print_json(found)
            return
        for one in found:
            _print_order(one)


def orders_of(opened: Opened, number: str) -> list[dict[str, Any]]:
    """Find the orders with a number or reference, of all realms, as they are now."""
    view, realms, ids = opened
    found: list[dict[str, Any]] = []
    for realm in realms:
        papers = view.by_token(realm, [order_token(ids, number)])
        joined = view.orders(realm, papers, SystemClock().now())
        found += [one for one in joined.values() if one and number in (one["number"], one["reference"])]
    return found


def _print_order(one: dict[str, Any]) -> None:
    title = Text.assemble(("order ", "dim"), (one["number"] or one["reference"], "bold"), (f"  {one['stage']}", "bold"))
    page.print(title)
    page.print(
        Text(
            f"{one['system']}, channel {one['channel']}, market {one['market'] or '-'}, status {one['status'] or '-'}, "
            f"placed {_time(one['placed_at'])}",
            style="dim",
        )
    )
    rows = [[line["sku"], line["location"] or "", *(line[name] for name in LINES)] for line in one["lines"]]
    print_table("", ("sku", "location", *(f"{name}>" for name in LINES)), rows)
    steps = [
        ["document", d["system"], d["number"] or "", d["status"] or "", _time(d["booked_at"]), ""]
        for d in one["documents"]
    ]
    for s in one["shipments"]:
        carried = " ".join(filter(None, [s["carrier"], s["tracking"]]))
        steps.append(["shipment", s["system"], s["number"] or "", s["status"] or "", _time(s["shipped_at"]), carried])
    if steps:
        print_table("", ("", "system", "number", "status", "when", "tracking"), steps)
    else:
        page.print("[dim]no document and no shipment of it yet[/dim]")
    page.print()


def reserve(
    order_number: Annotated[str, typer.Argument(metavar="ORDER", help="Number or reference that the order will have.")],
    lines: Annotated[list[str], typer.Argument(help="SKU or SKU=QUANTITY, as many as the order has lines.")],
    channel: Annotated[str, typer.Option("--channel", help="Sales channel.")],
    market: Annotated[str, typer.Option("--market", help="Market.")] = "",
    realm: Annotated[str, typer.Option("--realm", help="Realm of the systems.")] = "default",
    expires_s: Annotated[float, typer.Option("--expires", help="Seconds until it ends by itself.")] = EXPIRES_S,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Hold stock for an order, all lines or none; asking again holds nothing more.

    Exit code 0: held; 1: refused.

    [bold]Example[/bold]

    nurt reserve 100017 A-1=2 B-2 --channel shop_pl --market PL
    """
    wanted = []
    for at, text in enumerate(lines, 1):
        sku, _, quantity = text.rpartition("=") if "=" in text else (text, "", "1")
        wanted.append(Line(str(at), sku, quantity))
    with deployment(config) as settings, open_shop(settings, realm) as shop:
        held = shop.reserve(order_number, wanted, channel, market, expires_s)
    told = {"status": held.status, "sku": held.sku, "available": held.available, "until_ms": held.until_ms}
    if as_json:
        print_json(told)
    elif held:
        until = "" if held.until_ms is None else f" until {_time(in_micros(Millis(held.until_ms)))}"
        page.print(f"{held.status}{until}")
    else:
        why = REFUSED.get(held.status, "") if held.sku is None else f"{held.available} of {held.sku} can be had"
        page.print(Text(f"{held.status}{': ' if why else ''}{why}", style="bold red"))
    raise typer.Exit(0 if held else 1)


def release(
    order_number: Annotated[str, typer.Argument(metavar="ORDER", help="Number or reference that was reserved under.")],
    channel: Annotated[str, typer.Option("--channel", help="Sales channel.")],
    realm: Annotated[str, typer.Option("--realm", help="Realm of the systems.")] = "default",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Let go of what an order reserved."""
    with deployment(config) as settings, open_shop(settings, realm) as shop:
        page.print("released" if shop.release(order_number, channel) else "nothing was reserved under this number")


def decimals(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Turn quantities of a row into decimals, for people."""
    return {**row, **{name: to_decimal(row[name]) for name in names}}


def _time(moment: Micros | None) -> str:
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _day(day: Day | None) -> str:
    return "on no day" if day is None else datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
