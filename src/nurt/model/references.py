"""References: parents that are named by another field than their key, within their system.

What names and what is named meet at a *token*: the id of the table, the field and the value.
"""

from __future__ import annotations

from collections.abc import Mapping

BETWEEN = "?"
"""Between an entity and a field, in a token's text and in the kind of a parent; no name of an entity has it."""

First = tuple[tuple[str, bool], ...]
"""Fields of the rows that bear one value, by which the first of them is chosen, each with whether it descends."""

Referred = Mapping[str, Mapping[str, First]]
"""By name of an entity: the fields that others name its rows by; (): of several rows with one value none is meant."""

KEY = "key"
"""In `first`: the row's own key."""


def reference_kind(kind: str, field: str) -> str:
    """Name the kind of a parent that is named by a field."""
    return f"{kind}{BETWEEN}{field}"


def token_prefix(system: str, entity: str, field: str) -> str:
    """Return what stands before the value in a token's text."""
    return f"{system}\x1f{entity}{BETWEEN}{field}\x1f"
