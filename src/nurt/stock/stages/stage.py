"""The second stage of stock: papers are joined, what they hold goes to shelves, shelves are weighed. Hot path.

One owner a realm, and one write: papers, the index of what they are matched by, what each holds, shelves, what can be
promised, and the ledger's call that ends reservations whose orders have come. What is to be published is owed in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from nurt.columnar.types import ID_BYTES
from nurt.model.fence import owed_score
from nurt.model.keys import Keys
from nurt.model.state_write import Change
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.stock.feeds import Feeds
from nurt.stock.from_rows import StockSaid, nothing
from nurt.stock.routes import Routes
from nurt.stock.stages.documents import PapersStage
from nurt.stock.stages.kits import Kits
from nurt.stock.stages.positions import ShelvesStage
from nurt.stock.stages.view import FEEDS, SHELF

_NOWHERE = {"sku": "", "channel": "", "market": ""}
OWED_EPOCHS = 50
"""How long an obligation counts as fresh; far shorter than the rewind horizon, before which none is forgotten."""
OWED_KNOWN_MAX = 500_000


@dataclass(slots=True)
class Touched:
    """Shelves and papers of a realm, by id, in order."""

    shelves: dict[bytes, None] = field(default_factory=dict)
    papers: dict[bytes, None] = field(default_factory=dict)

    def add(self, other: Touched) -> None:
        """Take in what another has."""
        self.shelves.update(other.shelves)
        self.papers.update(other.papers)

    def members(self, realm: str) -> list[bytes]:
        """Write them down as what is owed."""
        tail = realm.encode()
        return [b"S" + one + tail for one in self.shelves] + [b"O" + one + tail for one in self.papers]


def read_touched(members: Iterable[bytes]) -> dict[str, Touched]:
    """Read what was owed or is due, by realm."""
    found: dict[str, Touched] = {}
    for member in members:
        kind, one, realm = member[:1], member[1:17], member[17:]
        if kind in (b"S", b"O"):
            touched = found.setdefault(realm.decode(), Touched())
            (touched.shelves if kind == b"S" else touched.papers)[one] = None
    return found


class StockStage:
    """Owns the papers and shelves of a worker's realms.

    Args:
        moment: tells the epoch and what the time is, in milliseconds; it never goes back.
    """

    def __init__(
        self, store: Store, keys: Keys, context: FoldContext, routes: Routes, moment: Callable[[], tuple[int, Millis]]
    ) -> None:
        self._store = store
        self._keys = keys
        self._routes = routes
        self._moment = moment
        self._owed: dict[bytes, int] = {}
        self._feeds: dict[str, Feeds] = {}
        kits = Kits(store, keys, context)
        self._papers = PapersStage(store, keys, context, routes, kits)
        self._shelves = ShelvesStage(store, keys, context, routes, kits, self.feeds)
        self.recent = self._papers.recent

    def fold(self, realm: str, said: StockSaid, due: Touched | None = None) -> Touched:
        """Fold what was said, look again at what is due, and owe what is to be published; returns the latter."""
        epoch, as_of_ms = self._moment()
        due = due or Touched()
        change = Change()
        papers, deltas = self._papers.fold(realm, said.papers, list(due.papers), change, as_of_ms)
        shelves = self._shelves.fold(realm, said.shelves, list(due.shelves), deltas, change, as_of_ms)
        self._papers.book(realm, change)
        touched = Touched(dict.fromkeys(shelves), {**due.papers, **dict.fromkeys(papers)})
        self._owe(realm, touched, epoch, change)
        self._store.write(change)
        return touched

    def owe(self, realm: str, touched: Touched) -> None:
        """Owe what is to be published of what has not changed."""
        change = Change()
        self._owe(realm, touched, self._moment()[0], change)
        self._store.write(change)

    def feeds(self, realm: str) -> Feeds:
        """Return what is known of a realm's feeds."""
        if realm not in self._feeds:
            self._feeds[realm] = Feeds.decode(self._store.read([self._keys.realm_place(realm) + FEEDS])[0])
        return self._feeds[realm]

    def watch_feeds(self, realm: str) -> tuple[Touched, list[dict[str, Any]]]:
        """Weigh all shelves anew when a location became stale or fresh; returns them, and the events.

        What became stale is written last: a crash before it begins all over.
        """
        epoch, as_of_ms = self._moment()
        feeds, touched = self.feeds(realm), Touched()
        before, feeds.stale = feeds.stale, feeds.stale_at(self._routes.plan, as_of_ms)
        if feeds.stale == before:
            return touched, []
        place = self._keys.realm_place(realm)
        for ids in list(self._store.scan(SHELF, place)):
            some = Touched(shelves=dict.fromkeys(one for one in ids if len(one) == ID_BYTES))
            touched.shelves.update(self.fold(realm, nothing(), some).shelves)
        events = []
        for name in sorted(feeds.stale ^ before):
            kind = "stale_feed" if name in feeds.stale else "fresh_feed"
            told = {"id": f"{kind}/{name}/{self._store.next_stamp()}", "kind": kind, "location": name, "realm": realm}
            events.append({**told, **_NOWHERE, "at_ms": as_of_ms, "quantity": 0, "orders": []})
        score = owed_score(self._store.run, epoch)
        owed = {b"E" + orjson.dumps(event): score for event in events}
        self._store.write(Change(put={place + FEEDS: feeds.encode()}, owed={place: owed}))
        return touched, events

    def _owe(self, realm: str, touched: Touched, epoch: int, change: Change) -> None:
        """Owe what is to be published, so that it is said after a restart: replays do not name all of it.

        What this run owes already is not owed again while that is fresh: a hot sku costs once in OWED_EPOCHS.
        """
        fresh = [one for one in touched.members(realm) if self._owed.get(one, -OWED_EPOCHS) <= epoch - OWED_EPOCHS]
        if fresh:
            change.owed[self._keys.realm_place(realm)] = dict.fromkeys(fresh, owed_score(self._store.run, epoch))
            if len(self._owed) > OWED_KNOWN_MAX:
                self._owed.clear()
            self._owed.update(dict.fromkeys(fresh, epoch))
