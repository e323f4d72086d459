"""Rows of former keys: what they knew before the event that changed their key, and how that goes to the new row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import Values
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT
from nurt.model.keys import words_of
from nurt.rows.fold import fold_rows
from nurt.rows.layouts import OP, PARENT_COLUMNS, PART, POSITION, ROW, ROW_LAYOUTS, field_names
from nurt.rows.read_frames import Incoming
from nurt.rows.unsaid.notes import Position
from nurt.state.row_major import RowArrays, join_rows, read_values


def known_before(kind: str, events: Incoming, leaving: Int64s, values: Values) -> list[bytes | None]:
    """Return, by leaving event, the stored row as it was before it; None: the row was not there, or gone.

    A row may leave several times in a batch. So events are folded in rounds: up to the first time, to the second, ...

    Args:
        events: with owners.
        leaving: which of them change their row's key, ascending.
        values: of the rows before the events, by owner.
    """
    owner = events.rows.owner
    rows, row = np.unique(owner[leaving], return_inverse=True)
    base = [values.one(one) for one in rows.tolist()]
    some = np.flatnonzero(np.isin(owner, rows))
    leaves = np.isin(some, leaving)
    of = np.searchsorted(rows, owner[some])
    times = _count_before(of, leaves)  # how often its row has left up to an event, with it
    found: list[bytes | None] = [None] * len(leaving)
    turn = times[leaves] - 1
    for number in range(int(times.max(initial=0))):
        mine = times == number
        if mine.any():
            folded = fold_rows(kind, events.take(some[mine]).of(of[mine]), Values.of(base)).values().plain()
            base = [new or old for new, old in zip(folded, base, strict=True)]
        living = is_living(kind, Values.of(base))
        for at in np.flatnonzero(turn == number).tolist():
            found[at] = base[row[at]] if living[row[at]] else None
    return found


def _count_before(of: Int64s, leaves: Bools) -> Int64s:
    """Count by event how often its row has left up to it, with it."""
    order = np.argsort(of, kind="stable")
    sums = np.cumsum(leaves[order])
    first = np.searchsorted(of[order], of[order], side="left")
    counts = np.empty(len(of), dtype=np.int64)
    counts[order] = sums - sums[first] + leaves[order][first]
    return counts


def is_living(kind: str, values: Values) -> Bools:
    """Say of each stored value whether its row lives."""
    rows = read_values(ROW_LAYOUTS[kind], values)
    living = np.zeros(len(values), dtype=np.bool_)
    living[rows.owner[(rows.numbers[:, PART] == ROW) & (rows.numbers[:, OP] != DELETE)]] = True
    return living


def positions(kind: str, rows: RowArrays, some: Int64s) -> list[Position]:
    """Return the positions of some rows."""
    layout = ROW_LAYOUTS[kind]
    numbers = rows.numbers[some][:, [layout.place(part) for part in POSITION]].tolist()
    known = np.stack([rows.has(layout.column(part), some) for part in POSITION], axis=1).tolist()
    return [
        [number if is_known else None for number, is_known in zip(*one, strict=True)]
        for one in zip(numbers, known, strict=True)
    ]


def is_same(position: Position, other: Position) -> bool:
    """Say whether positions are those of one change, as far as both are known."""
    return all(a is None or b is None or a == b for a, b in zip(position, other, strict=True))


def have_come(kind: str, values: Values, changes: list[Position]) -> list[bool]:
    """Say of each stored row whether it has the change of key that brought it, or a later one."""
    rows = read_values(ROW_LAYOUTS[kind], values)
    at = np.flatnonzero(rows.numbers[:, PART] == ROW)
    found = [False] * len(values)
    lives = (rows.numbers[at, OP] != DELETE).tolist()
    for owner, mine, is_there in zip(rows.owner[at].tolist(), positions(kind, rows, at), lives, strict=True):
        found[owner] = _is_behind(mine, changes[owner], is_there)
    return found


def _is_behind(position: Position, change: Position, is_there: bool) -> bool:
    for mine, other in zip(position, change, strict=True):
        if mine is None or other is None:
            break
        if mine != other:
            return mine > other
    return is_there


def filled(kind: str, new: bytes, mine: Values, held: bytes, mask: int) -> Incoming | None:
    """Make the event that gives a row what it was owed, at the row's own position; None: the row is gone."""
    own, source = _row_of(kind, mine), _row_of(kind, Values.of([held]))
    if own is None or source is None:
        return None
    layout, rows = ROW_LAYOUTS[kind], join_rows(own[0], source[0])
    state, taken = rows.take(np.array([own[1]])), len(own[0]) + source[1]
    groups = [(bit, [name]) for bit, name in enumerate(field_names(kind))]
    for bit, names in [*groups, (UNAVAILABLE_PARENT_BIT, list(PARENT_COLUMNS))]:
        if not mask >> bit & 1:
            continue
        for name in names:
            column, place = layout.column(name), layout.place(name)
            state.bits[:] = state.bits & ~np.uint64(1 << column) | rows.bits[taken] & np.uint64(1 << column)
            if layout.is_text[column]:
                state.starts[:, place], state.stops[:, place] = rows.starts[taken, place], rows.stops[taken, place]
            else:
                state.numbers[:, place] = rows.numbers[taken, place]
    ids: Words = words_of([new])
    return Incoming(replace(state, owner=np.zeros(1, dtype=np.int64)), ids, None)


def _row_of(kind: str, value: Values) -> tuple[RowArrays, int] | None:
    """Find the row itself in a stored value, if it lives."""
    rows = read_values(ROW_LAYOUTS[kind], value)
    found = np.flatnonzero(rows.numbers[:, PART] == ROW)
    return (rows, int(found[0])) if len(found) and rows.numbers[found[0], OP] != DELETE else None
