"""Publish everything of a realm once, when a keeper of publications begins.

A mark says that the keeper is complete. Without the mark, the keeper is cleared and all positions and documents are
published, some at a time; each part is marked as pending before its publication, and the mark comes last. So a crash
starts over, or loses nothing. A launch sets the mark to `AGAIN` when a topic of ours was made anew.
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
AGAIN = b"again"
"""Value of the mark when a topic was made anew: everything is published once more."""


class Keeper(Protocol):
    """A store of publications, where nothing else keeps them."""

    @property
    def mark(self) -> bytes:
        """Name the kept contracts and their versions."""
        ...

    def clear(self, realm: str) -> None:
        """Forget the kept publications of a realm."""
        ...


class Backlog:
    """Publications of a worker's realms that a keeper still lacks; without a keeper, marks are removed."""

    def __init__(
        self, store: Store, keys: Keys, stage: StockStage, realms: Sequence[str], keeper: Keeper | None
    ) -> None:
        self._store, self._keys, self._stage, self._realms, self._keeper = store, keys, stage, realms, keeper
        self._left: dict[str, Iterator[DirtyKeys]] = {}

    def begin(self) -> None:
        """Read which realms are complete, before any publication."""
        names = [self._keys.realm_place(realm) + MARK for realm in self._realms]
        for realm, name, stored in zip(self._realms, names, self._store.read(names), strict=True):
            if stored == AGAIN and self._keeper is None:
                self._left[realm] = self._everything(realm)
                continue
            if stored is not None and (self._keeper is None or stored != self._keeper.mark):
                self._store.write(StateWrite(drop=[name]))
                self._store.settle()
            if self._keeper is not None and stored != self._keeper.mark:
                self._keeper.clear(realm)
                self._left[realm] = self._everything(realm)

    def some(self, busy: set[str]) -> dict[str, DirtyKeys]:
        """Return the next publications of realms without newer work."""
        found: dict[str, DirtyKeys] = {}
        for realm in [one for one in self._left if one not in busy]:
            dirty = next(self._left[realm], None)
            if dirty is not None:
                self._stage.owe(realm, dirty)
                found[realm] = dirty
                continue
            del self._left[realm]
            name = self._keys.realm_place(realm) + MARK
            done = StateWrite(drop=[name]) if self._keeper is None else StateWrite(put={name: self._keeper.mark})
            self._store.write(done)
        return found

    def _everything(self, realm: str) -> Iterator[DirtyKeys]:
        place = self._keys.realm_place(realm)
        for kind in (POSITION, SALES_DOCUMENT):
            for ids in self._store.scan(kind, place):
                for at in range(0, len(ids), PUBLISH_SKUS_MAX):
                    some = dict.fromkeys(one for one in ids[at : at + PUBLISH_SKUS_MAX] if len(one) == ID_BYTES)
                    yield DirtyKeys(some) if kind == POSITION else DirtyKeys(sales_documents=some)
