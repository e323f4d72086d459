"""Meanings of every canonical entity and field, for people who map a table."""

from __future__ import annotations

from nurt.model.entities import ENTITIES, FieldType

ENTITY_MEANINGS: dict[str, str] = {
    "customer": "Someone known to a system: a shop login, an ERP contractor, a newsletter subscriber.",
    "address": "A postal address of a customer; all of them are in the profile.",
    "order": "A sale. Without a parent it is a guest's: its email and phone then identify the buyer.",
    "order_line": "A position of an order. What a profile bought most comes from here.",
    "payment": "Money received for an order.",
    "invoice": "A bill, of an order or of a customer. Open and overdue sums come from here.",
    "refund": "Money given back: a credit memo, a partial refund, a correction, of an order or of a customer.",
    "shipment": "A parcel of an order; without a parent it names `order_ref` or `document_ref`.",
    "product": "Something that can be sold, by sku.",
    "stock_level": "How much of a sku lies at a location.",
    "consent": "What a customer agreed to or refused; the latest by `at` counts for each purpose.",
    "interaction": "A visit, a call, a complaint: that the customer was there, and when.",
    "document": "A sales document of an ERP that books a shop's order, several of them, or a sale of its own.",
    "document_line": "A position of a document.",
    "shipment_line": "What a parcel holds. A parcel without lines holds all of its order.",
    "tracking": "A tracking number in a row beside its parcel, which may have several. It ships nothing by itself.",
    "supply": "Goods that are on their way to a location: a purchase order, a transfer.",
    "kit_part": "How many pieces of a sku a kit is made of; a sku with parts is a kit and has no stock of its own.",
}

MEANINGS: dict[str, dict[str, str]] = {
    "customer": {
        "email": "e-mail address; an identifier once normalised",
        "email_verified": "whether the customer proved that the address is theirs",
        "phone": "phone number as typed; an identifier once normalised to E.164",
        "phone_verified": "whether the customer proved that the number is theirs",
        "first_name": "given name",
        "last_name": "family name",
        "company": "name of the firm",
        "tax_id": "tax number of the firm; an identifier once it passes its country's check",
        "loyalty_card": "card number; an identifier once spaces and dashes are gone",
        "birth_date": "date of birth",
        "gender": "as the system writes it; agree on one set of values across systems",
        "language": "as the system writes it, best an ISO 639-1 code",
        "country": "ISO 3166 alpha-2; how the row's phone and tax id are read, else the system's country",
        "market": "market that the customer belongs to",
        "created_at": "when the customer came to be",
        "updated_at": "when the row last changed; decides the rule `newest`",
    },
    "address": {
        "kind": "billing, shipping or what the system calls it",
        "name": "addressee",
        "company": "firm of the addressee",
        "street": "street and number, all lines",
        "city": "city",
        "region": "state, province, voivodeship",
        "postcode": "postal code",
        "country": "ISO 3166 alpha-2",
        "phone": "phone at this address; shown, not an identifier",
    },
    "order": {
        "number": "number that people know the order by",
        "email": "e-mail given with the order; an identifier only when the order is a guest's",
        "phone": "phone given with the order; an identifier only when the order is a guest's",
        "first_name": "given name on the order; used when the order is a guest's",
        "last_name": "family name on the order; used when the order is a guest's",
        "country": "ISO 3166 alpha-2; used when the order is a guest's",
        "currency": "ISO 4217; null: the system's, else XXX",
        "market": "market of the sale; null: the system's",
        "gross": "what the buyer pays, tax and shipping included; null counts as 0",
        "status": "`open`, `complete`, `cancelled` or `returned`; anything else and null count as open",
        "placed_at": "when it was placed; its UTC day puts it into the 30, 90 and 365 day windows",
        "reference": "for stock: another number that ERP documents know the order by",
        "match_key": "for stock: what a document without a number of the order is matched by",
        "sales_channel": "for stock: sales channel; null: the system's name",
    },
    "order_line": {
        "sku": "what was sold; a line without it is left out of the products",
        "name": "what the position was called",
        "category": "category of the product",
        "quantity": "how many were ordered",
        "returned_quantity": "how many of them came back; null counts as 0",
        "gross": "price of the whole position, tax included",
        "cancelled_quantity": "for stock: how many were cancelled; null counts as 0",
        "pack_size": "for stock: pieces in one of `quantity`; null counts as 1",
        "location": "for stock: the location it is to leave from; null: any that serves the channel",
    },
    "payment": {
        "amount": "sum received, in the order's currency",
        "status": "`failed`, `cancelled` and `pending` are not counted; anything else and null are",
        "paid_at": "when the money came",
    },
    "invoice": {
        "number": "number of the document",
        "currency": "ISO 4217; null: the system's, else XXX",
        "amount": "gross sum of the document; negative for a correction",
        "open_amount": "what is not yet paid; null: all of `amount`",
        "issued_on": "day of issue",
        "due_on": "day by which it must be paid; overdue from the next day on",
        "status": "`paid` and `cancelled` are closed; anything else and null are open",
    },
    "refund": {
        "number": "number of the document",
        "currency": "ISO 4217; null: the order's; without an order the system's, else XXX",
        "amount": "sum given back; -50 and 50 both give back 50",
        "status": "`failed`, `cancelled` and `pending` are not counted; anything else and null are",
        "refunded_at": "when the money went back",
    },
    "shipment": {
        "number": "number of the shipment",
        "carrier": "who carries it",
        "tracking": "tracking number",
        "status": "as the system writes it; stock counts `shipped`, `delivered` and `returned` as gone",
        "shipped_at": "when it left",
        "delivered_at": "when it arrived",
        "order_ref": "for stock: the order, when it is no parent: as a document's `order_ref`",
        "document_ref": "for stock: number of the ERP document that it fulfils, or several",
        "order_system": "for stock: system whose orders are meant, when numbers of two systems can be equal",
        "location": "for stock: location that it left",
    },
    "product": {"sku": "stock keeping unit", "name": "name of the product", "category": "category of the product"},
    "stock_level": {
        "sku": "stock keeping unit",
        "location": "warehouse or shop",
        "quantity": "how much lies there",
        "reserved_quantity": "how much of it the system itself has booked for orders; null counts as 0",
        "pack_size": "pieces in one of `quantity`; null counts as 1",
    },
    "consent": {
        "purpose": "what it is for, for example `newsletter`",
        "granted": "true: agreed; false: refused or withdrawn",
        "channel": "e-mail, sms, ...",
        "at": "when it was said; the latest counts, null is earlier than any",
    },
    "interaction": {
        "kind": "visit, call, complaint, ...",
        "channel": "web, app, store, ...",
        "at": "when it happened",
    },
    "document": {
        "number": "number of the document; shipments may name it",
        "order_ref": "number or reference of the order that it books; several with `,` `;` `|` or space between",
        "order_system": "system whose orders are meant, when numbers of two systems can be equal",
        "match_key": "matched with an order's `match_key` when there is no `order_ref`",
        "status": "`cancelled`, `shipped` and `complete` are known; anything else and null are booked",
        "booked_at": "when it was booked; null: when its row last changed",
        "location": "location that it takes from; null: not known",
    },
    "document_line": {
        "sku": "stock keeping unit",
        "quantity": "how many; what is not above zero (a correction) books nothing",
        "pack_size": "pieces in one of `quantity`; null counts as 1",
        "location": "location that it takes from; null: the document's",
        "order_ref": "the order that this line books; null: the document's",
    },
    "shipment_line": {
        "sku": "stock keeping unit",
        "quantity": "how many",
        "pack_size": "pieces in one of `quantity`; null counts as 1",
    },
    "tracking": {
        "number": "tracking number; shown where the parcel's own row has none, several with a comma between",
        "carrier": "who carries it; shown where the parcel's own row names nobody",
    },
    "supply": {
        "sku": "stock keeping unit",
        "location": "where it will lie",
        "quantity": "how many were ordered",
        "received_quantity": "how many of them have come; null counts as 0",
        "pack_size": "pieces in one of `quantity`; null counts as 1",
        "expected_on": "day on which it is expected; null: never counted",
        "status": "`cancelled` and `complete` are not counted; anything else and null are",
    },
    "kit_part": {
        "kit": "sku of the kit",
        "sku": "sku of the part",
        "quantity": "pieces of the part in one kit; null counts as 1",
    },
}

TYPE_MEANINGS: dict[FieldType, str] = {
    FieldType.STR: "text, or a whole number, written out; empty text is null",
    FieldType.BOOL: "boolean; 0 or 1; t, f, true, false, yes, no, y, n in any case",
    FieldType.TS: "point in time: a timestamp column, a date (its midnight in UTC), or ISO 8601 text",
    FieldType.DAY: "calendar day: a date column, a timestamp (its day in the system's time zone), or ISO 8601 text",
    FieldType.AMOUNT: "exact number with up to 4 decimals: whole number, decimal, or decimal number as text; no float",
}


def fields_table(kind: str) -> str:
    """Render one entity's fields as a Markdown table, in their order."""
    lines = ["| field | type | meaning |", "|---|---|---|"]
    for name, field_type in ENTITIES[kind].fields.items():
        lines.append(f"| `{name}` | {field_type.value} | {MEANINGS[kind][name]} |")
    return "\n".join(lines)


def entities_text() -> str:
    """Render all entities, their parents and fields, as the Markdown that docs/mapping.md holds between its marks."""
    parts: list[str] = []
    for kind, entity in ENTITIES.items():
        parent = "no parent"
        if entity.parents:
            parent = f"parent: {' or '.join(entity.parents)} ({'needed' if entity.parent_required else 'optional'})"
        parts.append(
            f"### {kind}\n\n{ENTITY_MEANINGS[kind]} {parent[0].upper()}{parent[1:]}.\n\n{fields_table(kind)}\n"
        )
    return "\n".join(parts)


def types_table() -> str:
    """Render the field types and what may become one as a Markdown table."""
    lines = ["| type | what may become one |", "|---|---|"]
    lines.extend(f"| {field_type.value} | {TYPE_MEANINGS[field_type]} |" for field_type in FieldType)
    return "\n".join(lines)
