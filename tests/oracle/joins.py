"""A mapping that joins, made by hand: a shop whose orders and customers are rows of several tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import polars as pl

from nurt.mapping import plan as plans
from nurt.mapping.joins.plan import Assembled, AssemblyPlan, CompiledUse, Joins, StoredTable, value_of
from nurt.mapping.joins.types import Rank
from nurt.mapping.plan import IDENTIFIER, KeyText, Step, step
from nurt.mapping.types import Expression, Parent, Reference
from nurt.model.entities import ENTITIES, FieldType

S, A, T = FieldType.STR, FieldType.AMOUNT, FieldType.TS


def table(number: int, name_: str, /, **types: FieldType) -> StoredTable:
    """Describe a table with fields of these types."""
    texts = [field for field, one in types.items() if one is S]
    numbers = [field for field, one in types.items() if one is not S]
    slots = {field: f"c{place}" for place, field in enumerate(texts)}
    slots |= {field: f"n{place}" for place, field in enumerate(numbers)}
    return StoredTable(number, f"table/{number}", "s", name_, slots, dict(types))


ORDER_META = table(0, "order_meta", order=S, name=S, value=S)
ORDER_BASE = table(1, "order", status=S, **{"#customer": S, "#number": S}, placed_at=T)
ADDRESS = table(2, "address", order=S, type=S, email=S, phone=S, rank=S, weight=A)
CUSTOMER_BASE = table(3, "customer", email=S, first_name=S)
USER_META = table(4, "user_meta", user=S, name=S, value=S)
USER_TEXT = table(5, "user_text", user=S, name=S, value=S)
PRODUCT = table(6, "product_row", sku=S, category=S, price=A)
LINE_BASE = table(7, "order_line", **{"#order": S, "#product": S}, quantity=A)
ATTRIBUTE = table(8, "attribute", code=S)
EAV_BASE = table(9, "eav", customer=S, attribute=S, value=S)
EAV = table(10, "eav", customer=S, name=S, value=S)
TABLES = (
    *(ORDER_META, ORDER_BASE, ADDRESS, CUSTOMER_BASE, USER_META, USER_TEXT),
    *(PRODUCT, LINE_BASE, ATTRIBUTE, EAV_BASE),
)

ORDER_NAMES = ("_number", "_total", "_currency", "_customer_user", "_trash")
USER_NAMES = ("billing_phone", "last_name", "login")


def use(
    number: int,
    name: str,
    tables: Sequence[StoredTable],
    on: Sequence[str] = (),
    columns: Sequence[str] = (),
    pivot: tuple[str, str] | None = None,
    only: Mapping[str, tuple[str, ...]] | None = None,
    first: Sequence[Rank] = (),
) -> CompiledUse:
    """Describe a use of tables."""
    types = {column: tables[0].types[column if pivot is None else pivot[1]] for column in columns}
    return CompiledUse(
        number, name, None, tuple(tables), tuple(on), pivot, dict(only or {}), tuple(first), tuple(columns), types
    )


def entry(
    kind: str,
    level: int,
    base: StoredTable,
    uses: Sequence[CompiledUse],
    copied: Sequence[str],
    own: Sequence[str],
    fields: Mapping[str, pl.Expr],
    parents: Sequence[tuple[str, pl.Expr]] = (),
    where: pl.Expr | None = None,
    identifiers: Sequence[tuple[str, pl.Expr]] = (),
    *,
    by: Mapping[str, pl.Expr] | None = None,
    result: StoredTable | None = None,
) -> Assembled:
    """Describe an entry, its expressions over own columns and joined ones."""
    empty = {name: pl.Series(name, [], pl.String if base.types[name] is S else pl.Int64) for name in own}
    types = {name: base.types[name] for name in own}
    for one in uses:
        for column in one.columns:
            name = f"{one.name}.{column}"
            types[name] = one.types[column]
            empty[name] = pl.Series(name, [], pl.String if types[name] is S else pl.Int64)
    frame = pl.DataFrame(list(empty.values()))
    schema = frame.select(value_of(types[name], pl.col(name)).alias(name) for name in empty).schema

    @cache
    def plan(zone: str) -> AssemblyPlan:
        broken: list[str] = []
        of = result.types if result is not None else ENTITIES[kind].fields
        steps = [step(name, expression(one), of[name], schema, zone, broken) for name, one in fields.items()]
        steps += [
            step(f"{IDENTIFIER}{number} {name}", expression(one), S, schema, zone, broken)
            for number, (name, one) in enumerate(identifiers)
        ]
        holds = None if where is None else step("where", expression(where), FieldType.BOOL, schema, zone, broken)
        of_parents = []
        for name, one in parents:
            reference = Reference((expression(one),))
            of_parents.append((Parent(name, name, reference), key_text(reference, schema)))
        keys = {name: key_text(Reference((expression(one),)), schema) for name, one in (by or {}).items()}
        assert not broken, broken
        return AssemblyPlan(keys, holds, tuple(_given(steps)), tuple(of_parents))

    return Assembled(
        kind if result is None else result.kind, base.name, level, base, result, tuple(uses),
        {name: name for name in copied}, tuple(own), dict(schema), plan,
    )  # fmt: skip


STOCK_BASE = table(11, "stock_level", location=S, **{"#product": S}, quantity=A)


def warehouse() -> Joins:
    """Join stock levels with the products that they name by number."""
    col = pl.col
    product = use(7, "product", [PRODUCT], (), ("sku",))
    levels = entry(
        "stock_level", 1, STOCK_BASE, [product], ["location", "quantity"], ["#product"],
        {"sku": col("product.sku")}, by={"product": col("#product")},
    )  # fmt: skip
    return Joins(((levels,),), {one.kind: one for one in (STOCK_BASE, PRODUCT)})


def _given(steps: Sequence[Step | None]) -> list[Step]:
    assert all(steps)
    return [step for step in steps if step is not None]


def expression(expr: pl.Expr) -> Expression:
    """Take an expression for one that the mapping has."""
    return Expression(str(expr), expr, frozenset(expr.meta.root_names()), False)


def key_text(reference: Reference, schema: Mapping[str, pl.DataType]) -> KeyText:
    """Compile a key."""
    broken: list[str] = []
    found = plans.key_text("key", reference, ("s", "t"), pl.Schema(schema), broken)
    assert found is not None, broken
    return found


def shop() -> Joins:
    """Join orders with their attributes and billing addresses, customers with attributes of two tables."""
    col = pl.col
    meta = use(1, "meta", [ORDER_META], ["order"], ORDER_NAMES, ("name", "value"))
    billing = use(
        2, "billing", [ADDRESS], ["order"], ("email", "phone", "weight"), None, {"type": ("billing", "bill")},
        [Rank("rank", True), Rank("weight", False)],
    )  # fmt: skip
    about = use(3, "about", [USER_META, USER_TEXT], ["user"], USER_NAMES, ("name", "value"))
    orders = entry(
        "order", 1, ORDER_BASE, [meta, billing], ["status", "placed_at"], ["#customer", "#number"],
        {
            "number": pl.coalesce(col("meta._number"), col("#number")),
            "email": col("billing.email"),
            "phone": col("billing.phone"),
            "currency": col("meta._currency"),
            "gross": col("meta._total"),
        },
        [("customer", pl.coalesce(col("meta._customer_user"), col("#customer")))],
        col("meta._trash").is_null(),
    )  # fmt: skip
    product = use(4, "product", [PRODUCT], (), ("sku", "category"))
    lines = entry(
        "order_line", 1, LINE_BASE, [product], ["quantity"], ["#order", "#product"],
        {"sku": col("product.sku"), "category": col("product.category")},
        [("order", col("#order"))],
        by={"product": col("#product")},
    )  # fmt: skip
    attribute = use(5, "attribute", [ATTRIBUTE], (), ("code",))
    values = entry(
        "table", 1, EAV_BASE, [attribute], ["customer", "value"], ["attribute"],
        {"name": col("attribute.code")},
        by={"attribute": col("attribute")},
        result=EAV,
    )  # fmt: skip
    eav = use(6, "eav", [EAV], ["customer"], ("company", "tax_id"), ("name", "value"))
    customers = entry(
        "customer", 2, CUSTOMER_BASE, [about, eav], ["email", "first_name"], [],
        {
            "phone": col("about.billing_phone"),
            "last_name": col("about.last_name"),
            "company": col("eav.company"),
            "tax_id": col("eav.tax_id"),
        },
        identifiers=[("login", col("about.login"))],
    )  # fmt: skip
    return Joins(((orders, lines, values), (customers,)), {one.kind: one for one in (*TABLES, EAV)})
