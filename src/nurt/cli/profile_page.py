"""A profile on a terminal: who, why, accounts, figures."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nurt.adapters.visible_text import visible
from nurt.cli.frame import shown, stdout
from nurt.inspect.profile_lookup import AccountView, ProfileView
from nurt.profiles.golden_record.write import FIELDS

WHY = {
    "only": "the only value",
    "verified_first": "verified",
    "source_priority": "this system is believed first",
    "newest": "the newest",
    "most_frequent": "held most often",
    "row": "as good as the others",
}
"""The rule that decided, in words. Source: the published schema's `rule`."""

WORDS = {"tax_id": "tax id", "loyalty_card": "loyalty card", "first_name": "first name", "last_name": "last name"}


def print_profile(view: ProfileView) -> None:
    """Print one profile."""
    stdout.print(
        Panel(Group(*_parts(view)), title=_title(view), title_align="left", border_style="cyan", padding=(1, 2))
    )


def _title(view: ProfileView) -> Text:
    content = view.content
    names = [visible(content[name]["value"]) for name in ("first_name", "last_name") if content.get(name)]
    firm = visible(content["company"]["value"]) if content.get("company") else ""
    name = " ".join(names) or firm or "without a name"
    return Text.assemble((f" {name} ", "bold"), ("" if firm in ("", name) else f"· {firm} ", ""))


def _parts(view: ProfileView) -> list[RenderableType]:
    letters = {account.account: letter for account, letter in zip(view.accounts, _letters(), strict=False)}
    parts: list[RenderableType] = [_head(view)]
    if view.state != "live":
        return parts
    content = view.content
    parts += _section("Who", _who(content))
    parts += _section("Why this is one customer", _why(view, letters))
    parts += _section("Accounts", _accounts(view.accounts, letters))
    parts += _section("Orders", _orders(content["orders"]))
    parts += _section("Bought most", _bought(content))
    parts += _section("Invoices", _invoices(content["invoices"]))
    parts += _section("Agreed to", _consents(content["consents"]))
    parts += _section("Addresses", _addresses(content["addresses"]))
    if content["last_interaction_on"] is not None:
        parts += ["", Text.assemble(("Last heard of ", "bold"), shown(content["last_interaction_on"]))]
    return parts


def _letters() -> Sequence[str]:
    alphabet = string.ascii_uppercase
    return [*alphabet, *(a + b for a in alphabet for b in alphabet)]


def _head(view: ProfileView) -> RenderableType:
    head = Text.assemble((view.profile.hex(), "dim"), "  ", (view.state, "green" if view.state == "live" else "yellow"))
    content = view.content
    if view.state == "live":
        head.append(visible(f" as of {content['as_of']}, realm {content['realm']}"), "dim")
    if view.state == "redirect":
        head.append(visible(f" to {content['redirect_to']}"), "dim")
    if view.due is not None:
        head.append(f"; changes by itself on {view.due}", "dim")
    for passed in view.trail:
        head.append(f"\n{passed.hex()}", "dim")
        head.append(" was merged into this one", "yellow")
    return head


def _section(title: str, body: Table | None) -> list[RenderableType]:
    return [] if body is None else ["", Text(title, "bold"), Padding(body, (0, 0, 0, 2))]


def _grid(*columns: str) -> Table:
    """Make a table without lines; a name that ends in `>` aligns its column to the right; no names: no header."""
    named = any(column.strip(">") for column in columns)
    table = Table(box=None, show_header=named, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


def _who(content: Mapping[str, Any]) -> Table | None:
    table = _grid("", "", "", "")
    for name in FIELDS:
        if chosen := content[name]:
            why = WHY.get(chosen["rule"], chosen["rule"])
            table.add_row(
                Text(WORDS.get(name, name.replace("_", " ")), "dim"),
                shown(chosen["value"]),
                shown(chosen["system"], "cyan"),
                shown(why, "dim"),
            )
    return table if table.row_count else None


def _why(view: ProfileView, letters: Mapping[bytes, str]) -> Table | None:
    """Say which identifiers join which accounts; identifiers of one account only stand beside this account."""
    table = _grid("", "", "")
    joining = [link for link in view.links if len(link.accounts) > 1]
    for link in joining:
        holders = " ─ ".join(letters[account] for account in link.accounts)
        table.add_row(
            shown(WORDS.get(link.kind, link.kind), "dim"), shown(link.value), Text(f"joins {holders}", "cyan")
        )
    if len(view.accounts) == 1:
        table.add_row(Text("one account only; nothing else shares an identifier with it", "dim"), "", "")
    return table


def _accounts(accounts: Sequence[AccountView], letters: Mapping[bytes, str]) -> Table:
    table = _grid("", "")
    for account in accounts:
        sold = [row for row in account.orders if row["count"]]
        parts = [" ".join((account.system, account.entity, "/".join(account.key)))]
        parts += [_count(sum(row["count"] for row in sold), "order")] if sold else []
        parts += [f"{_money(Decimal(row['gross']) / 10_000)} {row['currency']}" for row in sold]
        links = visible(", ".join(value for _, value in account.links))
        lines = Text.assemble(shown(" · ".join(parts)), (f"\n{links}" if links else "", "dim"))
        table.add_row(Text(letters[account.account], "cyan"), lines)
    return table


def _orders(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    table = _grid("", "")
    for row in rows:
        parts = [_count(row["count"], "order"), _money(row["gross"])]
        parts += [f"{_money(row['average'])} on average"] if row["count"] else []
        parts += [f"{row['first_on']} to {row['last_on']}"] if row["first_on"] else []
        beside = [f"{row[name]:,} {name}" for name in ("open", "returned", "cancelled") if row[name]]
        late = [
            f"{days} days: {_count(row[f'last_{days}_count'], 'order')}, {_money(row[f'last_{days}_gross'])}"
            for days in (30, 90, 365)
            if row[f"last_{days}_count"]
        ]
        money = [f"{_money(row['given_back'])} given back, {_money(row['net'])} net"] if row["given_back"] else []
        money += [f"{_money(row['paid'])} paid"] if row["paid"] else []
        money += [f"{_money(row['open_amount'])} to be paid"] if row["open_amount"] else []
        where = " ".join(part for part in (row["currency"], row["market"]) if part)
        lines = [" · ".join(some) for some in (parts + beside, money, late) if some]
        rest = "".join(f"\n{visible(line)}" for line in lines[1:])
        table.add_row(shown(where), Text.assemble(shown(lines[0]), (rest, "dim")))
    return table


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _bought(content: Mapping[str, Any]) -> Table | None:
    products, categories = content["products"], content["categories"]
    if not products and not categories:
        return None
    table = _grid("", "")
    for word, rows, name in (("products", products, "sku"), ("categories", categories, "category")):
        if rows:
            listed = ", ".join(f"{row[name]} ×{_quantity(row['quantity'])}" for row in rows)
            table.add_row(Text(word, "dim"), shown(listed))
    return table


def _invoices(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    table = _grid("", "")
    for row in rows:
        late = f"{row['overdue_count']:,} overdue: {_money(row['overdue_amount'])} {row['currency']}"
        table.add_row(
            shown(f"{row['open_count']:,} open: {_money(row['open_amount'])} {row['currency']}"),
            shown(late, "red") if row["overdue_count"] else "",
        )
    return table


def _consents(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    table = _grid("", "", "", "")
    answers = {True: Text("yes", "green"), False: Text("no", "red"), None: Text("not said", "dim")}
    for row in rows:
        at = row["at"]
        table.add_row(
            shown(row["purpose"]),
            answers[row["granted"]],
            shown(row["system"], "cyan"),
            Text(f"{at:%Y-%m-%d %H:%M} UTC" if isinstance(at, datetime) else "", "dim"),
        )
    return table


def _addresses(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    table = _grid("", "", "")
    for row in rows:
        place = " ".join(part for part in (row["postcode"], row["city"]) if part)
        parts = [row["name"], row["company"], row["street"], place, row["region"], row["country"]]
        text = ", ".join(" ".join(part.split()) for part in parts if part)
        text += f" ({row['count']} times)" if row["count"] > 1 else ""
        table.add_row(shown(row["kind"] or "", "dim"), shown(text), shown(row["system"], "cyan"))
    return table


def _money(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:,.2f}"


def _quantity(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
