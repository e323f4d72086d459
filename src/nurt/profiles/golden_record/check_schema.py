"""Check the published schema: a kernel writes profiles without reading the schema, so the two must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nurt.avro.schema import Node, parse_schema
from nurt.errors import ConfigurationError
from nurt.profiles.golden_record.addresses import ADDRESS_FIELDS
from nurt.profiles.golden_record.aggregates import WINDOWS_DAYS
from nurt.profiles.golden_record.survivorship import FIELDS

_CHOSEN = "(value:string system:string row:string position:string rule:string)"
_ORDERS = (
    *("currency:string", "market:string", "count:long", "gross:bytes4", "average:?bytes4", "first_on:?int"),
    *("last_on:?int", "cancelled:long", "returned:long", "open:long"),
    *(f"last_{days}_count:long last_{days}_gross:bytes4" for days in WINDOWS_DAYS),
    *(f"{name}:?bytes4" for name in ("given_back", "net", "paid", "open_amount")),
)
_INVOICES = "currency:string open_count:long open_amount:bytes4 overdue_count:long overdue_amount:bytes4"
WRITTEN = (
    *("id:string", "revision:long", "state:live|redirect", "redirect_to:?string", "realm:string", "as_of:int"),
    *(f"{name}:?{_CHOSEN}" for name in FIELDS),
    "identifiers:[(kind:string value:string)]",
    f"addresses:[(system:string row:string {' '.join(f'{name}:?string' for name in ADDRESS_FIELDS)} count:long)]",
    "accounts:[(account:string system:string entity:string key:string)]",
    f"orders:[({' '.join(_ORDERS)})]",
    "products:[(sku:string quantity:bytes4)]",
    "categories:[(category:string quantity:bytes4)]",
    f"invoices:[({_INVOICES})]",
    "consents:[(purpose:string granted:?boolean at:?long system:string row:string)]",
    "last_interaction_on:?int",
)
"""The fields in order, as `_shape` writes them."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless this is the schema that the kernel writes."""
    found = _shape(parse_schema(schema))
    if found != f"({' '.join(WRITTEN)})":
        raise ConfigurationError(
            "publishing profiles: their schema has other fields than this version writes; install nurt anew, schemas "
            "and code together"
        )


def _shape(node: Node) -> str:
    """Write a type as a text; the written bytes depend on nothing else of the type."""
    if node.kind == "record":
        return "(" + " ".join(f"{name}:{_shape(type_)}" for name, type_ in node.fields) + ")"
    if node.kind == "array":
        return f"[{_shape(node.item)}]"
    if node.kind == "union":
        return "?".join(_shape(branch) for branch in node.branches)
    if node.kind == "null":
        return ""
    if node.kind == "enum":
        return "|".join(node.symbols)
    scale = node.attributes.get("scale", "")
    return f"{node.kind}{scale}"
