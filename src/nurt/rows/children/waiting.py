"""Count children that wait: their parent's own row is not there.

The counts are a sum over stored values, kept in the write that changes a value: exact after any crash, repeat or
restore. Children of deleted parents wait, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nurt.columnar.types import Bools, Int64s
from nurt.model.entities import BY_CODE

WAITING = "waiting"
"""Outcome of such counts, beside those of messages; the reason is `<kind> of <kind of parent>`, the topic empty."""

_CODES = max(BY_CODE) + 1


def change_of_waiting(
    before: tuple[Int64s, Int64s, Bools], after: tuple[Int64s, Int64s, Bools], parent: str
) -> Mapping[tuple[str, str, str], int]:
    """Return what a write adds to the counts of children that wait.

    Args:
        before, after: of child records, their parts and the indices of their parents; by parent, whether its own row is
            there. What is no kind of entity is no child.
        parent: kind of the parents.
    """
    if before[2].all() and after[2].all():
        return {}
    change = _waiting(*after) - _waiting(*before)
    return {
        ("", WAITING, f"{BY_CODE[code].kind} of {parent}"): int(change[code])
        for code in np.flatnonzero(change).tolist()
        if code in BY_CODE
    }


def _waiting(part: Int64s, owner: Int64s, is_there: Bools) -> Int64s:
    return np.bincount(part[~is_there[owner] & (part >= 0) & (part < _CODES)], minlength=_CODES)
