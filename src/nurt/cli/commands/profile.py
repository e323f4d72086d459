"""`nurt profile`: one customer, found by anything that points at them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nurt.cli.frame import (
    DEFAULT_CONFIG,
    AsJson,
    Config,
    print_json_line,
    print_table,
    stdout,
)
from nurt.errors import NurtError

if TYPE_CHECKING:
    from nurt.cli.opening import OpenState
    from nurt.inspect.profile_lookup import ProfileView

_ID = re.compile(r"[0-9a-fA-F]{32}")


def profile(
    who: Annotated[
        str,
        typer.Argument(
            help="A profile or account id, an e-mail, phone, tax id, card, or system/key.", show_default=False
        ),
    ],
    kind: Annotated[
        str | None, typer.Option("--kind", "-k", help="Read it as this kind of identifier only: email, phone, ...")
    ] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show a customer: who, why these accounts are one, orders, invoices, consents.

    [bold]Examples[/bold]

    nurt profile anna@example.com  [dim]# by e-mail; case and spaces do not matter[/dim]

    nurt profile "600 700 800"  [dim]# by phone, tried in every system's country[/dim]

    nurt profile shop_pl/17  [dim]# by a system's own key (entity customer)[/dim]

    nurt profile erp/customer/17  [dim]# the same with the entity's name, and keys of several parts: a/b/c[/dim]

    nurt profile 9f0c2a… --json | jq .content.orders  [dim]# by id; a merged one leads to its heir[/dim]
    """
    from nurt.cli.opening import opened_state
    from nurt.cli.profile_page import print_profile

    with opened_state(config) as state:
        found = find(state, who, kind)
        views = [view for one in found if (view := state.profiles.profile(one)) is not None]
        if not views:
            raise NurtError(
                f"looking for a profile: {_nothing(state, who, kind)}; check the spelling, or see `nurt stats`"
            )
        if as_json:
            for view in views:
                print_json_line(as_plain(view))
        elif len(views) == 1:
            print_profile(views[0])
        else:
            _print_several(views)


def find(state: OpenState, who: str, kind: str | None) -> list[bytes]:
    """Find profiles by an id, a system's key or an identifier; each profile once."""
    if kind is None and _ID.fullmatch(who):
        one = bytes.fromhex(who)
        if state.profiles.profile(one) is not None:
            return [one]
        account = state.profiles.profile_of_account(one)
        return [] if account is None else [account]
    if kind is None and (key := _native_key(state, who)) is not None:
        system, entities, parts = key
        return [one for entity in entities for one in state.profiles.profiles_of_key(system, entity, parts)]
    return [one for one, _ in state.profiles.profiles_of_identifier(who, kind)]


def _native_key(state: OpenState, who: str) -> tuple[str, list[str], list[str]] | None:
    """Read `system/key` or `system/entity/key` into system, entities and parts of the key; None for other texts.

    A guest order is `system/guest/entity/key`; the parts of a composite key go on with `/`.
    """
    from nurt.rows.children.tables import GUEST

    system, *rest = who.split("/")
    if not rest or system not in state.systems:
        return None
    known = state.systems[system]
    if len(rest) > 1 and rest[0] in known:
        return system, [rest[0]], rest[1:]
    return system, sorted(known - {GUEST}), rest


def _nothing(state: OpenState, who: str, kind: str | None) -> str:
    if kind is None and _ID.fullmatch(who):
        return "no profile or account has this id"
    if kind is None and _native_key(state, who) is not None:
        return "no account has this key"
    kinds = list(dict.fromkeys(each for each, _ in state.profiles.readings(who, kind)))
    if not kinds:
        return "it can be read as no identifier (expected an e-mail, phone, tax id, card, id, or system/key)"
    return f"read as {' or '.join(kinds)}, it points at nobody"


def _print_several(views: list[ProfileView]) -> None:
    rows = [(view.profile.hex(), display_name(view.content), view.content.get("realm", "")) for view in views]
    print_table("Several customers; ask for one by its id, or narrow it with --kind", ("id", "name", "realm"), rows)
    stdout.print()


def display_name(content: Mapping[str, Any]) -> str:
    """Name a customer: the person, else the firm, else nobody."""
    chosen = [content.get(name) for name in ("first_name", "last_name")]
    name = " ".join(one["value"] for one in chosen if one)
    firm = content.get("company")
    return name or (firm["value"] if firm else "") or "without a name"


def as_plain(view: ProfileView) -> dict[str, Any]:
    """Make a profile's JSON: the published content, and why."""
    return asdict(view)
