"""The second stage of stock: join sales documents, apply their holds to positions, and net positions. Hot path.

One owner a realm, and one write: documents, the index of match keys, holds, positions, ATP, and the ledger's call that
ends reservations of arrived orders. The same write marks publications as pending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from nurt.columnar.types import ID_BYTES
from nurt.model.fence import pending_score
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.stock.feeds import Feeds
from nurt.stock.from_rows import StockContributions, nothing
from nurt.stock.routes import SalesRoutes
from nurt.stock.stages.documents import DocumentsStage
from nurt.stock.stages.kits import Kits
from nurt.stock.stages.positions import PositionsStage
from nurt.stock.stages.view import FEEDS, POSITION

_NOWHERE = {"sku": "", "channel": "", "market": ""}
PENDING_EPOCHS = 50
"""How long a pending mark counts as fresh; far shorter than the rewind horizon, before which no mark is forgotten."""
PENDING_KNOWN_MAX = 500_000


@dataclass(slots=True)
class DirtyKeys:
    """Dirty positions and sales documents of a realm, by id, in order."""

    positions: dict[bytes, None] = field(default_factory=dict)
    sales_documents: dict[bytes, None] = field(default_factory=dict)

    def add(self, other: DirtyKeys) -> None:
        """Add the keys of another one."""
        self.positions.update(other.positions)
        self.sales_documents.update(other.sales_documents)

    def members(self, realm: str) -> list[bytes]:
        """Write the keys as pending members."""
        tail = realm.encode()
        return [b"S" + one + tail for one in self.positions] + [b"O" + one + tail for one in self.sales_documents]


def read_dirty_keys(members: Iterable[bytes]) -> dict[str, DirtyKeys]:
    """Read pending or due keys, by realm."""
    found: dict[str, DirtyKeys] = {}
    for member in members:
        kind, one, realm = member[:1], member[1:17], member[17:]
        if kind in (b"S", b"O"):
            dirty = found.setdefault(realm.decode(), DirtyKeys())
            (dirty.positions if kind == b"S" else dirty.sales_documents)[one] = None
    return found


class StockStage:
    """The stage that owns the sales documents and positions of a worker's realms.

    Args:
        moment: gives the epoch and the time, in milliseconds; time never goes back.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        routes: SalesRoutes,
        moment: Callable[[], tuple[int, Millis]],
    ) -> None:
        self._store = store
        self._keys = keys
        self._routes = routes
        self._moment = moment
        self._pending: dict[bytes, int] = {}
        self._feeds: dict[str, Feeds] = {}
        kits = Kits(store, keys, context)
        self._documents = DocumentsStage(store, keys, context, routes, kits)
        self._positions = PositionsStage(store, keys, context, routes, kits, self.feeds)
        self.recent = self._documents.recent

    def fold(self, realm: str, contributions: StockContributions, due: DirtyKeys | None = None) -> DirtyKeys:
        """Fold contributions, recompute due keys, and mark publications as pending; returns the publications."""
        epoch, as_of_ms = self._moment()
        due = due or DirtyKeys()
        change = StateWrite()
        sales_documents, deltas = self._documents.fold(
            realm, contributions.sales_documents, list(due.sales_documents), change, as_of_ms
        )
        positions = self._positions.fold(realm, contributions.positions, list(due.positions), deltas, change, as_of_ms)
        self._documents.book(realm, change)
        dirty = DirtyKeys(dict.fromkeys(positions), {**due.sales_documents, **dict.fromkeys(sales_documents)})
        self._owe(realm, dirty, epoch, change)
        self._store.write(change)
        return dirty

    def owe(self, realm: str, dirty: DirtyKeys) -> None:
        """Mark publications of unchanged keys as pending."""
        change = StateWrite()
        self._owe(realm, dirty, self._moment()[0], change)
        self._store.write(change)

    def feeds(self, realm: str) -> Feeds:
        """Return the feeds of a realm."""
        if realm not in self._feeds:
            self._feeds[realm] = Feeds.decode(self._store.read([self._keys.realm_place(realm) + FEEDS])[0])
        return self._feeds[realm]

    def watch_feeds(self, realm: str) -> tuple[DirtyKeys, list[dict[str, Any]]]:
        """Net all positions again when a location became stale or fresh; returns the positions, and the events.

        The stale locations are written last: after an earlier crash the work starts over.
        """
        epoch, as_of_ms = self._moment()
        feeds, dirty = self.feeds(realm), DirtyKeys()
        before, feeds.stale = feeds.stale, feeds.stale_at(self._routes.plan, as_of_ms)
        if feeds.stale == before:
            return dirty, []
        place = self._keys.realm_place(realm)
        for ids in list(self._store.scan(POSITION, place)):
            some = DirtyKeys(positions=dict.fromkeys(one for one in ids if len(one) == ID_BYTES))
            dirty.positions.update(self.fold(realm, nothing(), some).positions)
        events = []
        for name in sorted(feeds.stale ^ before):
            kind = "stale_feed" if name in feeds.stale else "fresh_feed"
            event = {"id": f"{kind}/{name}/{self._store.next_stamp()}", "kind": kind, "location": name, "realm": realm}
            events.append({**event, **_NOWHERE, "at_ms": as_of_ms, "quantity": 0, "orders": []})
        score = pending_score(self._store.run, epoch)
        pending = {b"E" + orjson.dumps(event): score for event in events}
        self._store.write(StateWrite(put={place + FEEDS: feeds.encode()}, pending={place: pending}))
        return dirty, events

    def _owe(self, realm: str, dirty: DirtyKeys, epoch: int, change: StateWrite) -> None:
        """Mark publications as pending, so that a restart publishes them: replays do not repeat all of them.

        A fresh mark of this run is not repeated: a hot sku costs one mark in PENDING_EPOCHS.
        """
        fresh = [
            one for one in dirty.members(realm) if self._pending.get(one, -PENDING_EPOCHS) <= epoch - PENDING_EPOCHS
        ]
        if fresh:
            change.pending[self._keys.realm_place(realm)] = dict.fromkeys(fresh, pending_score(self._store.run, epoch))
            if len(self._pending) > PENDING_KNOWN_MAX:
                self._pending.clear()
            self._pending.update(dict.fromkeys(fresh, epoch))
