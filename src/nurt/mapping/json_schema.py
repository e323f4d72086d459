"""Write the JSON Schema of mapping files, for editors, from the tables that the checker reads."""

from __future__ import annotations

from typing import Any

from nurt.mapping.joins.words import FIELDS_MAX, USES_MAX
from nurt.mapping.meanings import ENTITY_MEANINGS, MEANINGS, TYPE_MEANINGS
from nurt.mapping.references import PARTS_MAX
from nurt.mapping.sections import KIND_WORD
from nurt.mapping.topics import INTO_MAX
from nurt.mapping.words import (
    CHOSEN_FIELDS,
    FIELD_TYPES,
    FILE_WORDS,
    IDENTIFIER_WORDS,
    INTO_WORDS,
    PIVOT_WORDS,
    PROFILE_WORDS,
    REFERENCE_WORDS,
    RULES,
    STEPS,
    STOCK_CHANNEL_WORDS,
    STOCK_LOCATION_WORDS,
    STOCK_MARKET_WORDS,
    STOCK_WORDS,
    SYSTEM_WORDS,
    TOPIC_WORDS,
    USE_NAME_WORD,
    USE_WORDS,
    Shape,
    Word,
)
from nurt.model.entities import ENTITIES, IDENTIFIED_KINDS, Entity
from nurt.model.table_kinds import TABLE

Schema = dict[str, Any]

_SQL: Schema = {"type": ["string", "number", "boolean"], "description": "An SQL expression over the row's columns."}
_PART: Schema = {
    "anyOf": [
        {"type": "string", "description": "A column."},
        {"type": "object", "properties": {"sql": _SQL}, "required": ["sql"], "additionalProperties": False},
    ]
}
_KINDS: Schema = {"$ref": "#/$defs/kinds"}
_TEXT: Schema = {"type": ["string", "number"]}


def mapping_json_schema() -> Schema:
    """Return the schema of a mapping file (JSON Schema, draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nurt mapping",
        "description": "What the tables of the source systems mean. The manual is docs/mapping.md.",
        **_section(
            FILE_WORDS,
            {
                "systems": {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/system"}},
                "topics": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/topic"}},
                "profile": _section(PROFILE_WORDS, {"rules": _rules()}),
                "identifiers": {
                    "type": "object",
                    "propertyNames": {"pattern": f"^{KIND_WORD.pattern}$"},
                    "additionalProperties": _section(IDENTIFIER_WORDS, {"normalise": _names(STEPS)}),
                },
                "stock": _stock(),
            },
        ),
        "patternProperties": {"^x-": {"description": "Not read: a place for YAML anchors."}},
        "$defs": {
            "reference": {"anyOf": [_PART, {"type": "array", "items": _PART, "minItems": 1, "maxItems": PARTS_MAX}]},
            "field": _field(),
            "system": _section(
                SYSTEM_WORDS,
                {
                    "priority": {"type": "integer", "minimum": 0},
                    "unavailable_placeholder": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
                },
            ),
            "kinds": {"allOf": [*(_of_kind(entity) for entity in ENTITIES.values()), _of_table()]},
            "topic": _topic(),
            "use": _use(),
            "item": {**_section(INTO_WORDS, _OF_ITEM), "allOf": [_KINDS]},
        },
    }


def _section(words: dict[str, Word], shapes: dict[str, Schema]) -> Schema:
    """Describe a section with these words; a word without its own shape is text."""
    properties: Schema = {}
    for name, word in words.items():
        shape = dict(shapes.get(name, _TEXT))
        if word.pattern is not None:
            shape = {"type": "string", "pattern": f"^{word.pattern}$"}
        properties[name] = {**shape, "description": word.meaning}
    section: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [name for name, word in words.items() if word.required]
    return {**section, "required": required} if required else section


def _field() -> Schema:
    """Describe a reference to a field of the parent."""
    ordering: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
    shapes = {name: ordering if name == "first" else _PART for name in REFERENCE_WORDS}
    fields = [{"required": [name]} for name in REFERENCE_WORDS if name != "first"]
    return {**_section(REFERENCE_WORDS, shapes), "oneOf": fields}


def _stock() -> Schema:
    shapes: dict[Shape, Schema] = {
        Shape.TEXT: _TEXT,
        Shape.NUMBER: {"type": "integer", "minimum": 0},
        Shape.QUANTITY: {"type": "number", "minimum": 0},
        Shape.LIST: {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
    }

    def of(words: dict[str, Word], sections: dict[str, Schema]) -> Schema:
        return _section(words, {name: shapes.get(word.shape, {}) for name, word in words.items()} | sections)

    parts = {"locations": STOCK_LOCATION_WORDS, "channels": STOCK_CHANNEL_WORDS, "markets": STOCK_MARKET_WORDS}
    return of(STOCK_WORDS, {name: {"type": "object", "additionalProperties": of(w, {})} for name, w in parts.items()})


_OF_ITEM: Schema = {
    "entity": {"enum": [*ENTITIES, TABLE]},
    "types": {"type": "object", "additionalProperties": {"enum": list(FIELD_TYPES)}},
    "with": {
        "type": "object",
        "propertyNames": {"pattern": f"^{USE_NAME_WORD.pattern}$"},
        "minProperties": 1,
        "maxProperties": USES_MAX,
        "additionalProperties": {"$ref": "#/$defs/use"},
    },
    "parent": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/reference"}, {"$ref": "#/$defs/field"}]},
    },
    "where": _SQL,
    "fields": {"type": "object", "additionalProperties": _SQL},
    "identifiers": {
        "type": "object",
        "propertyNames": {"pattern": f"^{KIND_WORD.pattern}$"},
        "additionalProperties": {"anyOf": [_SQL, {"type": "array", "items": _SQL}]},
    },
}


def _topic() -> Schema:
    columns: Schema = {"type": "string"}
    section = _section(
        TOPIC_WORDS,
        {
            **_OF_ITEM,
            "match": {"type": "string"},
            "key": {"$ref": "#/$defs/reference"},
            "into": {"type": "array", "minItems": 1, "maxItems": INTO_MAX, "items": {"$ref": "#/$defs/item"}},
            "optional": {"anyOf": [columns, {"type": "array", "items": columns}]},
            "order": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
        },
    )
    beside: Schema = {"properties": dict.fromkeys(INTO_WORDS, False)}
    one_or_several: Schema = {"if": {"required": ["into"]}, "then": beside, "else": {"required": ["entity"]}}
    return {**section, "allOf": [one_or_several, _KINDS]}


def _use() -> Schema:
    texts: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}
    section = _section(
        USE_WORDS,
        {
            "table": texts,
            "on": texts,
            "by": {"$ref": "#/$defs/reference"},
            "pivot": _section(PIVOT_WORDS, {}),
            "only": {"type": "object", "additionalProperties": texts},
            "first": texts,
        },
    )
    beside: Schema = {"required": ["on"], "properties": {"by": False, "system": False}}
    looked_up: Schema = {"required": ["by"], "properties": dict.fromkeys(("on", "pivot", "only", "first"), False)}
    return {**section, "oneOf": [beside, looked_up]}


def _of_table() -> Schema:
    """Describe the keys of a topic whose rows are a table."""
    named: Schema = {"type": "object", "propertyNames": {"pattern": "^[a-z_][a-z0-9_]*$"}, "maxProperties": FIELDS_MAX}
    then: Schema = {
        "properties": {"fields": {**named, "minProperties": 1}, "parent": False, "identifiers": False},
        "required": ["name", "fields"],
    }
    is_table: Schema = {"properties": {"entity": {"const": TABLE}}, "required": ["entity"]}
    return {"if": is_table, "then": then, "else": {"properties": {"types": False}}}


def _of_kind(entity: Entity) -> Schema:
    """Describe the keys of a topic with this entity."""
    fields = {
        name: {**_SQL, "description": f"{MEANINGS[entity.kind][name]} ({TYPE_MEANINGS[field_type]})"}
        for name, field_type in entity.fields.items()
    }
    properties: Schema = {
        "fields": {
            "type": "object",
            "description": ENTITY_MEANINGS[entity.kind],
            "properties": fields,
            "additionalProperties": False,
        }
    }
    if not entity.parents:
        properties["parent"] = False
    if entity.kind not in IDENTIFIED_KINDS:
        properties["identifiers"] = False
    then: Schema = {"properties": properties}
    if entity.parent_required:
        if entity.kind in IDENTIFIED_KINDS:
            then["anyOf"] = [{"required": ["parent"]}, {"required": ["identifiers"]}]
        else:
            then["required"] = ["parent"]
    return {"if": {"properties": {"entity": {"const": entity.kind}}, "required": ["entity"]}, "then": then}


def _rules() -> Schema:
    return {
        "type": "object",
        "properties": {name: _names(RULES) for name in CHOSEN_FIELDS},
        "additionalProperties": False,
    }


def _names(meanings: dict[str, str]) -> Schema:
    """Describe a name, or a list of names, out of a table."""
    one: Schema = {"anyOf": [{"const": name, "description": meaning} for name, meaning in meanings.items()]}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}]}
