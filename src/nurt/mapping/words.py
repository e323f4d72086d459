"""The mapping's vocabulary: keys, rules and fields, each with its meaning.

The checker, the JSON Schema and the tables of docs/mapping.md are made from these tables, so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    """Shape of the value of a key in the mapping file."""

    TEXT = "text"
    NUMBER = "whole number"
    QUANTITY = "quantity"
    SQL = "SQL expression"
    REFERENCE = "column, {sql: ...}, or a list of these"
    ORDERING = "list of fields, each with asc or desc"
    COLUMNS = "column or list of columns"
    SECTION = "section"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Word:
    """Word of the mapping file: one key that a section may have."""

    shape: Shape
    meaning: str
    required: bool = False
    pattern: str | None = None  # what a text must match
    expected: str = ""  # the pattern in words


NAME_PATTERN = r"[A-Za-z0-9_.\-]+"
_NAME = "letters, digits, '_', '-', '.'"

FILE_WORDS: dict[str, Word] = {
    "systems": Word(
        Shape.SECTION, "The source systems by name: each a database whose keys mean something only in it.", True
    ),
    "topics": Word(Shape.LIST, "Which topic holds which entity; the first pattern that matches a topic counts.", True),
    "profile": Word(Shape.SECTION, "How profiles choose among what the systems say."),
    "identifiers": Word(Shape.SECTION, "How extra kinds of identifiers are normalised before they are compared."),
    "stock": Word(Shape.SECTION, "What can be sold: locations, the channels and markets that they serve, and rules."),
}

SYSTEM_WORDS: dict[str, Word] = {
    "realm": Word(
        Shape.TEXT,
        "Systems of one realm may meet in one profile, systems of two never do. Default: `default`.",
        pattern=NAME_PATTERN,
        expected=_NAME,
    ),
    "country": Word(
        Shape.TEXT,
        "Country of phones and tax ids whose row names none.",
        pattern="[A-Z]{2}",
        expected="two capital letters, ISO 3166",
    ),
    "market": Word(Shape.TEXT, "Market of orders that name none."),
    "currency": Word(
        Shape.TEXT,
        "Currency of orders and invoices that name none.",
        pattern="[A-Z]{3}",
        expected="three capital letters, ISO 4217",
    ),
    "priority": Word(
        Shape.NUMBER, "Who is believed first under the rule `source_priority`: the smaller. Default: 100."
    ),
    "timezone": Word(Shape.TEXT, "IANA name; how the system's date-times without an offset are read. Default: `UTC`."),
    "unavailable_placeholder": Word(
        Shape.LIST,
        "The connector's `unavailable.value.placeholder`, if it has its own; a list when it had several. "
        "Debezium's default is always known.",
    ),
}

_NAME_WORD = Word(
    Shape.TEXT,
    "The entity's name in that system, when the system has several tables of one kind. Default: the kind.",
    pattern=NAME_PATTERN,
    expected=_NAME,
)
_OF_ONE_ENTITY = {
    "parent": Word(
        Shape.SECTION,
        "Whose child the row is: {entity name: key of the parent}, or {entity name: {field of the parent: its value}}. "
        "The first that is not null counts.",
    ),
    "where": Word(Shape.SQL, "Which rows exist; a row for which it is not true is a delete."),
    "fields": Word(Shape.SECTION, "Canonical field: SQL expression over the row's columns."),
    "identifiers": Word(
        Shape.SECTION,
        "Only for customers, addresses, consents and interactions: more identifiers, {kind: SQL expression or list of "
        "them}.",
    ),
    "types": Word(Shape.SECTION, "Only for tables: {field: its type}. Default: text."),
    "with": Word(
        Shape.SECTION, "Rows of tables that expressions may use, {name: which rows}; `name.column` is a column of one."
    ),
}

TOPIC_WORDS: dict[str, Word] = {
    "match": Word(Shape.TEXT, "Regular expression that the whole topic name must match; may have named groups.", True),
    "system": Word(Shape.TEXT, "The system's name; `{group}` stands for a named group of `match`.", True),
    "entity": Word(Shape.TEXT, "What the rows are: one of the canonical entities. Needed, unless there is `into`."),
    "name": _NAME_WORD,
    "key": Word(
        Shape.REFERENCE, "The row's key. Its columns must be in the message's key, for deletes hold nothing else.", True
    ),
    **_OF_ONE_ENTITY,
    "into": Word(
        Shape.LIST,
        "Instead of `entity`: several entities that each row is, an item each. A message is folded whole or refused "
        "whole.",
    ),
    "optional": Word(Shape.COLUMNS, "Columns that some versions of the table lack; they are null there."),
    "order": Word(
        Shape.LIST,
        "Only where `match` meets several topics of one table: their names, oldest first; `*` stands for any text. "
        "A later topic takes the place of earlier ones.",
    ),
}

INTO_WORDS: dict[str, Word] = {
    "entity": Word(Shape.TEXT, "What each row is, too: one of the canonical entities.", True),
    "name": _NAME_WORD,
    **_OF_ONE_ENTITY,
}
"""Keys of an item of `into`; the others are the entry's."""

FIELD_TYPES: dict[str, str] = {
    "str": "text",
    "bool": "true or false",
    "ts": "a point in time",
    "day": "a day",
    "amount": "a number with at most 4 decimals",
}
"""Types of a table's fields."""

USE_NAME_WORD = Word(
    Shape.TEXT, "A name for the rows.", pattern="[a-z_][a-z0-9_]*", expected="small letters, digits, '_'"
)

USE_WORDS: dict[str, Word] = {
    "table": Word(
        Shape.LIST, "The name of an `entity: table`; with `pivot` a list: rows of all of them count as one's.", True
    ),
    "system": Word(Shape.TEXT, "The table's system, only with `by`. Default: that of the row itself."),
    "on": Word(Shape.LIST, "Fields of the table that hold our key, in the order of our key's parts."),
    "by": Word(
        Shape.REFERENCE,
        "What of ours is the key of the table's row, in the order of its parts; columns of rows beside us too.",
    ),
    "pivot": Word(
        Shape.SECTION, "Only with `on`: rows are attributes, {name: field, value: field}; `with_name.x` is one's value."
    ),
    "only": Word(Shape.SECTION, "Only with `on`: {field: text or list of texts}; rows with others do not count."),
    "first": Word(
        Shape.LIST,
        "Only with `on`: which row counts of several: fields, each with `desc` if the largest comes first; `key`. "
        "Numbers are compared by value, nulls come last, then the smallest key.",
    ),
}

PIVOT_WORDS: dict[str, Word] = {
    "name": Word(Shape.TEXT, "The field with the attribute's name.", True),
    "value": Word(Shape.TEXT, "The field with its value.", True),
}

REFERENCE_WORDS: dict[str, Word] = {
    "number": Word(Shape.REFERENCE, "The parent's field `number`: a column, or {sql: ...}."),
    "reference": Word(Shape.REFERENCE, "The parent's field `reference`."),
    "match_key": Word(Shape.REFERENCE, "The parent's field `match_key`."),
    "first": Word(
        Shape.ORDERING,
        "Which of several orders with one value is meant: the first by these fields, `[placed_at desc, key]` for "
        "example; null comes last. Default: none of them.",
    ),
}
"""Keys of a reference: exactly one field of the order, and `first`."""

STOCK_WORDS: dict[str, Word] = {
    "locations": Word(
        Shape.SECTION,
        "Warehouses and shops by name, as `location` of stock levels has them. Others do not count.",
        True,
    ),
    "channels": Word(
        Shape.SECTION, "Where is sold, by the `sales_channel` of orders: the system's name unless it is mapped.", True
    ),
    "markets": Word(Shape.SECTION, "Countries or sites, by the `market` of orders. Default: one market, nameless."),
    "reduced_by": Word(
        Shape.TEXT,
        "When on hand falls: when the ERP makes its `booking`, or at `shipment`. Default: `booking`.",
        pattern="booking|shipment",
        expected="booking or shipment",
    ),
    "grace_s": Word(
        Shape.NUMBER,
        "Seconds for which a booking still counts when no later stock level of its system has come. Default: 30.",
    ),
    "reservation_hours": Word(
        Shape.NUMBER, "Hours after which an order without document or shipment holds nothing. Default: never."
    ),
    "stuck_minutes": Word(Shape.NUMBER, "Minutes after which an order without document is an event. Default: never."),
    "low": Word(Shape.QUANTITY, "What can be sold is low at or below this. Default: 0."),
    "hysteresis": Word(Shape.QUANTITY, "How far above a threshold a crossing is over. Default: 1."),
    "drift": Word(Shape.QUANTITY, "Difference to the figure that a channel shows that is an event. Default: never."),
}

STOCK_LOCATION_WORDS: dict[str, Word] = {
    "buffer": Word(Shape.QUANTITY, "Quantity of each sku that is never promised. Default: 0."),
    "system": Word(
        Shape.TEXT, "Whose figure counts when several systems tell of it. Default: the smallest `priority`."
    ),
    "stale_minutes": Word(Shape.NUMBER, "Minutes without news of its stock after which it is stale. Default: never."),
    "stale_buffer": Word(Shape.QUANTITY, "Added to the buffer while it is stale. Default: 0."),
}

STOCK_CHANNEL_WORDS: dict[str, Word] = {
    "locations": Word(Shape.LIST, "Locations that serve it. Default: all."),
    "markets": Word(Shape.LIST, "Markets in which it sells. Default: all."),
    "buffer": Word(Shape.QUANTITY, "Quantity of each sku that is never promised to it. Default: 0."),
    "inbound_days": Word(Shape.NUMBER, "Promise supplies that are expected within so many days. Default: none."),
    "shown": Word(Shape.TEXT, "Location under which the stock that the channel itself shows is mapped, for `drift`."),
}

STOCK_MARKET_WORDS: dict[str, Word] = {
    "locations": Word(Shape.LIST, "Locations that may serve it. Default: all that serve the channel."),
    "buffer": Word(Shape.QUANTITY, "Quantity of each sku that is never promised to it. Default: 0."),
}

PROFILE_WORDS: dict[str, Word] = {
    "rules": Word(
        Shape.SECTION,
        "Profile field: how its value is chosen, rules in order, the next one when the last leaves a tie.",
    ),
}

IDENTIFIER_WORDS: dict[str, Word] = {
    "normalise": Word(Shape.LIST, "Steps in order. Default: [strip].", True),
}

RULES: dict[str, str] = {
    "verified_first": "values whose row says that they are verified (`email_verified`, `phone_verified`) before others",
    "source_priority": "values of the system with the smaller `priority`",
    "newest": "the row with the largest `updated_at`, else the source's commit time of its last change",
    "most_frequent": "the value that most accounts hold",
}

CHOSEN_FIELDS = (
    "email",
    "phone",
    "first_name",
    "last_name",
    "company",
    "tax_id",
    "loyalty_card",
    "birth_date",
    "gender",
    "language",
    "country",
    "market",
)
"""The profile's fields that survivorship rules choose among accounts."""

DEFAULT_RULES = ("verified_first", "source_priority", "newest")

STEPS: dict[str, str] = {
    "strip": "no white space at either end",
    "upper": "upper case",
    "lower": "lower case",
    "casefold": "as `lower`, and `ß` as `ss`",
    "digits": "only the digits 0-9",
}

BUILT_IN_IDENTIFIERS = ("email", "phone", "tax_id", "loyalty_card")
"""Identifier kinds with their own normaliser."""
