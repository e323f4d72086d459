"""Recompute every profile from the final rows, in the plainest Python: the oracle of "stream equals batch".

It shares nothing with the folds. Where the rules leave room, it decides as follows.

* Accounts. A row that names a customer key makes that account exist, whether or not the customer's row does; an
  account's `entity` is the customer entity's name in that system. A guest's account has the entity `guest`; its key is
  the order entity's name, U+001F and the order's key. Lines, payments and shipments, and invoices of an order, make no
  account by themselves, and count only while the order's own row exists. A child without parent belongs to nobody,
  but for addresses, consents and interactions that bring identifiers: each is a guest's account, named like an order's.
* Rows that speak. Beside customers and guests' orders, each address, consent and interaction speaks by its identifiers:
  they are links of its account, and the smallest of each kind that is a field is a candidate.
* Profile id: the id of the text `profile U+001F <anchor account id in hex>`.
* Guests. Only `email`, `phone`, `first_name`, `last_name`, `country` and `market` of the order row speak, as stored:
  the system's default market is no candidate. Nothing of theirs is verified; `newest` is the row's `ts_ms`.
* Choosing. Candidates are equal when their (normalised) values are equal. Each rule keeps its best candidates; the
  named rule is the first that drops a candidate with another value than the winner's. `most_frequent` counts over all
  candidates, not the ones left. Rules that cannot tell (verified_first on a name) drop nobody. Of the rest the
  smallest row id wins; the rule is `row` only if another value was still among them.
* A text that is empty is a value; only null is none.
* Orders. `first_on`, `last_on` and windows leave cancelled orders out; orders of the future count in `count`, `gross`,
  `first_on` and `last_on`. A (currency, market) with cancelled orders only has a line with average null.
* Products and categories: what is returned more often than bought stays, with a negative quantity.
* Invoices: a currency without open invoices has no line; null currency as with orders, never the order's own.
* Consents: a null purpose is left out; at equal `at` the larger row id wins.
* Interactions in the future count for `last_interaction_on`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.oracle.final_row import FinalRow, Named, Normalise, SystemLike, normalise_plainly

CHOSEN = (
    *("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card"),
    *("birth_date", "gender", "language", "country", "market"),
)
IDENTIFIERS = ("email", "phone", "tax_id", "loyalty_card")
STAND_IN = ("address", "consent", "interaction")
GUEST_SAYS = ("email", "phone", "first_name", "last_name", "country", "market")
ADDRESS = ("kind", "name", "company", "street", "city", "region", "postcode", "country", "phone")
DEFAULT_RULES = ("verified_first", "source_priority", "newest")
WINDOWS_DAYS = (30, 90, 365)
MOST = 10
DAY_US = 86_400_000_000

Profile = dict[str, Any]


@dataclass(slots=True)
class _Account:
    id: bytes
    system: str
    entity: str
    key: str
    speaker: FinalRow | None = None  # the customer's row, or the guest's order
    others: list[FinalRow] = field(default_factory=list)  # other rows with identifiers
    rows: dict[str, list[FinalRow]] = field(default_factory=lambda: defaultdict(list))
    links: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Candidate:
    value: str
    row: FinalRow
    verified: bool
    priority: int
    newest_us: int


def expected_profiles(
    rows: Mapping[str, Sequence[FinalRow]],
    systems: Mapping[str, SystemLike],
    rules: Mapping[str, Sequence[str]],
    as_of: int,
    ids: Named,
    normalise: Normalise = normalise_plainly,
) -> dict[str, Profile]:
    """Return every live profile by its id in hex, shaped as fastavro reads `nurt.profiles-value`, without `revision`.

    Args:
        rows: entity kind -> rows that exist.
        systems: by name.
        rules: field -> rule names in order; a field not named here follows the default.
        as_of: the day of windows and due dates, days since 1970-01-01.
        ids: the deployment's.
        normalise: by identifier kind.
    """
    accounts = _accounts(rows, ids)
    for account in accounts.values():
        account.links = _links(account, systems[account.system], normalise)
    lines = _by_order(rows.get("order_line", ()), ids)
    result: dict[str, Profile] = {}
    for members in _components(accounts, systems):
        anchor = min(account.id for account in members)
        profile_id = ids.one(f"profile\x1f{anchor.hex()}").hex()
        result[profile_id] = _profile(profile_id, members, lines, systems, rules, as_of, normalise)
    return result


def _accounts(rows: Mapping[str, Sequence[FinalRow]], ids: Named) -> dict[bytes, _Account]:
    accounts: dict[bytes, _Account] = {}

    def account(system: str, entity: str, key: str) -> _Account:
        name = ids.one(f"{system}\x1f{entity}\x1f{key}")
        return accounts.setdefault(name, _Account(name, system, entity, key))

    def account_of_parent(row: FinalRow) -> _Account:
        assert row.parent_entity is not None and row.parent_key is not None
        return account(row.system, row.parent_entity, row.parent_key)

    for row in rows.get("customer", ()):
        account(row.system, row.entity, row.key).speaker = row
    account_of_order: dict[bytes, _Account] = {}
    for row in rows.get("order", ()):
        if row.parent_key is None:
            owner = account(row.system, "guest", f"{row.entity}\x1f{row.key}")
            owner.speaker = row
        else:
            owner = account_of_parent(row)
        owner.rows["order"].append(row)
        account_of_order[row.row] = owner
    for kind in ("address", "consent", "interaction"):
        for row in rows.get(kind, ()):
            if row.parent_key is not None:
                owner = account_of_parent(row)
            elif row.identifiers is not None:
                owner = account(row.system, "guest", f"{row.entity}\x1f{row.key}")
            else:
                continue
            owner.rows[kind].append(row)
            if row.identifiers is not None:
                owner.others.append(row)
    for row in rows.get("invoice", ()):
        if row.parent_key is None:
            continue
        if row.parent_kind == "customer":
            account_of_parent(row).rows["invoice"].append(row)
        elif (order := _parent_id(row, ids)) in account_of_order:
            account_of_order[order].rows["invoice"].append(row)
    return accounts


def _parent_id(row: FinalRow, ids: Named) -> bytes:
    return ids.one(f"{row.system}\x1f{row.parent_entity}\x1f{row.parent_key}")


def _by_order(children: Iterable[FinalRow], ids: Named) -> dict[bytes, list[FinalRow]]:
    result: dict[bytes, list[FinalRow]] = defaultdict(list)
    for row in children:
        if row.parent_key is not None:
            result[_parent_id(row, ids)].append(row)
    return result


def _normalised(row: FinalRow, name: str, system: SystemLike, normalise: Normalise) -> str | None:
    value = row.fields.get(name)
    return None if value is None else normalise(name, value, row.fields.get("country") or system.country)


def _links(account: _Account, system: SystemLike, normalise: Normalise) -> set[tuple[str, str]]:
    speaker = account.speaker
    found = {pair for row in account.others for pair in _pairs(row, system, normalise)}
    if speaker is not None:
        names = ("email", "phone") if speaker.kind == "order" else IDENTIFIERS
        named = {(name, _normalised(speaker, name, system, normalise)) for name in names}
        found |= {(kind, value) for kind, value in named if value is not None} | _pairs(speaker, system, normalise)
    return found


def _pairs(row: FinalRow, system: SystemLike, normalise: Normalise) -> set[tuple[str, str]]:
    """Read the identifiers that a row brings beside its fields."""
    own = row.fields.get("country")
    found = set()
    for pair in (row.identifiers or "").split("\x1e"):
        kind, separator, written = pair.partition("\x1f")
        value = normalise(kind, written, system.country if own is None else own) if separator else None
        if value is not None:
            found.add((kind, value))
    return found


def _components(accounts: Mapping[bytes, _Account], systems: Mapping[str, SystemLike]) -> list[list[_Account]]:
    """Group accounts by union-find over equal identifiers within a realm."""
    leader = {name: name for name in accounts}

    def find(name: bytes) -> bytes:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    first: dict[tuple[str, str, str], bytes] = {}
    for account in accounts.values():
        for kind, value in account.links:
            holder = first.setdefault((systems[account.system].realm, kind, value), account.id)
            leader[find(account.id)] = find(holder)
    groups: dict[bytes, list[_Account]] = defaultdict(list)
    for account in accounts.values():
        groups[find(account.id)].append(account)
    return list(groups.values())


def _profile(
    profile_id: str,
    members: list[_Account],
    lines: Mapping[bytes, list[FinalRow]],
    systems: Mapping[str, SystemLike],
    rules: Mapping[str, Sequence[str]],
    as_of: int,
    normalise: Normalise,
) -> Profile:
    speakers = [account.speaker for account in members if account.speaker is not None]
    speakers += [row for account in members for row in account.others]
    of_kind = {
        kind: [row for account in members for row in account.rows[kind]]
        for kind in ("address", "order", "invoice", "consent", "interaction")
    }
    sold = [line for order in of_kind["order"] if _status(order) != "cancelled" for line in lines.get(order.row, ())]
    profile: Profile = {
        "id": profile_id,
        "state": "live",
        "redirect_to": None,
        "realm": systems[members[0].system].realm,
        "as_of": _date(as_of),
    }
    for name in CHOSEN:
        candidates = _candidates(name, speakers, systems, normalise)
        profile[name] = _choose(candidates, rules.get(name, DEFAULT_RULES))
    links = sorted({link for account in members for link in account.links})
    profile["identifiers"] = [{"kind": kind, "value": value} for kind, value in links]
    profile["addresses"] = sorted(
        (
            {"system": row.system, "row": row.row.hex(), **{name: row.fields.get(name) for name in ADDRESS}}
            for row in of_kind["address"]
        ),
        key=lambda address: str(address["row"]),
    )
    profile["accounts"] = [
        {"account": account.id.hex(), "system": account.system, "entity": account.entity, "key": account.key}
        for account in sorted(members, key=lambda account: account.id)
    ]
    profile["orders"] = _orders(of_kind["order"], systems, as_of)
    profile["products"] = _most(sold, "sku", "sku")
    profile["categories"] = _most(sold, "category", "category")
    profile["invoices"] = _invoices(of_kind["invoice"], systems, as_of)
    profile["consents"] = _consents(of_kind["consent"])
    seen = [row.fields["at"] // DAY_US for row in of_kind["interaction"] if row.fields.get("at") is not None]
    profile["last_interaction_on"] = _date(max(seen)) if seen else None
    return profile


def _candidates(
    name: str, speakers: Iterable[FinalRow], systems: Mapping[str, SystemLike], normalise: Normalise
) -> list[_Candidate]:
    result = []
    value: Any
    for row in speakers:
        if row.kind == "order" and name not in GUEST_SAYS:
            continue
        system = systems[row.system]
        if row.kind in STAND_IN:
            value = min((text for kind, text in _pairs(row, system, normalise) if kind == name), default=None)
            value = value if name in IDENTIFIERS else None
        else:
            value = _normalised(row, name, system, normalise) if name in IDENTIFIERS else row.fields.get(name)
        if value is None:
            continue
        if name == "birth_date":
            value = _date(value).isoformat()
        verified = name in ("email", "phone") and row.fields.get(f"{name}_verified") is True
        updated = row.fields.get("updated_at")
        newest_us = row.ts_ms * 1000 if updated is None else updated
        result.append(_Candidate(value, row, verified, system.priority, newest_us))
    return result


def _choose(candidates: list[_Candidate], rules: Sequence[str]) -> dict[str, str] | None:
    if not candidates:
        return None
    held_by = Counter(candidate.value for candidate in candidates)
    best_is_smallest: dict[str, Callable[[_Candidate], Any]] = {
        "verified_first": lambda candidate: not candidate.verified,
        "source_priority": lambda candidate: candidate.priority,
        "newest": lambda candidate: -candidate.newest_us,
        "most_frequent": lambda candidate: -held_by[candidate.value],
    }
    left = candidates
    dropped: list[tuple[str, list[_Candidate]]] = []
    for rule in rules:
        rank = best_is_smallest[rule]
        best = min(rank(candidate) for candidate in left)
        dropped.append((rule, [candidate for candidate in left if rank(candidate) != best]))
        left = [candidate for candidate in left if rank(candidate) == best]
    winner = min(left, key=lambda candidate: candidate.row.row)
    dropped.append(("row", left))
    told = (rule for rule, losers in dropped if any(loser.value != winner.value for loser in losers))
    return {
        "value": winner.value,
        "system": winner.row.system,
        "row": winner.row.row.hex(),
        "position": winner.row.position_text(),
        "rule": next(told, "only"),
    }


def _status(order: FinalRow) -> str:
    status = order.fields.get("status")
    return status if status in ("complete", "cancelled", "returned") else "open"


def _or_default(value: str | None, default: str | None, last: str) -> str:
    return value if value is not None else default if default is not None else last


def _orders(orders: Iterable[FinalRow], systems: Mapping[str, SystemLike], as_of: int) -> list[Profile]:
    groups: dict[tuple[str, str], list[FinalRow]] = defaultdict(list)
    for order in orders:
        system = systems[order.system]
        currency = _or_default(order.fields.get("currency"), system.currency, "XXX")
        groups[currency, _or_default(order.fields.get("market"), system.market, "")].append(order)
    return [_order_figures(currency, market, group, as_of) for (currency, market), group in sorted(groups.items())]


def _order_figures(currency: str, market: str, orders: list[FinalRow], as_of: int) -> Profile:
    counted = [order for order in orders if _status(order) != "cancelled"]
    statuses = Counter(_status(order) for order in orders)
    dated = [
        (order.fields["placed_at"] // DAY_US, order.fields.get("gross") or 0)
        for order in counted
        if order.fields.get("placed_at") is not None
    ]
    days = [day for day, _ in dated]
    gross = sum(order.fields.get("gross") or 0 for order in counted)
    figures: Profile = {
        "currency": currency,
        "market": market,
        "count": len(counted),
        "gross": _amount(gross),
        "average": _amount(round(Fraction(gross, len(counted)))) if counted else None,  # rounds half to even
        "first_on": _date(min(days)) if days else None,
        "last_on": _date(max(days)) if days else None,
        "cancelled": statuses["cancelled"],
        "returned": statuses["returned"],
        "open": statuses["open"],
    }
    for window in WINDOWS_DAYS:
        within = [amount for day, amount in dated if as_of - window < day <= as_of]
        figures[f"last_{window}_count"] = len(within)
        figures[f"last_{window}_gross"] = _amount(sum(within))
    return figures


def _most(lines: Iterable[FinalRow], by: str, name: str) -> list[Profile]:
    quantities: Counter[str] = Counter()
    for line in lines:
        if line.fields.get(by) is not None:
            kept = (line.fields.get("quantity") or 0) - (line.fields.get("returned_quantity") or 0)
            quantities[line.fields[by]] += kept
    ranked = sorted(((-quantity, text) for text, quantity in quantities.items() if quantity), key=lambda pair: pair)
    return [{name: text, "quantity": _amount(-negated)} for negated, text in ranked[:MOST]]


def _invoices(invoices: Iterable[FinalRow], systems: Mapping[str, SystemLike], as_of: int) -> list[Profile]:
    open_ones: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for invoice in invoices:
        left = invoice.fields.get("open_amount")
        if left is None:
            left = invoice.fields.get("amount") or 0
        if left <= 0 or invoice.fields.get("status") in ("paid", "cancelled"):
            continue
        due_on = invoice.fields.get("due_on")
        currency = _or_default(invoice.fields.get("currency"), systems[invoice.system].currency, "XXX")
        open_ones[currency].append((left, due_on is not None and due_on < as_of))
    return [
        {
            "currency": currency,
            "open_count": len(amounts),
            "open_amount": _amount(sum(amount for amount, _ in amounts)),
            "overdue_count": sum(overdue for _, overdue in amounts),
            "overdue_amount": _amount(sum(amount for amount, overdue in amounts if overdue)),
        }
        for currency, amounts in sorted(open_ones.items())
    ]


def _consents(consents: Iterable[FinalRow]) -> list[Profile]:
    latest: dict[str, tuple[tuple[bool, int, bytes], FinalRow]] = {}
    for row in consents:
        purpose, at = row.fields.get("purpose"), row.fields.get("at")
        if purpose is None:
            continue
        rank = (at is not None, at or 0, row.row)
        if purpose not in latest or rank > latest[purpose][0]:
            latest[purpose] = (rank, row)
    return [
        {
            "purpose": purpose,
            "granted": row.fields.get("granted"),
            "at": _instant(row.fields.get("at")),
            "system": row.system,
            "row": row.row.hex(),
        }
        for purpose, (_, row) in sorted(latest.items())
    ]


def _amount(ten_thousandths: int) -> Decimal:
    return Decimal(ten_thousandths).scaleb(-4)


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def _instant(at_us: int | None) -> datetime | None:
    return None if at_us is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
