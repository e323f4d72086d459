"""Read a mapping: what the tables of the source systems mean.

docs/mapping.md is the manual.
"""

from __future__ import annotations

from collections.abc import Mapping as Of
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from nurt.errors import ConfigurationError
from nurt.mapping.joins.check import check_joins
from nurt.mapping.sections import read_identifier_rules, read_rules, read_systems
from nurt.mapping.stock import read_stock
from nurt.mapping.topics import read_topics
from nurt.mapping.types import Expression, Mapping, Parent, Reference, System, TopicMapping
from nurt.mapping.words import CHOSEN_FIELDS, DEFAULT_RULES, FILE_WORDS
from nurt.mapping.yaml_lines import Complaints, compose, section
from nurt.model.stock.plan import StockPlan

__all__ = [
    "Expression",
    "Mapping",
    "Parent",
    "Reference",
    "System",
    "TopicMapping",
    "join_mappings",
    "load_mapping",
    "read_mapping",
]

T = TypeVar("T")


def read_mapping(files: Sequence[Path]) -> Mapping:
    """Read and check the mapping files."""
    mapping = join_mappings([_read_mapping(path) for path in files])
    check_joins(mapping)
    return mapping


def _read_mapping(path: Path) -> Mapping:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as failed:
        raise ConfigurationError(
            f"reading mapping {path}: {failed.strerror}; correct `mapping` in the settings"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"reading mapping {path}: it is no UTF-8; write it as UTF-8") from None
    return _load(text, str(path))


def load_mapping(text: str, file_name: str) -> Mapping:
    """Check and compile the text of a mapping file; `file_name` is only for messages.

    Raises ConfigurationError that lists every mistake as `file:line: what was found (what was expected)`.
    """
    mapping = _load(text, file_name)
    check_joins(mapping)
    return mapping


@lru_cache(maxsize=16)  # a start asks for the same files several times
def _load(text: str, file_name: str) -> Mapping:
    """Check and compile a mapping file, but for what its joins say of other entries: these may be in another file."""
    complaints = Complaints(file_name)
    node = compose(text, complaints)
    values = section(node, "mapping", FILE_WORDS, complaints, ignored="x-") if node is not None else {}
    systems = read_systems(values["systems"], complaints) if "systems" in values else {}
    rules = read_rules(values.get("profile"), complaints)
    identifier_rules = read_identifier_rules(values.get("identifiers"), complaints)
    topics = read_topics(values["topics"], systems, set(identifier_rules), complaints) if "topics" in values else ()
    stock = read_stock(values.get("stock"), complaints)
    complaints.raise_all()
    topics = tuple(
        replace(rule, mapping=rule.mapping.of_items([replace(one, file_name=file_name) for one in rule.mapping.items]))
        for rule in topics
    )
    return Mapping(file_name, systems, topics, rules, identifier_rules, stock)


def join_mappings(mappings: Sequence[Mapping]) -> Mapping:
    """Make one mapping of several files, each of which stands by itself; topics are matched in their order.

    Raises ConfigurationError when two files say different things of one name.
    """
    first, *others = mappings
    joined = first
    for other in others:
        joined = replace(
            joined,
            file_name=f"{joined.file_name}, {other.file_name}",
            systems=_united(joined, other, "systems", joined.systems, other.systems),
            topics=(*joined.topics, *other.topics),
            rules=_united(
                joined, other, "profile rules", _set_rules(joined.rules), _set_rules(other.rules), DEFAULT_RULES_OF
            ),
            identifier_rules=_united(joined, other, "identifiers", joined.identifier_rules, other.identifier_rules),
            stock=_either(joined, other),
            _known={},
        )
    return joined


DEFAULT_RULES_OF = dict.fromkeys(CHOSEN_FIELDS, DEFAULT_RULES)


def _set_rules(rules: Of[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: chosen for name, chosen in rules.items() if chosen != DEFAULT_RULES}


def _united(
    one: Mapping, other: Mapping, what: str, left: Of[str, T], right: Of[str, T], default: Of[str, T] | None = None
) -> dict[str, T]:
    for name in left.keys() & right.keys():
        if left[name] != right[name]:
            raise ConfigurationError(
                f"reading the mappings {one.file_name} and {other.file_name}: `{what}` says two things of {name!r} "
                "(expected one); say it in one file, or the same in both"
            )
    return {**(default or {}), **left, **right}


def _either(one: Mapping, other: Mapping) -> StockPlan | None:
    if one.stock is not None and other.stock is not None and one.stock != other.stock:
        raise ConfigurationError(
            f"reading the mappings {one.file_name} and {other.file_name}: both have `stock` (expected one of them); "
            "say it in one file"
        )
    return one.stock if one.stock is not None else other.stock
