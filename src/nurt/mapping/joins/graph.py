"""Check joins between entries, and order the entries by level: each stands above all that it uses."""

from __future__ import annotations

from collections.abc import Iterator

from nurt.mapping.types import Mapping, TopicMapping

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
