"""The canonical entities: their fields, types and parents.

This table alone lists what a row can become. The mapping checker, the folds and the documentation all
read it. `state/layouts.py` says where a field lies in stored values: if a field has no column there, an error at import
names the lines to add.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nurt.model.table_kinds import CODES, FIRST_CODE, table_kind, width_of


class FieldType(StrEnum):
    """Type of a canonical field in frames and in state."""

    STR = "str"  # pl.String
    BOOL = "bool"  # pl.Boolean
    TS = "ts"  # pl.Int64, microseconds since 1970-01-01 UTC
    DAY = "day"  # pl.Int64, days since 1970-01-01
    AMOUNT = "amount"  # pl.Int64, ten-thousandths of the unit (money or quantity)


@dataclass(frozen=True, slots=True)
class Entity:
    """Kind of canonical entity."""

    kind: str
    code: int  # stable, one byte, part of stored values; never reuse one
    parents: tuple[str, ...]  # entity kinds that a row of this kind may point at
    parent_required: bool
    fields: dict[str, FieldType]


class Entities(dict[str, Entity]):
    """Canonical entities by kind; kinds of stored tables, `table/<number>`, are here when they are asked for."""

    def __missing__(self, kind: str) -> Entity:
        return _TABLES[kind]


class Codes(dict[int, Entity]):
    """Canonical entities by code, and the kinds of stored tables."""

    def __missing__(self, code: int) -> Entity:
        return _TABLES[table_kind(code - FIRST_CODE)]


S, B, T, D, A = FieldType.STR, FieldType.BOOL, FieldType.TS, FieldType.DAY, FieldType.AMOUNT

ENTITIES = Entities(
    (entity.kind, entity)
    for entity in (
        Entity(
            "customer",
            1,
            (),
            False,
            {
                "email": S,
                "email_verified": B,
                "phone": S,
                "phone_verified": B,
                "first_name": S,
                "last_name": S,
                "company": S,
                "tax_id": S,
                "loyalty_card": S,
                "birth_date": D,
                "gender": S,
                "language": S,
                "country": S,
                "market": S,
                "created_at": T,
                "updated_at": T,
            },
        ),
        Entity(
            "address",
            2,
            ("customer", "order"),
            True,
            {
                "kind": S,
                "name": S,
                "company": S,
                "street": S,
                "city": S,
                "region": S,
                "postcode": S,
                "country": S,
                "phone": S,
            },
        ),
        Entity(
            "order",
            3,
            ("customer",),
            False,
            {
                "number": S,
                "email": S,
                "phone": S,
                "first_name": S,
                "last_name": S,
                "country": S,
                "currency": S,
                "market": S,
                "gross": A,
                "status": S,
                "placed_at": T,
                "reference": S,
                "match_key": S,
                "sales_channel": S,
            },
        ),
        Entity(
            "order_line",
            4,
            ("order",),
            True,
            {
                "sku": S,
                "name": S,
                "category": S,
                "quantity": A,
                "returned_quantity": A,
                "gross": A,
                "cancelled_quantity": A,
                "pack_size": A,
                "location": S,
            },
        ),
        Entity("payment", 5, ("order",), True, {"amount": A, "status": S, "paid_at": T}),
        Entity(
            "invoice",
            6,
            ("order", "customer"),
            True,
            {"number": S, "currency": S, "amount": A, "open_amount": A, "issued_on": D, "due_on": D, "status": S},
        ),
        Entity(
            "shipment",
            7,
            ("order",),
            False,
            {
                "number": S,
                "carrier": S,
                "tracking": S,
                "status": S,
                "shipped_at": T,
                "delivered_at": T,
                "order_ref": S,
                "document_ref": S,
                "order_system": S,
                "location": S,
            },
        ),
        Entity("product", 8, (), False, {"sku": S, "name": S, "category": S}),
        Entity(
            "stock_level",
            9,
            (),
            False,
            {"sku": S, "location": S, "quantity": A, "reserved_quantity": A, "pack_size": A},
        ),
        Entity("consent", 10, ("customer", "order"), True, {"purpose": S, "granted": B, "channel": S, "at": T}),
        Entity("interaction", 11, ("customer", "order"), True, {"kind": S, "channel": S, "at": T}),
        Entity(
            "document",
            12,
            (),
            False,
            {
                "number": S,
                "order_ref": S,
                "order_system": S,
                "match_key": S,
                "status": S,
                "booked_at": T,
                "location": S,
            },
        ),
        Entity(
            "document_line",
            13,
            ("document",),
            True,
            {"sku": S, "quantity": A, "pack_size": A, "location": S, "order_ref": S},
        ),
        Entity("shipment_line", 14, ("shipment",), True, {"sku": S, "quantity": A, "pack_size": A}),
        Entity(
            "supply",
            15,
            (),
            False,
            {
                "sku": S,
                "location": S,
                "quantity": A,
                "received_quantity": A,
                "pack_size": A,
                "expected_on": D,
                "status": S,
            },
        ),
        Entity("kit_part", 16, (), False, {"kit": S, "sku": S, "quantity": A}),
        Entity(
            "refund",
            17,
            ("order", "customer"),
            True,
            {"number": S, "currency": S, "amount": A, "status": S, "refunded_at": T},
        ),
        Entity("tracking", 18, ("shipment",), True, {"number": S, "carrier": S}),
    )
)

ORDER_STATUSES = ("open", "complete", "cancelled", "returned")
"""Values of `order.status`; another value, or null, counts as open."""

STOCK_ONLY_KINDS = frozenset({"document", "document_line", "shipment_line", "supply", "kit_part", "tracking"})

PROFILE_KINDS = frozenset(ENTITIES) - STOCK_ONLY_KINDS
"""Kinds that the flow of profiles reads."""

STOCK_KINDS = STOCK_ONLY_KINDS | {"order", "order_line", "shipment", "stock_level"}
"""Kinds that the flow of stock reads."""

STOCK_ORDER_FIELDS = ("reference", "match_key", "sales_channel")
"""Fields of an order that only the flow of stock reads: no profile holds them."""

IDENTIFIED_KINDS = frozenset({"customer", "address", "consent", "interaction"})
"""Kinds whose rows may bring identifiers. One without a parent then stands for somebody: an account of its own."""

BY_CODE = Codes((entity.code, entity) for entity in ENTITIES.values())


def _table_entity(code: int) -> Entity:
    kind, width = table_kind(code - FIRST_CODE), width_of(code - FIRST_CODE)
    return Entity(kind, code, (), False, dict.fromkeys(width.texts, S) | dict.fromkeys(width.numbers, T))


_TABLES: dict[str, Entity] = {entity.kind: entity for entity in map(_table_entity, CODES)}
