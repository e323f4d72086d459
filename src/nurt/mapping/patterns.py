"""Say whether a pattern of `match` can lead several topics to one table. Reads the pattern's text only."""

from __future__ import annotations

import string
from collections.abc import Collection

_SIGNS = frozenset(".^$*+?{}[]|()")
_REPEATS = frozenset("*+?{")


def meets_several(pattern: str, system: str) -> bool:
    """Return whether several topics may match and lead to the same system.

    A named group that stands in the system's name leads each topic to a system of its own. Where the text leaves a
    doubt the answer is True: then rows note their topic, which costs some bytes and is never wrong.
    """
    named = [group for _, group, _, _ in string.Formatter().parse(system) if group]
    at = 0
    while at < len(pattern):
        end = _own_system(pattern, at, named)
        if end is None:
            end = _literal(pattern, at)
        if end is None or pattern[end : end + 1] in _REPEATS:
            return True
        at = end
    return False


def _literal(pattern: str, at: int) -> int | None:
    """Return where a literal character ends that begins here; None: it is none."""
    if pattern[at] == "\\":
        return at + 2 if at + 1 < len(pattern) and not pattern[at + 1].isalnum() else None
    return None if pattern[at] in _SIGNS else at + 1


def _own_system(pattern: str, at: int, named: Collection[str]) -> int | None:
    """Return where a named group ends that begins here and stands in the system's name; None: it is none."""
    begins = [sign + group + ">" for sign in ("(?P<", "(?<") for group in named]
    if not any(pattern.startswith(begin, at) for begin in begins):
        return None
    depth, in_class = 0, False
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\":
            at += 1
        elif in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
            at += pattern.startswith("^", at + 1)
            at += pattern.startswith("]", at + 1)  # a bracket that comes first is one of the class
        elif sign in "()":
            depth += 1 if sign == "(" else -1
            if depth == 0:
                return at + 1
        at += 1
    return None
