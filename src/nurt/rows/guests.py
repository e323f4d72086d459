"""Name the account of a guest: an order without a customer is an account of its own, by its own key. Hot path."""

from __future__ import annotations

import numpy as np

from nurt.columnar.ids import Ids
from nurt.columnar.texts import Texts, coded_texts
from nurt.columnar.types import ID_BYTES
from nurt.rows.children.tables import GUEST
from nurt.rows.children.write import join_with

_BETWEEN = b"\x1f"


def guest_entities(rows: int) -> Texts:
    """Return the entity of guests' accounts, once a row."""
    return coded_texts(np.zeros(rows, dtype=np.int64), [GUEST])


def guest_keys(entity: Texts, key: Texts) -> Texts:
    """Return the keys of guests' accounts: which order, in its table."""
    return join_with([entity, key], _BETWEEN)[1]


def guest_ids(system: Texts, entity: Texts, key: Texts, ids: Ids) -> Texts:
    """Return the ids of guests' accounts, ID_BYTES each, from the system, the table and the key of their orders."""
    rows = len(system.starts)
    cuts, names = join_with([system, guest_entities(rows), entity, key], _BETWEEN)
    starts = np.arange(rows) * ID_BYTES
    return Texts(starts, starts + ID_BYTES, ids.of_joined(names.body, cuts).view(np.uint8).reshape(-1))
