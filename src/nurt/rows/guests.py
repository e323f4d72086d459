"""Name the account of a guest: a row that stands for somebody without a customer is an account of its own, by its key.

An order without a customer is one, and an address, consent or interaction without a parent that brings identifiers.
Hot path.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from nurt.columnar.ids import Ids
from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts, coded_texts
from nurt.columnar.types import ID_BYTES, Bools
from nurt.rows.children.tables import GUEST
from nurt.rows.children.write import join_with
from nurt.rows.fold import RowsFolded
from nurt.rows.layouts import ROW_LAYOUTS

_BETWEEN = b"\x1f"


def guest_entities(rows: int) -> Texts:
    """Return the entity of guests' accounts, once a row."""
    return coded_texts(np.zeros(rows, dtype=np.int64), [GUEST])


def guest_keys(entity: Texts, key: Texts) -> Texts:
    """Return the keys of guests' accounts: which row, in its table."""
    return join_with([entity, key], _BETWEEN)[1]


def guest_ids(system: Texts, entity: Texts, key: Texts, ids: Ids) -> Texts:
    """Return the ids of guests' accounts, ID_BYTES each, from the system, the table and the key of their rows."""
    rows = len(system.starts)
    cuts, names = join_with([system, guest_entities(rows), entity, key], _BETWEEN)
    starts = np.arange(rows) * ID_BYTES
    return Texts(starts, starts + ID_BYTES, ids.of_joined(names.body, cuts).view(np.uint8).reshape(-1))


def bringing_identifiers(kind: str, folded: RowsFolded, entities: Collection[str]) -> Bools | None:
    """Return, by owner, whether the row has, had or may get identifiers; None: no row of the batch does.

    Args:
        kind: of the rows.
        folded: stored rows and rows that arrived.
        entities: whose rows bring identifiers by the mapping. It alone does not decide: the mapping of before may have
            had them, and what a row told then is taken back.
    """
    layout, rows = ROW_LAYOUTS[kind], folded.rows
    column = layout.column("identifiers")
    marked = bool(np.bitwise_or.reduce(rows.bits) >> np.uint64(column) & np.uint64(1))
    if not marked and not entities:
        return None
    brings = np.zeros(len(folded.changed), dtype=np.bool_)
    if marked:
        brings[rows.owner[rows.has(column, np.arange(len(rows)))]] = True
    if entities:
        own = ~folded.left
        names = rows.text(layout.place("entity"), folded.at[own])
        brings[folded.owner[own]] |= codes_of(names, sorted(entities)) >= 0
    return brings if brings.any() else None
