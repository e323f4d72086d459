"""Check the sections of a mapping file and make values of them; every mistake is collected with its line."""

from __future__ import annotations

import re
import string
import zoneinfo
from dataclasses import replace
from functools import cache

from yaml.nodes import MappingNode, Node, SequenceNode

from nurt.mapping.sql.compile import BadExpression, compile_expression
from nurt.mapping.topic_patterns import BadPattern, TopicPattern
from nurt.mapping.types import Expression, System, at_line
from nurt.mapping.words import (
    BUILT_IN_IDENTIFIERS,
    CHOSEN_FIELDS,
    DEFAULT_RULES,
    IDENTIFIER_WORDS,
    NAME_PATTERN,
    PROFILE_WORDS,
    RULES,
    STEPS,
    SYSTEM_WORDS,
    Shape,
    Word,
)
from nurt.mapping.yaml_lines import Complaints, items_of, line_of, nearest, number_of, pairs, section, text_of

DEFAULT_REALM, DEFAULT_PRIORITY, DEFAULT_TIMEZONE = "default", 100, "UTC"

KIND_WORD = Word(Shape.TEXT, "A kind of identifier.", pattern=r"[a-z][a-z0-9_]*", expected="small letters, digits, '_'")
_SQL_WORD = Word(Shape.SQL, "")


_zones = cache(zoneinfo.available_timezones)  # which looks at some hundred files


def read_systems(node: Node, complaints: Complaints) -> dict[str, System]:
    """Read the section `systems`."""
    systems: dict[str, System] = {}
    found = pairs(node, "systems", complaints) or []
    if isinstance(node, MappingNode) and not node.value:
        complaints.add(node, "systems: none (expected at least one)")
    for key, value in found:
        what = f"system {key.value!r}"
        if not re.fullmatch(NAME_PATTERN, key.value):
            complaints.add(key, f"{what}: a name with other characters (expected letters, digits, '_', '-', '.')")
        system = System(key.value, DEFAULT_REALM, None, None, None, DEFAULT_PRIORITY, DEFAULT_TIMEZONE)
        for word, inner in section(value, what, SYSTEM_WORDS, complaints).items():
            if word == "priority":
                number = number_of(inner, f"{what}: priority", complaints)
                system = system if number is None else replace(system, priority=number)
                continue
            if word == "unavailable_placeholder":
                system = replace(system, placeholders=_placeholders(inner, f"{what}: {word}", complaints))
                continue
            text = text_of(inner, f"{what}: {word}", complaints, SYSTEM_WORDS[word])
            if text is not None and word == "timezone" and text not in _zones():
                close = nearest(text, _zones()).partition(";")[2]
                complaints.add(
                    inner,
                    f"{what}: timezone: {text!r} (expected an IANA name as Europe/Warsaw)" + (close and f";{close}"),
                )
                text = None
            if text is not None:
                system = replace(system, **{word: text})  # type: ignore[arg-type] # other types were taken above
        systems[key.value] = system
    return systems


def _placeholders(node: Node, what: str, complaints: Complaints) -> tuple[str, ...]:
    texts = [text for item in items_of(node, what, complaints) if (text := text_of(item, what, complaints)) is not None]
    for text in texts:
        if text.startswith("hex:") and not re.fullmatch("hex:([0-9a-fA-F]{2})+", text):
            complaints.add(node, f"{what}: {text!r} (expected an even number of hexadecimal digits behind `hex:`)")
            return ()
    return tuple(texts)


def read_rules(node: Node | None, complaints: Complaints) -> dict[str, tuple[str, ...]]:
    """Read the section `profile`; fields that the section does not name have the default rules."""
    rules: dict[str, tuple[str, ...]] = dict.fromkeys(CHOSEN_FIELDS, DEFAULT_RULES)
    if node is None:
        return rules
    inner = section(node, "profile", PROFILE_WORDS, complaints).get("rules")
    for key, value in (pairs(inner, "profile.rules", complaints) or []) if inner is not None else []:
        what = f"profile.rules.{key.value}"
        if key.value not in CHOSEN_FIELDS:
            complaints.add(key, f"profile.rules: unknown field {key.value!r} {nearest(key.value, CHOSEN_FIELDS)}")
        names = _names(value, what, "rule", RULES, complaints)
        if not names:
            complaints.add(value, f"{what}: no rules (expected a list of {', '.join(RULES)})")
        rules[key.value] = names
    return rules


def read_identifier_rules(node: Node | None, complaints: Complaints) -> dict[str, tuple[str, ...]]:
    """Read the section `identifiers`: extra kinds and their steps."""
    rules: dict[str, tuple[str, ...]] = {}
    for key, value in (pairs(node, "identifiers", complaints) or []) if node is not None else []:
        what = f"identifiers.{key.value}"
        if key.value in BUILT_IN_IDENTIFIERS:
            complaints.add(
                key, f"{what}: a built-in kind (expected another; {key.value} is normalised as docs/mapping.md says)"
            )
        text_of(key, "identifiers", complaints, KIND_WORD)
        steps = section(value, what, IDENTIFIER_WORDS, complaints).get("normalise")
        if steps is not None:
            rules[key.value] = _names(steps, f"{what}.normalise", "step", STEPS, complaints)
    return rules


def _names(node: Node, what: str, noun: str, known: dict[str, str], complaints: Complaints) -> tuple[str, ...]:
    names: list[str] = []
    for item in items_of(node, what, complaints):
        name = text_of(item, what, complaints)
        if name is None:
            continue
        if name not in known:
            complaints.add(item, f"{what}: unknown {noun} {name!r} {nearest(name, known)}")
        elif name in names:
            complaints.add(item, f"{what}: {name!r} twice (expected once)")
        else:
            names.append(name)
    return tuple(names)


def read_expression(node: Node, what: str, complaints: Complaints) -> Expression | None:
    """Read one SQL expression; None after a complaint."""
    text = text_of(node, what, complaints, _SQL_WORD)
    if text is None:
        return None
    try:
        return at_line(compile_expression(text, complaints.names), line_of(node))
    except BadExpression as error:
        complaints.add(node, f"{what}: {error}")
        return None


def read_pattern(node: Node, what: str, complaints: Complaints) -> TopicPattern | None:
    """Read a regular expression over topic names; None after a complaint."""
    text = text_of(node, what, complaints)
    if text is None:
        return None
    try:
        return TopicPattern(text)
    except BadPattern as error:
        complaints.add(node, f"{what}: {error}")
        return None


def read_system_name(
    node: Node, what: str, pattern: TopicPattern | None, systems: dict[str, System], complaints: Complaints
) -> str | None:
    """Read a system's name or its template; complain when it can give no declared system."""
    text = text_of(node, what, complaints)
    if text is None:
        return None
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError:
        complaints.add(node, f"{what}: {text!r}: a brace without its other half (expected {{group}})")
        return None
    shape = ""
    for literal, group, form, conversion in pieces:
        shape += re.escape(literal)
        if group is None:
            continue
        shape += ".+"
        if form or conversion or (pattern is not None and group not in pattern.groups):
            groups = list(pattern.groups) if pattern is not None else []
            complaints.add(node, f"{what}: {{{group}}} names no group of `match` {nearest(group, groups)}")
            return None
    if not any(re.fullmatch(shape, name) for name in systems):
        complaints.add(node, f"{what}: unknown system {text!r} {nearest(text, systems)}")
        return None
    return text


def read_columns(node: Node, what: str, complaints: Complaints) -> frozenset[str]:
    """Read a column name or a list of them."""
    names = (text_of(item, what, complaints) for item in items_of(node, what, complaints))
    return frozenset(name for name in names if name is not None)


def reference_items(node: Node) -> list[Node]:
    """Return the parts of a reference: one node, or those of a list."""
    return list(node.value) if isinstance(node, SequenceNode) else [node]
