"""`nurt stock`, `nurt order`, `nurt reserve`, `nurt release`: what can be sold, and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, print_json, refuse, stdout
from nurt_client import EXPIRES_S

REFUSED = {
    "closed": "the flow of stock was not heard of for a minute, or catches up; see that `nurt run --flow stock` runs",
    "differs": "a line was reserved otherwise before; `nurt release` it first",
    "stale": "a new plan is being weighed; ask again",
    "unknown route": "the mapping's section `stock` has no such channel, or the channel does not sell to this market",
}
"""Texts for a refused reservation, by its status."""


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
    from nurt.cli.stock_page import opened_stock, show_stock

    with opened_stock(config) as opened:
        show_stock(opened, sku, channel, market, as_json)


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
    from nurt.cli.stock_page import LINES, decimals, opened_stock, orders_of, print_order

    with opened_stock(config) as opened:
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
            print_order(one)


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
    from nurt.app.stock import open_shop
    from nurt.cli.opening import deployment
    from nurt.cli.stock_page import time_text
    from nurt.model.units import Millis, in_micros
    from nurt_client import Line

    wanted = []
    for at, text in enumerate(lines, 1):
        sku, _, quantity = text.rpartition("=") if "=" in text else (text, "", "1")
        wanted.append(Line(str(at), sku, quantity))
    with deployment(config) as settings, open_shop(settings, realm) as shop:
        reservation = shop.reserve(order_number, wanted, channel, market, expires_s)
    answer = {
        "status": reservation.status,
        "sku": reservation.sku,
        "available": reservation.available,
        "until_ms": reservation.until_ms,
    }
    if as_json:
        print_json(answer)
    elif reservation:
        until = "" if reservation.until_ms is None else f" until {time_text(in_micros(Millis(reservation.until_ms)))}"
        stdout.print(f"{reservation.status}{until}")
    else:
        why = (
            REFUSED.get(reservation.status, "")
            if reservation.sku is None
            else f"{reservation.available} of {reservation.sku} can be had"
        )
        stdout.print(Text(f"{reservation.status}{': ' if why else ''}{why}", style="bold red"))
    raise typer.Exit(0 if reservation else 1)


def release(
    order_number: Annotated[str, typer.Argument(metavar="ORDER", help="Number or reference that was reserved under.")],
    channel: Annotated[str, typer.Option("--channel", help="Sales channel.")],
    realm: Annotated[str, typer.Option("--realm", help="Realm of the systems.")] = "default",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Let go of what an order reserved."""
    from nurt.app.stock import open_shop
    from nurt.cli.opening import deployment

    with deployment(config) as settings, open_shop(settings, realm) as shop:
        stdout.print("released" if shop.release(order_number, channel) else "nothing was reserved under this number")
