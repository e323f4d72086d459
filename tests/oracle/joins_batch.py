"""Join the final rows of tables in the plainest Python: the oracle of what a stream makes of several rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.oracle.final_row import FinalRow

Rows = Mapping[str, Sequence[FinalRow]]


def joined(rows: Rows) -> dict[str, list[FinalRow]]:
    """Return the final rows of entities, those of `tests.oracle.joins.shop` made of several."""
    found = {kind: list(some) for kind, some in rows.items() if not kind.startswith("table/")}
    made = (("order", _orders(rows)), ("customer", _customers(rows)), ("order_line", _lines(rows)))
    for kind, some in made:
        found[kind] = [*found.get(kind, []), *some]
    return found


def _orders(rows: Rows) -> Iterable[FinalRow]:
    for base in rows.get("table/1", ()):
        meta = attributes(base, rows.get("table/0", ()))
        addresses = [one for one in beside(base, rows.get("table/2", ())) if one.fields["c1"] in ("billing", "bill")]
        address = first_of(addresses, lambda one: (_down(one.fields["c4"]), _number_up(one.fields["n0"])))
        if meta.get("_trash") is not None:
            continue
        customer = meta.get("_customer_user") or base.fields["c1"]
        yield replace(
            base,
            kind="order",
            fields={
                "status": base.fields["c0"],
                "placed_at": base.fields["n0"],
                "number": meta.get("_number") or base.fields["c2"],
                "email": address and address.fields["c2"],
                "phone": address and address.fields["c3"],
                "currency": meta.get("_currency"),
                "gross": amount(meta.get("_total")),
            },
            parent_kind=customer and "customer",
            parent_entity=customer and "customer",
            parent_key=customer,
        )


def _lines(rows: Rows) -> Iterable[FinalRow]:
    for base in rows.get("table/7", ()):
        product = looked_up(base, base.fields["c1"], rows.get("table/6", ()))
        order = base.fields["c0"]
        yield replace(
            base,
            kind="order_line",
            fields={
                "quantity": base.fields["n0"],
                "sku": product and product.fields["c0"],
                "category": product and product.fields["c1"],
            },
            parent_kind=order and "order",
            parent_entity=order and "order",
            parent_key=order,
        )


def _values(rows: Rows) -> list[FinalRow]:
    """Name the values of an entity, attribute and value table, as rows with attributes lie beside others."""
    found = []
    for base in rows.get("table/9", ()):
        attribute = looked_up(base, base.fields["c1"], rows.get("table/8", ()))
        name = attribute and attribute.fields["c0"]
        found.append(replace(base, fields={"c0": base.fields["c0"], "c1": name, "c2": base.fields["c2"]}))
    return found


def looked_up(base: FinalRow, key: str | None, others: Sequence[FinalRow]) -> FinalRow | None:
    """Find the row of a key in the row's own system."""
    return next((one for one in others if one.system == base.system and one.key == key), None)


def _customers(rows: Rows) -> Iterable[FinalRow]:
    values = _values(rows)
    for base in rows.get("table/3", ()):
        about = attributes(base, [*rows.get("table/4", ()), *rows.get("table/5", ())])
        login = about.get("login")
        yield replace(
            base,
            kind="customer",
            fields={
                "email": base.fields["c0"],
                "first_name": base.fields["c1"],
                "phone": about.get("billing_phone"),
                "last_name": about.get("last_name"),
                "company": attributes(base, values).get("company"),
                "tax_id": attributes(base, values).get("tax_id"),
            },
            identifiers=None if login is None else f"login\x1f{login}",
        )


def beside(base: FinalRow, others: Sequence[FinalRow]) -> list[FinalRow]:
    """List the rows of the same system that name a row."""
    return [one for one in others if one.system == base.system and one.fields["c0"] == base.key]


def attributes(base: FinalRow, others: Sequence[FinalRow]) -> dict[str, str | None]:
    """Give a row's attributes: of several rows of one name the one of the smallest key."""
    mine = beside(base, others)
    names = {one.fields["c1"] for one in mine}
    chosen = {name: first_of([one for one in mine if one.fields["c1"] == name], lambda one: ()) for name in names}
    return {name: one.fields["c2"] for name, one in chosen.items() if one is not None}


def first_of(rows: Sequence[FinalRow], rank: Any) -> FinalRow | None:
    """Choose a row by rank, then by key, then by the table."""
    return min(rows, key=lambda one: (*rank(one), _up(one.key), one.kind), default=None)


_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def _up(text: str | None) -> tuple[Any, ...]:
    """Rank numbers by value before other texts, null last."""
    if text is None:
        return (2,)
    if _NUMBER.fullmatch(text):
        return (0, Decimal(text), text.encode())
    return (1, text.encode())


class _Reversed:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(other.value == self.value)


def _down(text: str | None) -> tuple[Any, ...]:
    rank = _up(text)
    return (rank[0], *(_Reversed(one) for one in rank[1:]))


def _number_up(number: int | None) -> tuple[Any, ...]:
    return (1, 0) if number is None else (0, number)


def amount(text: str | None) -> int | None:
    """Read money of at most four decimals; else null."""
    if text is None or not re.fullmatch(r"\s*[+-]?[0-9]+(\.[0-9]{1,4}0*)?\s*", text):
        return None
    return int(Decimal(text.strip()) * 10_000)
