"""Recompute profiles from their accounts: nothing is kept but the result, so a split is as easy as a merge.

Hot path. Arrays of many profiles' accounts in, columns as `schemas/nurt.profiles-value` out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.arrow_columns import (
    Column,
    Rows,
    Texts,
    boolean_column,
    coded_texts,
    hex_texts,
    join_texts,
    list_column,
    null_column,
    number_column,
    struct_column,
    words_of,
)
from nurt.core.choice import ONLY, ROW, choose
from nurt.core.context import RULES, FoldContext
from nurt.core.contributions import ACCOUNT_SLOTS, CATEGORY, CODE, HEAD_PART, PRODUCT, SUMS
from nurt.core.figures import (
    Sums,
    find_last_interaction,
    list_most_bought,
    next_change,
    sum_invoices,
    sum_orders,
)
from nurt.core.link_texts import cut_links
from nurt.core.packing import Int64s, text_buffers
from nurt.core.tables import Raw
from nurt.core.text_groups import group_texts

FIELDS = (
    *("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card"),
    *("birth_date", "gender", "language", "country", "market"),
)
VERIFIED_BY = {"email": "email_verified", "phone": "phone_verified"}
IDENTIFIERS = ("email", "phone", "tax_id", "loyalty_card")
ADDRESS = ("kind", "name", "company", "street", "city", "region", "postcode", "country", "phone")

LAST_PRIORITY = 1_000_000
"""Priority of a system that the mapping gives none: after all others."""

LISTS = ("identifiers", "addresses", "accounts", "orders", "products", "categories", "invoices", "consents")
_NO_DAY = 0
"""A redirect does not change with the day."""


def live_profiles(
    profile_ids: Sequence[bytes],
    realms: Sequence[str],
    profile_of: Int64s,
    slots: Raw,
    sums: Raw,
    as_of: int,
    context: FoldContext,
) -> tuple[dict[str, Column], Int64s]:
    """Compute profiles from the values of their accounts.

    Args:
        profile_ids: ids of the profiles.
        realms: theirs.
        profile_of: by account: index of its profile.
        slots: ACCOUNT_SLOTS; the owner is an account.
        sums: SUMS; the owner is an account.
        as_of: the day that windows end with.
        context: rules and priorities.

    Returns:
        Columns with a row for every profile, in order, and the next day that the clock alone changes it (-1: none).
    """
    owners = len(profile_ids)
    held = _Slots(Rows(ACCOUNT_SLOTS, slots), profile_of[slots.owner], owners)
    added = Sums(Rows(SUMS, sums), profile_of[sums.owner], owners)
    columns = {
        **_named(profile_ids, realms, "live", as_of),
        "redirect_to": null_column(owners),
        **_chosen(held, context),
        "identifiers": _identifiers(held),
        "addresses": _addresses(held),
        "accounts": _accounts(held),
        "orders": sum_orders(added, as_of),
        "products": list_most_bought(added, PRODUCT, "sku"),
        "categories": list_most_bought(added, CATEGORY, "category"),
        "invoices": sum_invoices(added, as_of),
        "consents": _consents(held),
        "last_interaction_on": find_last_interaction(added),
    }
    return columns, next_change(added, as_of)


def redirects(profile_ids: Sequence[bytes], realms: Sequence[str], heirs: Sequence[bytes]) -> dict[str, Column]:
    """Make the columns of profiles that went into others: they say where, and nothing else."""
    nothing = null_column(len(profile_ids))
    return {
        **_named(profile_ids, realms, "redirect", _NO_DAY),
        "redirect_to": hex_texts(words_of(heirs)).column(),
        **dict.fromkeys((*FIELDS, *LISTS, "last_interaction_on"), nothing),
    }


def _named(profile_ids: Sequence[bytes], realms: Sequence[str], state: str, as_of: int) -> dict[str, Column]:
    owners = len(profile_ids)
    names = list(dict.fromkeys(realms))
    code = {name: index for index, name in enumerate(names)}
    realm = np.fromiter(map(code.__getitem__, realms), dtype=np.int64, count=owners)
    zero = np.zeros(owners, dtype=np.int64)
    return {
        "id": hex_texts(words_of(profile_ids)).column(),
        "revision": number_column(zero),
        "state": coded_texts(zero, [state]).column(),
        "realm": coded_texts(realm, names).column(),
        "as_of": number_column(zero + as_of),
    }


@dataclass(frozen=True, slots=True)
class _Slots:
    """Slots of accounts, and whose profile each is in."""

    rows: Rows
    owner: Int64s
    owners: int

    def of(self, *parts: int) -> Int64s:
        return np.flatnonzero(np.isin(self.rows.number("part"), parts))

    def in_order(self, found: Int64s) -> tuple[Int64s, Texts]:
        """Sort rows by owner and id; returns them and their ids in hex."""
        ids = self.rows.ids("child", found)
        order = np.lexsort((ids[:, 1], ids[:, 0], self.owner[found]))
        return found[order], hex_texts(ids[order])


def _chosen(held: _Slots, context: FoldContext) -> dict[str, Column]:
    rows = held.rows
    people = held.of(CODE["customer"], CODE["order"])
    owner = held.owner[people]
    ids = rows.ids("child", people)
    names, system, position = hex_texts(ids), rows.texts("system").take(people), rows.texts("position").take(people)
    by_system = {name.encode(): priority for name, priority in context.priority.items()}
    priority = np.array([by_system.get(name, LAST_PRIORITY) for name in system.plain()], dtype=np.int64)
    updated_at = np.where(rows.present("updated_at"), rows.number("updated_at"), rows.number("ts_ms") * 1000)[people]
    chosen: dict[str, Column] = {}
    for name in FIELDS:
        present = rows.present(name)[people]
        if not present.any():
            chosen[name] = null_column(held.owners)
            continue
        values = _dates(rows.number(name)[people], present) if name == "birth_date" else rows.texts(name).take(people)
        rules = [rule for rule in context.rules.get(name, RULES) if rule != "verified_first" or name in VERIFIED_BY]
        keys = np.empty((len(rules), len(people)), dtype=np.int64)
        for key, rule in zip(keys, rules, strict=True):
            if rule == "verified_first":
                key[:] = 1 - rows.number(VERIFIED_BY[name])[people]
            elif rule == "most_frequent":
                key[:] = -_frequency(owner, values, present)
            else:
                key[:] = priority if rule == "source_priority" else -updated_at
        won = choose(owner, values, present, keys, ids, held.owners)
        row = np.maximum(won.row, 0)
        fields = {
            "value": values.take(row).column(),
            "system": system.take(row).column(),
            "row": names.take(row).column(),
            "position": position.take(row).column(),
            "rule": coded_texts(np.maximum(won.rule, 0), [*rules, ROW, ONLY]).column(),
        }
        chosen[name] = struct_column(fields, won.row >= 0)
    return chosen


def _dates(days: Int64s, present: npt.NDArray[np.bool_]) -> Texts:
    """Write days since 1970 in ISO 8601."""
    series = pl.Series(np.where(present, days, 0)).cast(pl.Int32).cast(pl.Date).dt.to_string("%Y-%m-%d")
    offsets, body = text_buffers(series)
    return Texts(offsets[:-1], offsets[1:], body)


def _frequency(owner: Int64s, values: Texts, present: npt.NDArray[np.bool_]) -> Int64s:
    """Count, by candidate, how many of its owner hold its value."""
    some = np.flatnonzero(present)
    group = group_texts(owner[some], values.take(some)).by_row()
    frequency = np.zeros(len(owner), dtype=np.int64)
    frequency[some] = np.bincount(group)[group]
    return frequency


def _identifiers(held: _Slots) -> Column:
    """List every distinct (kind, value), in order."""
    people = held.of(CODE["customer"], CODE["order"])
    found: list[tuple[Int64s, Texts, Texts]] = []
    for code, kind in enumerate(IDENTIFIERS):
        some = people[held.rows.present(kind)[people]]
        kinds = coded_texts(np.full(len(some), code, dtype=np.int64), IDENTIFIERS)
        found.append((held.owner[some], kinds, held.rows.texts(kind).take(some)))
    some = people[held.rows.present("identifiers")[people]]
    if len(some):
        link, kinds, values = cut_links(held.rows.texts("identifiers").take(some))
        found.append((held.owner[some][link], kinds, values))
    owner = np.concatenate([owner for owner, _, _ in found])
    if not len(owner):
        return null_column(held.owners)
    kinds, values = join_texts([kinds for _, kinds, _ in found]), join_texts([values for _, _, values in found])
    groups = group_texts(owner, kinds, values)
    first = groups.rows()
    fields = {"kind": kinds.take(first).column(), "value": values.take(first).column()}
    return list_column(groups.owner, held.owners, struct_column(fields))


def _addresses(held: _Slots) -> Column:
    found = held.of(CODE["address"])
    if not len(found):
        return null_column(held.owners)
    found, names = held.in_order(found)
    fields = {"system": held.rows.texts("system").take(found).column(), "row": names.column()}
    fields |= {name: held.rows.texts(name).take(found).column(held.rows.present(name)[found]) for name in ADDRESS}
    return list_column(held.owner[found], held.owners, struct_column(fields))


def _accounts(held: _Slots) -> Column:
    found = held.of(HEAD_PART)
    if not len(found):
        return null_column(held.owners)
    found, names = held.in_order(found)
    fields = {"account": names.column()}
    fields |= {name: held.rows.texts(name).take(found).column() for name in ("system", "entity", "key")}
    return list_column(held.owner[found], held.owners, struct_column(fields))


def _consents(held: _Slots) -> Column:
    """List the latest consent of each purpose: by time, an unknown time first, then by row."""
    found = held.of(CODE["consent"])
    found = found[held.rows.present("purpose")[found]]
    if not len(found):
        return null_column(held.owners)
    group = group_texts(held.owner[found], held.rows.texts("purpose").take(found)).by_row()
    ids = held.rows.ids("child", found)
    known, at = held.rows.present("at")[found], held.rows.number("at")[found]
    order = np.lexsort((ids[:, 1], ids[:, 0], at, known, group))
    last = order[np.flatnonzero(np.diff(group[order], append=-1))]
    rows = found[last]
    fields = {
        "purpose": held.rows.texts("purpose").take(rows).column(),
        "granted": boolean_column(held.rows.number("granted")[rows] != 0, held.rows.present("granted")[rows]),
        "at": number_column(at[last], known[last]),
        "system": held.rows.texts("system").take(rows).column(),
        "row": hex_texts(ids[last]).column(),
    }
    return list_column(held.owner[rows], held.owners, struct_column(fields))
