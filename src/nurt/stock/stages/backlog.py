"""Everything of a realm, said once to whoever begins to keep what is published.

A mark says what is kept whole. Without it, what is kept is forgotten and all shelves and papers are said, some at a
time; each time they are owed before they are said, and the mark comes last. So a crash begins all over, or loses
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from nurt.columnar.types import ID_BYTES
from nurt.limits import PUBLISH_SKUS_MAX
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.stock.stages.stage import DirtyKeys, StockStage
from nurt.stock.stages.view import POSITION, SALES_DOCUMENT

MARK = b"i"


class Keeper(Protocol):
    """Keeps what is published where nothing else does."""

    @property
    def mark(self) -> bytes:
        """Name what is kept, and in which form."""
        ...

    def clear(self, realm: str) -> None:
        """Forget what is kept of a realm."""
        ...


class Backlog:
    """What a worker's realms have still to say to a keeper; without one, their marks go."""

    def __init__(
        self, store: Store, keys: Keys, stage: StockStage, realms: Sequence[str], keeper: Keeper | None
    ) -> None:
        self._store, self._keys, self._stage, self._realms, self._keeper = store, keys, stage, realms, keeper
        self._left: dict[str, Iterator[DirtyKeys]] = {}

    def begin(self) -> None:
        """Look what is kept whole, before anything is published."""
        names = [self._keys.realm_place(realm) + MARK for realm in self._realms]
        for realm, name, stored in zip(self._realms, names, self._store.read(names), strict=True):
            if stored is not None and (self._keeper is None or stored != self._keeper.mark):
                self._store.write(StateWrite(drop=[name]))
                self._store.settle()
            if self._keeper is not None and stored != self._keeper.mark:
                self._keeper.clear(realm)
                self._left[realm] = self._everything(realm)

    def some(self, busy: set[str]) -> dict[str, DirtyKeys]:
        """Say what to publish next of realms that are not busy with anything newer."""
        found: dict[str, DirtyKeys] = {}
        for realm in [one for one in self._left if one not in busy]:
            dirty = next(self._left[realm], None)
            if dirty is not None:
                self._stage.owe(realm, dirty)
                found[realm] = dirty
                continue
            del self._left[realm]
            assert self._keeper is not None
            self._store.write(StateWrite(put={self._keys.realm_place(realm) + MARK: self._keeper.mark}))
        return found

    def _everything(self, realm: str) -> Iterator[DirtyKeys]:
        place = self._keys.realm_place(realm)
        for kind in (POSITION, SALES_DOCUMENT):
            for ids in self._store.scan(kind, place):
                for at in range(0, len(ids), PUBLISH_SKUS_MAX):
                    some = dict.fromkeys(one for one in ids[at : at + PUBLISH_SKUS_MAX] if len(one) == ID_BYTES)
                    yield DirtyKeys(some) if kind == POSITION else DirtyKeys(sales_documents=some)
