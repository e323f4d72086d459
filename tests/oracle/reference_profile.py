"""Make a profile out of accounts' slots and sums, in another way than the oracle does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.oracle.batch import ADDRESS, CHOSEN, DEFAULT_RULES, GUEST_SAYS, IDENTIFIERS
from tests.oracle.final_row import Normalise, Position, System

DAY_US = 86_400_000_000

Sums = Counter[tuple[Any, ...]]
"""(metric, k1, k2, day, measure) -> amount; adds and subtracts."""


@dataclass(slots=True)
class RowState:
    """A row as the reference stream keeps it."""

    id: bytes
    kind: str
    system: str
    entity: str
    key: str
    source_epoch: int
    position: Position
    partition: int
    offset: int
    ts_ms: int
    deleted: bool
    fields: dict[str, Any]
    identifiers: str | None
    parent_kind: str | None
    parent: bytes | None
    parent_entity: str | None
    parent_key: str | None
    moved_to: bytes | None
    left: frozenset[bytes] = frozenset()
    highest: Position | None = None


@dataclass(slots=True)
class AccountState:
    """An account: who it is, what its few rows say, and the sums of its many."""

    system: str
    entity: str
    key: str
    slots: dict[bytes, RowState] = field(default_factory=dict)  # customer or guest order, addresses, consents
    shares: dict[bytes, Sums] = field(default_factory=dict)  # orders, invoices, interactions
    sums: Sums = field(default_factory=Counter)
    moved_to: bytes | None = None

    def put_share(self, child: bytes, share: Sums) -> None:
        """Replace what a child adds: minus the old, plus the new."""
        for key, amount in self.shares.get(child, Counter()).items():
            self.sums[key] -= amount
        for key, amount in share.items():
            self.sums[key] += amount
        self.shares[child] = share

    def drop_share(self, child: bytes) -> None:
        """Take a child's addition away."""
        if child in self.shares:
            self.put_share(child, Counter())
            del self.shares[child]

    def exists(self) -> bool:
        """Say whether any row refers to it."""
        return bool(self.slots or self.shares)


def order_share(own: RowState, children: Iterable[RowState], system: System) -> Sums:
    """Say what an order with its lines and invoices adds to its account."""
    share: Sums = Counter()
    fields = own.fields
    currency = next(text for text in (fields["currency"], system.currency, "XXX") if text is not None)
    market = next(text for text in (fields["market"], system.market, "") if text is not None)
    day = None if fields["placed_at"] is None else fields["placed_at"] // DAY_US
    key = ("orders", currency, market, day)
    cancelled = fields["status"] == "cancelled"
    share[(*key, "cancelled" if cancelled else "count")] = 1
    if not cancelled:
        share[(*key, "gross")] = fields["gross"] or 0
        if fields["status"] != "complete":
            share[(*key, "returned" if fields["status"] == "returned" else "open")] = 1
    for child in children:
        if child.kind == "invoice":
            share.update(invoice_share(child, system))
        elif child.kind == "order_line" and not cancelled:
            kept = (child.fields["quantity"] or 0) - (child.fields["returned_quantity"] or 0)
            for metric in ("sku", "category"):
                if child.fields[metric] is not None:
                    share[metric, child.fields[metric], "", None, "quantity"] += kept
    return share


def invoice_share(invoice: RowState, system: System) -> Sums:
    """Say what an invoice adds: nothing unless something is left to pay."""
    fields = invoice.fields
    left = fields["amount"] if fields["open_amount"] is None else fields["open_amount"]
    if left is None or left <= 0 or fields["status"] in {"paid", "cancelled"}:
        return Counter()
    currency = next(text for text in (fields["currency"], system.currency, "XXX") if text is not None)
    key = ("invoices", currency, "", fields["due_on"])
    return Counter({(*key, "count"): 1, (*key, "amount"): left})


def interaction_share(row: RowState) -> Sums:
    """Say what an interaction adds: its day."""
    return (
        Counter() if row.fields["at"] is None else Counter({("seen", "", "", row.fields["at"] // DAY_US, "count"): 1})
    )


def links_of(account: AccountState, system: System, normalise: Normalise) -> frozenset[tuple[str, str]]:
    """List the identifiers that an account's customer row or guest order carries."""
    links: set[tuple[str, str | None]] = set()
    for row in account.slots.values():
        country = row.fields.get("country") or system.country
        if row.kind == "customer" or (row.kind == "order" and account.entity == "guest"):
            for name in IDENTIFIERS:
                if row.fields.get(name) is not None:
                    links.add((name, normalise(name, row.fields[name], country)))
        if row.identifiers:
            for pair in row.identifiers.split("\x1e"):
                kind, value = pair.split("\x1f")
                links.add((kind, normalise(kind, value, country)))
    return frozenset((kind, value) for kind, value in links if value is not None)


def profile_of(
    profile_id: str,
    accounts: Mapping[bytes, AccountState],
    links: Iterable[tuple[str, str]],
    systems: Mapping[str, System],
    rules: Mapping[str, Sequence[str]],
    as_of: int,
    normalise: Normalise,
) -> dict[str, Any]:
    """Compute a live profile from its accounts."""
    slots = [row for account in accounts.values() for row in account.slots.values()]
    sums: Sums = Counter()
    for account in accounts.values():
        for key, amount in account.sums.items():
            sums[key] += amount
    sums = Counter({key: amount for key, amount in sums.items() if amount})
    profile: dict[str, Any] = {
        "id": profile_id,
        "state": "live",
        "redirect_to": None,
        "realm": systems[next(iter(accounts.values())).system].realm,
        "as_of": _on(as_of),
        "identifiers": [{"kind": kind, "value": value} for kind, value in sorted(set(links))],
        "accounts": [
            {"account": name.hex(), "system": accounts[name].system, "entity": accounts[name].entity,
             "key": accounts[name].key}
            for name in sorted(accounts)
        ],
        "addresses": [
            {"system": row.system, "row": row.id.hex(), **{name: row.fields[name] for name in ADDRESS}}
            for row in sorted(slots, key=lambda row: row.id)
            if row.kind == "address"
        ],
        "orders": _orders(sums, as_of),
        "products": _most(sums, "sku"),
        "categories": _most(sums, "category"),
        "invoices": _invoices(sums, as_of),
        "consents": _consents([row for row in slots if row.kind == "consent"]),
        "last_interaction_on": max((_on(key[3]) for key in sums if key[0] == "seen"), default=None),
    }  # fmt: skip
    speakers = [row for row in slots if row.kind in ("customer", "order")]
    for name in CHOSEN:
        profile[name] = _chosen(name, speakers, systems, rules.get(name, DEFAULT_RULES), normalise)
    return profile


def _chosen(
    name: str, rows: list[RowState], systems: Mapping[str, System], rules: Sequence[str], normalise: Normalise
) -> dict[str, str] | None:
    values: dict[bytes, str] = {}
    for row in rows:
        value = row.fields.get(name) if row.kind == "customer" or name in GUEST_SAYS else None
        if value is not None and name in IDENTIFIERS:
            value = normalise(name, value, row.fields["country"] or systems[row.system].country)
        if value is not None:
            values[row.id] = _on(value).isoformat() if name == "birth_date" else value
    if not values:
        return None
    often = Counter(values.values())

    def rank(row: RowState) -> tuple[Any, ...]:
        updated = row.fields.get("updated_at")
        by_rule = {
            "verified_first": 0 if row.fields.get(f"{name}_verified") else 1,
            "source_priority": systems[row.system].priority,
            "newest": -(row.ts_ms * 1000 if updated is None else updated),
            "most_frequent": -often[values[row.id]],
        }
        return (*(by_rule[rule] for rule in rules), row.id)

    ranked = sorted((row for row in rows if row.id in values), key=rank)
    winner = ranked[0]
    told = [
        next(index for index, (mine, theirs) in enumerate(zip(rank(winner), rank(row), strict=True)) if mine != theirs)
        for row in ranked
        if values[row.id] != values[winner.id]
    ]
    position = ":".join(str(part) if part is not None else "" for part in winner.position)
    return {
        "value": values[winner.id],
        "system": winner.system,
        "row": winner.id.hex(),
        "position": f"{position}@{winner.offset}",
        "rule": (*rules, "row")[min(told)] if told else "only",
    }


def _orders(sums: Sums, as_of: int) -> list[dict[str, Any]]:
    result = []
    for currency, market in sorted({(key[1], key[2]) for key in sums if key[0] == "orders"}):
        mine = [(key[3], key[4], amount) for key, amount in sums.items() if key[:3] == ("orders", currency, market)]

        def total(measure: str, window: int | None = None, mine: list[Any] = mine) -> int:
            return sum(
                amount
                for day, name, amount in mine
                if name == measure and (window is None or (day is not None and day <= as_of < day + window))
            )

        days = [day for day, name, _ in mine if name == "count" and day is not None]
        count, gross = total("count"), total("gross")
        line: dict[str, Any] = {
            "currency": currency,
            "market": market,
            "count": count,
            "gross": _money(gross),
            "average": _money_over(gross, count) if count else None,
            "first_on": min(map(_on, days), default=None),
            "last_on": max(map(_on, days), default=None),
            **{name: total(name) for name in ("cancelled", "returned", "open")},
        }
        for window in (30, 90, 365):
            line[f"last_{window}_count"] = total("count", window)
            line[f"last_{window}_gross"] = _money(total("gross", window))
        result.append(line)
    return result


def _most(sums: Sums, metric: str) -> list[dict[str, Any]]:
    found = [(key[1], amount) for key, amount in sums.items() if key[0] == metric]
    found.sort(key=lambda pair: pair[0])
    found.sort(key=lambda pair: pair[1], reverse=True)
    return [{metric: text, "quantity": _money(amount)} for text, amount in found[:10]]


def _invoices(sums: Sums, as_of: int) -> list[dict[str, Any]]:
    lines: dict[str, dict[str, Any]] = {}
    for (metric, currency, _, due_on, measure), amount in sorted(sums.items(), key=lambda item: str(item[0])):
        if metric != "invoices":
            continue
        blank = {"currency": currency, "open_count": 0, "open_amount": 0, "overdue_count": 0, "overdue_amount": 0}
        line = lines.setdefault(currency, blank)
        line[f"open_{measure}"] += amount
        if due_on is not None and due_on < as_of:
            line[f"overdue_{measure}"] += amount
    for line in lines.values():
        line["open_amount"], line["overdue_amount"] = _money(line["open_amount"]), _money(line["overdue_amount"])
    return [lines[currency] for currency in sorted(lines)]


def _consents(rows: list[RowState]) -> list[dict[str, Any]]:
    rows = [row for row in rows if row.fields["purpose"] is not None]
    rows.sort(key=lambda row: row.id)
    rows.sort(key=lambda row: float("-inf") if row.fields["at"] is None else row.fields["at"])
    latest = {row.fields["purpose"]: row for row in rows}
    return [
        {
            "purpose": purpose,
            "granted": row.fields["granted"],
            "at": None if row.fields["at"] is None else datetime(1970, 1, 1, tzinfo=UTC)
            + timedelta(microseconds=row.fields["at"]),
            "system": row.system,
            "row": row.id.hex(),
        }
        for purpose, row in sorted(latest.items())
    ]  # fmt: skip


def _money(amount: int) -> Decimal:
    return Decimal(amount) / 10_000


def _money_over(gross: int, count: int) -> Decimal:
    quotient, remainder = divmod(gross, count)
    twice = 2 * remainder
    if twice > count or (twice == count and quotient % 2):
        quotient += 1
    return _money(quotient)


def _on(day: int) -> date:
    return date.fromordinal(719_163 + day)
