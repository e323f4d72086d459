from __future__ import annotations

import re
from typing import Any

import pytest

from nurt.avro.compatibility import why_unreadable
from nurt.contracts import schemas


def record(*fields: dict[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "n", "fields": list(fields)}


def field(name: str, kind: Any = "long", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def decimal(scale: int, precision: int = 18) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


LIST = record(field("next", ["null", "R"], default=None))

READABLE: list[tuple[Any, Any]] = [
    (record(field("a"), field("b", default=0)), record(field("a"))),
    (record(field("a")), record(field("a"), field("b"))),
    (record(field("b", aliases=["a"])), record(field("a"))),
    ("double", "int"),
    ("bytes", "string"),
    (["null", "long"], "long"),
    ("long", ["int", "long"]),
    (enum("x", default="x"), enum("x", "y")),
    (enum("x", "y"), enum("x")),
    (LIST, LIST),
    ({"type": "string"}, "string"),
    ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}),
    (decimal(4, 20), decimal(4)),
    (record(field("a", enum("x")), field("b", "E")), record(field("a", enum("x")), field("b", "n.E"))),
]

UNREADABLE: list[tuple[Any, Any, str]] = [
    (record(field("a"), field("b")), record(field("a")), "b: the field is new"),
    (record(field("a", "int")), record(field("a")), "a: long cannot be read as int"),
    (record(field("a"), name="S"), record(field("a")), "record R is not S"),
    ("long", ["null", "long"], "null cannot be read as long"),
    (["null", "string"], "long", "no branch"),
    (enum("x"), enum("x", "y"), "symbol y is gone"),
    (record(field("a", decimal(2))), record(field("a", decimal(4))), "scale was 4, now 2"),
    (record(field("a", "bytes")), record(field("a", decimal(4))), "scale was 4"),
    ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}, r"\[\]: long cannot"),
    ({"type": "map", "values": "int"}, {"type": "map", "values": "long"}, "long cannot"),
    ({"type": "fixed", "name": "F", "size": 8}, {"type": "fixed", "name": "F", "size": 16}, "size"),
]


@pytest.mark.parametrize(("reader", "writer"), READABLE)
def test_what_can_be_resolved_is_readable(reader: Any, writer: Any) -> None:
    assert why_unreadable(reader, writer) is None


@pytest.mark.parametrize(("reader", "writer", "why"), UNREADABLE)
def test_what_cannot_be_resolved_says_where_and_why(reader: Any, writer: Any, why: str) -> None:
    assert re.search(why, why_unreadable(reader, writer) or "readable")


def test_every_published_contract_reads_all_its_earlier_versions() -> None:
    subjects: dict[str, list[tuple[int, str]]] = {}
    for name in schemas.names():
        subject, _, version = name.rpartition(".v")
        subjects.setdefault(subject, []).append((int(version), name))
    assert "nurt.profiles-value" in subjects
    for versions in subjects.values():
        names = [name for _, name in sorted(versions)]
        for index, newer in enumerate(names):
            for older in names[: index + 1]:
                assert why_unreadable(schemas.load(newer), schemas.load(older)) is None, (newer, older)
