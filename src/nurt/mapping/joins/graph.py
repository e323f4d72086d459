"""Check joins between entries, and order the entries by level: each stands above all that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nurt.mapping.types import Mapping, TopicMapping
from nurt.model.table_kinds import TABLE

LEVELS_MAX = 6

At = tuple[str, str]
"""An entry's system, as it is written, and its entity's name."""


def all_items(mapping: Mapping) -> Iterator[tuple[At, TopicMapping]]:
    """Yield every entity of every entry."""
    return (((rule.system, item.name), item) for rule in mapping.topics for item in rule.mapping.items)


def used_by(at: At, item: TopicMapping) -> list[At]:
    """List the tables that an entry uses."""
    return [(use.system or at[0], table) for use in item.uses.values() for table in use.tables]


def levels_of(mapping: Mapping) -> dict[At, int]:
    """Return the level of each entry; 0: it uses nothing. The graph has no circle."""
    items, found = dict(all_items(mapping)), dict[At, int]()

    def level(at: At) -> int:
        if at not in found:
            below = [level(one) for one in used_by(at, items[at])]
            found[at] = 1 + max(below) if below else 0
        return found[at]

    for at in items:
        level(at)
    return found


def circle_of(mapping: Mapping) -> list[At]:
    """Return entries that use each other in a circle, the first one again at the end; [] where there is none."""
    items, done = dict(all_items(mapping)), set[At]()

    def search(at: At, way: list[At]) -> list[At]:
        if at in way:
            return [*way[way.index(at) :], at]
        if at in done or at not in items:
            return []
        for one in used_by(at, items[at]):
            if found := search(one, [*way, at]):
                return found
        done.add(at)
        return []

    return next((found for at in items if (found := search(at, []))), [])


@dataclass(frozen=True, slots=True)
class Edge:
    """Use of tables by an entry, for people.

    Attributes:
        level: of the entry.
        how: `beside`, `pivot` or `looked up`, and by which fields.
        any_of_several: a base may have several rows there, and the smallest key counts.
    """

    level: int
    entry: str
    name: str
    tables: str
    how: str
    any_of_several: bool


def edges(mapping: Mapping) -> list[Edge]:
    """List what entries use, the lowest level first."""
    level_of = levels_of(mapping)
    found = []
    for at, item in all_items(mapping):
        for use in item.uses.values():
            tables = ", ".join(f"{table} of {use.system or at[0]}" for table in use.tables)
            keys = ", ".join(use.on) if use.on else ", ".join(part.text for part in use.by)
            how = f"looked up by {keys}" if use.by else f"{'pivot' if use.pivot else 'beside'} on {keys}"
            found.append(
                Edge(level_of[at], f"{item.name} of {at[0]}", use.name, tables, how, bool(use.on) and not use.first)
            )
    return sorted(found, key=lambda one: one.level)


def unused_tables(mapping: Mapping) -> list[str]:
    """Name the tables that nobody uses."""
    items = list(all_items(mapping))
    used = {one for at, item in items for one in used_by(at, item)}
    return [f"{at[1]} of {at[0]}" for at, item in items if item.kind == TABLE and at not in used]
