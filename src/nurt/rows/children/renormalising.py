"""Find stored rows whose identifiers read otherwise by today's rules, some at a time, until each shard is done.

Rows keep identifiers as their source wrote them; what they contributed to their accounts and orders is normalised. When
the rules of normalisation change, each row is read again and compared with what its account or order has. A row that
differs says its contribution again, as if its message came again, so accounts, identity and profiles follow. A shard
marks that it is done; a run that ends before goes on with the shards that are left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nurt.columnar.types import Bools, Words
from nurt.columnar.values import Values
from nurt.limits import NORMALISE_ROWS_MAX
from nurt.model.entities import BY_CODE, ENTITIES
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.counting import name_of_count
from nurt.rows.fold import RowsFolded, fold_rows
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.rows.read_frames import read_frames
from nurt.rows.sweeping import row_kind
from nurt.rows.topic_order import TopicOrder

NORMALISED = name_of_count("normalised", "rows", 0)
"""Name of a shard's mark beside its counted offsets: the number of the rules by which all of its rows were read."""

_AGAIN = b"i"
_MEMBER_BYTES = 17


class Renormaliser(Protocol):
    """What knows the identifiers of rows, and where their normalised values lie."""

    @property
    def holders(self) -> Mapping[str, bytes]:
        """Give, by kind of rows, the key kind of the value, under the row's own id, that has them normalised.

        An empty key kind: there is no such value.
        """
        ...

    def differs(self, kind: str, folded: RowsFolded, ids: Words, held: Values) -> Bools:
        """Return, by owner, whether the identifiers of a row read otherwise than its holder has them."""
        ...


@dataclass(frozen=True, slots=True)
class _Portion:
    """Rows of a shard: how many were looked at, and which of them differ. No kind: the shard ends."""

    place: bytes
    kind: str
    seen: int
    ids: list[bytes]


class Renormalising:
    """Shards of a worker whose rows are still to be read by today's rules.

    Args:
        number: of today's rules; 0: nothing is read again.
        order: of topics that hold one table.
    """

    def __init__(
        self, number: int, store: Store, keys: Keys, renormaliser: Renormaliser | None, order: TopicOrder
    ) -> None:
        self._number, self._store, self._keys, self._renormaliser = number, store, keys, renormaliser
        self._order = order
        self._left: Iterator[_Portion] | None = None
        self._ended: dict[bytes, int] = {}
        self._told: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)

    def some(self, epoch: int) -> Iterator[tuple[str, Words]]:
        """Give the ids of rows that differ, for this epoch, by kind; only so many rows are looked at.

        The ids are noted in the state before they are given, until their epoch is done: when a crash comes between the
        write of an account and the stages behind it, the account no longer differs, and nothing else would tell of it.
        """
        if not self._number or self._renormaliser is None:
            return
        if self._left is None:
            self._left = self._walk(self._renormaliser)
        self._mark_before(epoch)
        seen = 0
        while seen < NORMALISE_ROWS_MAX and (portion := next(self._left, None)) is not None:
            seen += portion.seen
            if not portion.kind:
                self._ended[portion.place] = epoch
            elif portion.ids:
                self._note(portion, epoch)
                yield portion.kind, words_of(portion.ids)

    def _note(self, portion: _Portion, epoch: int) -> None:
        code = bytes([ENTITIES[portion.kind].code])
        told = [one for one in self._told[portion.place] if one[0] >= epoch - 1]
        told.append((epoch, b"".join(code + one for one in portion.ids)))
        self._told[portion.place] = told
        self._store.write(StateWrite(put={portion.place + _AGAIN: b"".join(some for _, some in told)}))

    def _mark_before(self, epoch: int) -> None:
        """Mark shards whose last rows were given in an earlier epoch, which is done now."""
        done = [place for place, ended in self._ended.items() if ended < epoch]
        if done:
            counted = {place: {NORMALISED: self._number} for place in done}
            self._store.write(StateWrite(counted=counted, drop=[place + _AGAIN for place in done]))
            for place in done:
                del self._ended[place]
                self._told.pop(place, None)

    def _walk(self, renormaliser: Renormaliser) -> Iterator[_Portion]:
        """Give portions of each shard that is left, and at its end one without a kind."""
        shards = {self._keys.shard_place(shard) for shard in range(self._keys.shards)}
        marks = self._store.counted()
        for place in self._store.places:
            if place not in shards or marks.get(place, {}).get(NORMALISED, 0) == self._number:
                continue
            yield from self._noted(place)
            for kind, holder in renormaliser.holders.items():
                for ids in self._store.scan(row_kind(kind), place):
                    for at in range(0, len(ids), NORMALISE_ROWS_MAX):
                        some = ids[at : at + NORMALISE_ROWS_MAX]
                        yield _Portion(place, kind, len(some), self._differing(renormaliser, kind, holder, some))
            yield _Portion(place, "", 0, [])

    def _noted(self, place: bytes) -> Iterator[_Portion]:
        """Give what an earlier run noted and may not have told."""
        (noted,) = self._store.read([place + _AGAIN])
        by_kind: dict[str, list[bytes]] = defaultdict(list)
        for at in range(0, len(noted or b""), _MEMBER_BYTES):
            member = (noted or b"")[at : at + _MEMBER_BYTES]
            by_kind[BY_CODE[member[0]].kind].append(member[1:])
        for kind, ids in by_kind.items():
            yield _Portion(place, kind, len(ids), ids)

    def _differing(self, renormaliser: Renormaliser, kind: str, holder: bytes, ids: list[bytes]) -> list[bytes]:
        words = words_of(ids)
        keys = [self._keys.rows_of(row_kind(kind), words)]
        if holder:
            keys.append(self._keys.rows_of(holder, words))
        values, *others = self._store.load(keys)
        held = others[0] if others else Values.of([])
        differs = renormaliser.differs(kind, stored_rows(kind, values, self._order), words, held)
        return [ids[one] for one in np.flatnonzero(differs).tolist()]


def stored_rows(kind: str, values: Values, order: TopicOrder) -> RowsFolded:
    """Read rows as they are stored, as if nothing had arrived; every value must be there."""
    return fold_rows(kind, read_frames(ROW_LAYOUTS[kind], []), values, order)
