"""Recompute every profile from the final rows, in the plainest Python: the oracle of "stream equals batch".

It shares nothing with the folds. Where the rules leave room, it decides as follows.

* Accounts. A row that names a customer key makes that account exist, whether or not the customer's row does; an
  account's `entity` is the customer entity's name in that system. A guest's account has the entity `guest`; its key is
  the order entity's name, U+001F and the order's key. Lines, payments and shipments, and invoices of an order, make no
  account by themselves, and count only while the order's own row exists. A child without parent belongs to nobody,
  but for addresses, consents and interactions that bring identifiers: each is a guest's account, named like an order's.
* Rows that speak. Beside customers and guests' orders, each address, consent and interaction of an account speaks by
  its identifiers: they are links of its account, and the smallest of each kind that is a field is a candidate. Those of
  a guest's order speak together, in the order's place; of its addresses only those of kind `billing` do. Those of other
  orders are silent.
* Addresses. Equal are those of one system with the same fields; they have the smallest row of an account's own ones.
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
* Money. A payment or a refund with the status failed, cancelled or pending counts for nothing, nor does any of a
  cancelled order. A refund gives back its amount without a sign, in its own currency, else its order's; in the order's
  market. What an order owes is its own: of its gross, what it gave back in its own currency and what was paid, never
  below zero. A refund of a customer is in the currency's line of the system's market.
* Products and categories: what is returned more often than bought stays, with a negative quantity.
* Invoices: a currency without open invoices has no line; null currency as with orders, never the order's own.
* Consents: a null purpose is left out; at equal `at` the larger row id wins.
* Interactions in the future count for `last_interaction_on`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
GUEST_SAYS = ("email", "phone", "first_name", "last_name", "country", "market")
ADDRESS = ("kind", "name", "company", "street", "city", "region", "postcode", "country", "phone")
DEFAULT_RULES = ("verified_first", "source_priority", "newest")
ADDRESSES_MAX = 100
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
    others: dict[bytes, tuple[FinalRow, list[FinalRow]]] = field(default_factory=dict)
    """By row id: a row that speaks by identifiers, and the rows that bring them."""
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
    rows = _named_by_key(rows)
    accounts = _accounts(rows, ids)
    for account in accounts.values():
        account.links = _links(account, systems[account.system], normalise)
    lines, payments, refunds = (_by_order(rows.get(kind, ()), ids) for kind in ("order_line", "payment", "refund"))
    result: dict[str, Profile] = {}
    for members in _components(accounts, systems):
        anchor = min(account.id for account in members)
        profile_id = ids.one(f"profile\x1f{anchor.hex()}").hex()
        result[profile_id] = _profile(
            profile_id, members, lines, _Money(payments, refunds), systems, rules, as_of, normalise
        )
    return result


FIRST_OF_TILLS = (("placed_at", True), ("key", False))
"""Which of several orders of a till with one number is meant; of other orders none is."""


def _named_by_key(rows: Mapping[str, Sequence[FinalRow]]) -> Mapping[str, Sequence[FinalRow]]:
    """Let rows that name their order by its number name its key; nobody's where no order, or more than one, has it."""
    bearers: dict[tuple[str, str | None, str], list[FinalRow]] = defaultdict(list)
    for order in rows.get("order", ()):
        bearers[order.system, order.entity, order.fields.get("number") or ""].append(order)

    def found(row: FinalRow) -> FinalRow:
        if row.parent_kind != "order?number":
            return row
        some = bearers.get((row.system, row.parent_entity, row.parent_key or ""), [])
        if len(some) > 1 and row.parent_entity == "till":
            some = sorted(some, key=lambda one: (-(_placed(one) or -(2**62)), one.key))[:1]
        if len(some) != 1:
            return replace(row, parent_kind=None, parent_entity=None, parent_key=None)
        return replace(row, parent_kind="order", parent_key=some[0].key)

    return {kind: [found(row) for row in some] for kind, some in rows.items()}


def _placed(order: FinalRow) -> int | None:
    placed: int | None = order.fields.get("placed_at")
    return placed


def expected_waiting(rows: Mapping[str, Sequence[FinalRow]], ids: Named) -> dict[str, int]:
    """Count rows that wait for an order which is not there, by `<kind> of order`."""
    there = {order.row for order in rows.get("order", ())}
    waiting = (row for of_kind in rows.values() for row in of_kind if row.parent_kind == "order")
    found = Counter(f"{row.kind} of order" for row in waiting if _parent_id(row, ids) not in there)
    bearers = Counter((one.system, one.entity, one.fields.get("number")) for one in rows.get("order", ()))
    for row in (row for of_kind in rows.values() for row in of_kind if row.parent_kind == "order?number"):
        count = bearers[row.system, row.parent_entity or "", row.parent_key]
        if count == 0 or (count > 1 and row.parent_entity != "till"):
            found[f"{row.kind} of {'several orders' if count else 'order'}, by a field"] += 1
    return dict(found)


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
    guests: dict[bytes, FinalRow] = {}
    for row in rows.get("order", ()):
        if row.parent_key is None:
            owner = account(row.system, "guest", f"{row.entity}\x1f{row.key}")
            owner.speaker = guests[row.row] = row
        else:
            owner = account_of_parent(row)
        owner.rows["order"].append(row)
        account_of_order[row.row] = owner
    for kind in ("address", "consent", "interaction"):
        for row in rows.get(kind, ()):
            of_order = row.parent_kind == "order"
            speaker: FinalRow | None = row
            if of_order:
                order = _parent_id(row, ids)
                if order not in account_of_order:
                    continue
                owner, speaker = account_of_order[order], guests.get(order)
                if kind == "address" and row.fields.get("kind") != "billing":
                    speaker = None
            elif row.parent_key is not None:
                owner = account_of_parent(row)
            elif row.identifiers is not None:
                owner = account(row.system, "guest", f"{row.entity}\x1f{row.key}")
            else:
                continue
            owner.rows["order's address" if of_order and kind == "address" else kind].append(row)
            if row.identifiers is not None and speaker is not None:
                owner.others.setdefault(speaker.row, (speaker, []))[1].append(row)
    for row in rows.get("refund", ()):
        if row.parent_key is not None and row.parent_kind == "customer":
            account_of_parent(row).rows["refund"].append(row)
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
    found = {pair for _, rows in account.others.values() for row in rows for pair in _pairs(row, system, normalise)}
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
    money: _Money,
    systems: Mapping[str, SystemLike],
    rules: Mapping[str, Sequence[str]],
    as_of: int,
    normalise: Normalise,
) -> Profile:
    speakers = [account.speaker for account in members if account.speaker is not None]
    stand_ins = [
        (row, {pair for one in rows for pair in _pairs(one, systems[one.system], normalise)})
        for account in members
        for row, rows in account.others.values()
    ]
    of_kind = {
        kind: [row for account in members for row in account.rows[kind]]
        for kind in ("address", "order", "refund", "invoice", "consent", "interaction", "order's address")
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
        candidates = _candidates(name, speakers, stand_ins, systems, normalise)
        profile[name] = _choose(candidates, rules.get(name, DEFAULT_RULES))
    links = sorted({link for account in members for link in account.links})
    profile["identifiers"] = [{"kind": kind, "value": value} for kind, value in links]
    profile["addresses"] = _addresses(of_kind["address"], of_kind["order's address"])
    profile["accounts"] = [
        {"account": account.id.hex(), "system": account.system, "entity": account.entity, "key": account.key}
        for account in sorted(members, key=lambda account: account.id)
    ]
    profile["orders"] = _orders(of_kind["order"], of_kind["refund"], money, systems, as_of)
    profile["products"] = _most(sold, "sku", "sku")
    profile["categories"] = _most(sold, "category", "category")
    profile["invoices"] = _invoices(of_kind["invoice"], systems, as_of)
    profile["consents"] = _consents(of_kind["consent"])
    seen = [row.fields["at"] // DAY_US for row in of_kind["interaction"] if row.fields.get("at") is not None]
    profile["last_interaction_on"] = _date(max(seen)) if seen else None
    return profile


def _addresses(own: Sequence[FinalRow], of_orders: Sequence[FinalRow]) -> list[Profile]:
    groups: dict[tuple[str, tuple[str | None, ...]], list[str]] = defaultdict(list)
    for rows, is_own in ((own, True), (of_orders, False)):
        for row in rows:
            groups[row.system, tuple(row.fields.get(name) for name in ADDRESS)].append(row.row.hex() if is_own else "")
    ranked = []
    for (system, fields), names in groups.items():
        named = min((name for name in names if name), default="")
        text = "\x1f".join("" if value is None else f"={value}" for value in fields)
        address = {"system": system, "row": named, **dict(zip(ADDRESS, fields, strict=True)), "count": len(names)}
        ranked.append(((not named, named, -len(names), system, text), address))
    return [address for _, address in sorted(ranked, key=lambda one: one[0])[:ADDRESSES_MAX]]


def _candidates(
    name: str,
    speakers: Iterable[FinalRow],
    stand_ins: Iterable[tuple[FinalRow, set[tuple[str, str]]]],
    systems: Mapping[str, SystemLike],
    normalise: Normalise,
) -> list[_Candidate]:
    result = []
    value: Any
    for row in speakers:
        if row.kind == "order" and name not in GUEST_SAYS:
            continue
        system = systems[row.system]
        value = _normalised(row, name, system, normalise) if name in IDENTIFIERS else row.fields.get(name)
        if value is None:
            continue
        if name == "birth_date":
            value = _date(value).isoformat()
        verified = name in ("email", "phone") and row.fields.get(f"{name}_verified") is True
        updated = row.fields.get("updated_at")
        newest_us = row.ts_ms * 1000 if updated is None else updated
        result.append(_Candidate(value, row, verified, system.priority, newest_us))
    for row, pairs in stand_ins:
        value = min((text for kind, text in pairs if kind == name), default=None)
        if value is not None and name in IDENTIFIERS:
            result.append(_Candidate(value, row, False, systems[row.system].priority, row.ts_ms * 1000))
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


@dataclass(frozen=True, slots=True)
class _Money:
    """Payments and refunds, by their order."""

    payments: Mapping[bytes, list[FinalRow]]
    refunds: Mapping[bytes, list[FinalRow]]


def _moved(rows: Iterable[FinalRow]) -> list[FinalRow]:
    return [row for row in rows if row.fields.get("status") not in ("failed", "cancelled", "pending")]


def _orders(
    orders: Iterable[FinalRow],
    beside: Iterable[FinalRow],
    money: _Money,
    systems: Mapping[str, SystemLike],
    as_of: int,
) -> list[Profile]:
    groups: dict[tuple[str, str], list[FinalRow]] = defaultdict(list)
    given_back: Counter[tuple[str, str]] = Counter()
    paid, owed = given_back.copy(), given_back.copy()
    for order in orders:
        system = systems[order.system]
        currency = _or_default(order.fields.get("currency"), system.currency, "XXX")
        market = _or_default(order.fields.get("market"), system.market, "")
        groups[currency, market].append(order)
        if _status(order) == "cancelled":
            continue
        left = order.fields.get("gross") or 0
        for payment in _moved(money.payments.get(order.row, ())):
            paid[currency, market] += payment.fields.get("amount") or 0
            left -= payment.fields.get("amount") or 0
        for refund in _moved(money.refunds.get(order.row, ())):
            amount, of = abs(refund.fields.get("amount") or 0), refund.fields.get("currency") or currency
            given_back[of, market] += amount
            left -= amount if of == currency else 0
        owed[currency, market] += max(0, left)
    for refund in _moved(beside):
        system = systems[refund.system]
        currency = _or_default(refund.fields.get("currency"), system.currency, "XXX")
        given_back[currency, system.market or ""] += abs(refund.fields.get("amount") or 0)
    return [
        {
            **(figures := _order_figures(*place, groups.get(place, []), as_of)),
            "given_back": _amount(given_back[place]),
            "net": figures["gross"] - _amount(given_back[place]),
            "paid": _amount(paid[place]),
            "open_amount": _amount(owed[place]),
        }
        for place in sorted({*groups, *(place for place, amount in given_back.items() if amount)})
    ]


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
