"""Compare the identifiers of stored rows with those that their accounts and orders have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nurt.columnar.types import Bools, Words
from nurt.columnar.values import Values
from nurt.model.entities import IDENTIFIED_KINDS
from nurt.model.entity_frame import DELETE
from nurt.normalise.context import FoldContext
from nurt.profiles.from_rows import IDENTIFIERS_OF, normalised_identifiers
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE, ORDER_RECORDS
from nurt.rows.fold import RowsFolded
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.state.row_major import Layout, read_values

_LAYOUTS = {"customer": Layout(ACCOUNT_RECORDS), "order": Layout(ORDER_RECORDS)}


class IdentifierRenormaliser:
    """A rows.children.renormalising.Renormaliser of customers, of guests' orders and of other rows with identifiers.

    The last have no holder under their own id: what they say is never compared, but said again.
    """

    holders: Mapping[str, bytes] = {"customer": b"a", "order": b"o"} | dict.fromkeys(
        sorted(IDENTIFIED_KINDS - {"customer"}), b""
    )

    def __init__(self, context: FoldContext) -> None:
        self._context = context

    def differs(self, kind: str, folded: RowsFolded, ids: Words, held: Values) -> Bools:
        """See rows.children.renormalising.Renormaliser; a row that its holder does not have at all differs, too."""
        found = np.zeros(len(folded.changed), dtype=np.bool_)
        if kind not in _LAYOUTS:
            layout = ROW_LAYOUTS[kind]
            lives = (folded.rows.numbers[folded.at, layout.place("op")] != DELETE) & ~folded.left
            found[folded.owner[lives & folded.rows.has(layout.column("identifiers"), folded.at)]] = True
            return found
        owners, columns = normalised_identifiers(kind, folded, ids, self._context)
        layout = _LAYOUTS[kind]
        records = read_values(layout, held)
        own = records.take(records.numbers[:, layout.place("part")] == CODE[kind])
        record_of = dict(zip(own.owner.tolist(), range(len(own)), strict=True))
        every = np.arange(len(own))
        stored = []
        for name in IDENTIFIERS_OF[kind]:
            texts, there = own.text(layout.place(name), every).plain(), own.has(layout.column(name), every).tolist()
            stored.append([text if is_there else None for text, is_there in zip(texts, there, strict=True)])
        for row, owner in enumerate(owners.tolist()):
            record = record_of.get(owner)
            found[owner] = record is None or any(
                now[row] != then[record] for now, then in zip(columns, stored, strict=True)
            )
        return found
