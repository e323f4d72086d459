"""The second stage of stock: papers are joined, what they hold goes to shelves, shelves are weighed. Hot path.

One owner a realm, and one write: papers, the index of what they are matched by, what each holds, shelves, what can be
promised, and the ledger's call that ends reservations whose orders have come. What is to be published is owed in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from nurt.core.columns import encode_ids
from nurt.core.context import FoldContext
from nurt.core.stock.components import Members, components, joins, read_members, write_members
from nurt.core.stock.deltas import apply_deltas, deltas_of_kits, deltas_of_shares, no_deltas
from nurt.core.stock.feeds import Feeds
from nurt.core.stock.frames import fold_frame
from nurt.core.stock.ledger import Booked, book_call
from nurt.core.stock.papers import SHARE, join_papers
from nurt.core.stock.promise import BOOKING, DAY_MS, HOLDS, weigh
from nurt.core.stock.routes import Routes
from nurt.core.stock.said import KIT_PART, PAPERS, SHELVES, SUPPLY, StockSaid, nothing, sku_ids
from nurt.core.stock.tokens import TOKEN_COLUMNS, ledger_token, tokens_of
from nurt.core.tables import OWNER
from nurt.model.change import Change
from nurt.model.head import owed_score
from nurt.model.keys import Keys
from nurt.model.stock_plan import UNIT
from nurt.operators.stock_view import FEEDS, HELD, INDEX, PAPER, PROMISE, SHARES, SHELF, Shelves, holds_with_kits
from nurt.ports import Store

ID_BYTES = 16
_NOWHERE = {"sku": "", "channel": "", "market": ""}
DUE = 0
"""Part of a share's row that says when the clock changes its paper."""
OWED_EPOCHS = 50
"""How long an obligation counts as fresh; far shorter than the rewind horizon, before which none is forgotten."""
OWED_KNOWN_MAX = 500_000
PROMISE_MAX = 9_000_000_000_000_000
"""What the ledger's script, whose numbers are doubles, can count; more is not promised."""


@dataclass(slots=True)
class Touched:
    """Shelves and papers of a realm, by id, in order."""

    shelves: dict[bytes, None] = field(default_factory=dict)
    papers: dict[bytes, None] = field(default_factory=dict)

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
        self, store: Store, keys: Keys, context: FoldContext, routes: Routes, moment: Callable[[], tuple[int, int]]
    ) -> None:
        self._store = store
        self._keys = keys
        self._context = context
        self._routes = routes
        self._moment = moment
        self._owed: dict[bytes, int] = {}
        self._feeds: dict[str, Feeds] = {}
        self._kits: dict[str, dict[bytes, list[tuple[bytes, int]]]] = {}
        self._books: list[tuple[pl.DataFrame, pl.DataFrame]] = []

    def fold(self, realm: str, said: StockSaid, due: Touched | None = None) -> Touched:
        """Fold what was said, look again at what is due, and owe what is to be published; returns the latter."""
        epoch, as_of_ms = self._moment()
        due = due or Touched()
        self._books = []
        change = Change()
        touched = Touched(papers=dict(due.papers))
        deltas = self._fold_papers(realm, said.papers, list(due.papers), touched, change, as_of_ms)
        self._fold_shelves(realm, said.shelves, list(due.shelves), deltas, touched, change, as_of_ms)
        for papers, lines in self._books:  # when the kits are known as they are now
            book_call(change, self._keys.realm_place(realm), self._booked(realm, papers, lines))
        self._owe(realm, touched, epoch, change)
        self._store.write(change)
        return touched

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
        for ids in list(self._store.scan(SHELF)):
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

    # --- papers: joins --------------------------------------------------------------------------------

    def _fold_papers(
        self, realm: str, said: pl.DataFrame, due: list[bytes], touched: Touched, change: Change, as_of_ms: int
    ) -> pl.DataFrame:
        """Fold papers, join them anew with all that hang together with them; returns what changes on shelves."""
        codes, ids = encode_ids(said["to"])
        given = len(ids)
        ids += sorted(set(due) - set(ids))
        if not ids:
            return no_deltas()
        stored = self._store.read(self._keys.in_realm(PAPER, realm, ids))
        values = list(stored)
        if given:
            values[:given] = fold_frame(PAPERS, stored[:given], codes, said)
            change.store(self._keys.in_realm(PAPER, realm, ids[:given]), values[:given])
        known: dict[bytes, bytes | None] = dict(zip(ids, values, strict=True))
        index = self._close(realm, known, self._tokens(ids, stored), self._tokens(ids, values), change)
        papers = sorted(known)
        old_values = self._store.read(self._keys.in_realm(SHARES, realm, papers))
        frame = PAPERS.unpack([known[one] for one in papers])
        number = pl.Series("component", components(papers, index), dtype=pl.Int64)
        joined = join_papers(frame.with_columns(number.gather(frame[OWNER])), self._routes.plan, as_of_ms)
        due_rows = joined.due.with_columns(pl.lit(DUE, pl.Int64).alias("part"))
        shares = pl.concat([joined.shares, due_rows], how="diagonal").sort(OWNER, "part", maintain_order=True)
        new_values = SHARE.pack(shares, len(papers))
        self._store_shares(realm, papers, old_values, new_values, joined.due, change)
        touched.papers.update(dict.fromkeys(papers))
        self._books.append((frame, joined.lines))
        return deltas_of_shares(SHARE.unpack(old_values), shares, papers, self._context.ids)

    def _tokens(self, ids: Sequence[bytes], values: Sequence[bytes | None]) -> dict[tuple[bytes, bytes], bool]:
        found = tokens_of(PAPERS.unpack(values, TOKEN_COLUMNS), self._context.ids)
        owners, tokens, bears = (found[name].to_list() for name in (OWNER, "token", "bears"))
        return {(ids[owner], token): bear for owner, token, bear in zip(owners, tokens, bears, strict=True)}

    def _close(
        self,
        realm: str,
        known: dict[bytes, bytes | None],
        before: dict[tuple[bytes, bytes], bool],
        now: dict[tuple[bytes, bytes], bool],
        change: Change,
    ) -> dict[bytes, Members]:
        """Load into `known` all that hangs together with it, before the fold or after; returns the index as it is."""
        index: dict[bytes, Members] = {}
        frontier = list(dict.fromkeys(token for _, token in [*before, *now]))
        gone = [pair for pair in before if pair not in now]
        come = [(pair, bears) for pair, bears in now.items() if before.get(pair) is not bears]
        while frontier:
            read = self._store.read(self._keys.in_realm(INDEX, realm, frontier))
            was = {token: read_members(value) for token, value in zip(frontier, read, strict=True)}
            reached = [one for members in was.values() if joins(members) for one in members]
            index |= {token: dict(members) for token, members in was.items()}
            if gone or come:  # only the first round can have tokens that changed
                self._reindex(realm, index, gone, come, change)
                gone, come = [], []
                reached += [one for members in index.values() if joins(members) for one in members]
            fresh = [one for one in dict.fromkeys(reached) if one not in known]
            values = self._store.read(self._keys.in_realm(PAPER, realm, fresh)) if fresh else []
            known.update(zip(fresh, values, strict=True))
            frontier = (
                [token for token in dict.fromkeys(t for _, t in self._tokens(fresh, values)) if token not in index]
                if fresh
                else []
            )
        return index

    def _reindex(
        self,
        realm: str,
        index: dict[bytes, Members],
        gone: list[tuple[bytes, bytes]],
        come: list[tuple[tuple[bytes, bytes], bool]],
        change: Change,
    ) -> None:
        moved: dict[bytes, None] = {}
        for paper, token in gone:
            index[token].pop(paper, None)
            moved[token] = None
        for (paper, token), bears in come:
            index[token][paper] = bears
            moved[token] = None
        change.store(self._keys.in_realm(INDEX, realm, moved), [write_members(index[token]) for token in moved])

    def _store_shares(
        self,
        realm: str,
        papers: list[bytes],
        old: Sequence[bytes | None],
        new: Sequence[bytes | None],
        due: pl.DataFrame,
        change: Change,
    ) -> None:
        moments = dict(zip(due[OWNER].to_list(), due["due_ms"].to_list(), strict=True))
        place, tail = self._keys.realm_place(realm), realm.encode()
        for at, key in enumerate(self._keys.in_realm(SHARES, realm, papers)):
            if old[at] == new[at]:
                continue
            value = new[at]
            if value is None:
                change.drop.append(key)
            else:
                change.put[key] = value
            if at in moments or old[at] is not None:
                change.due.setdefault(place, {})[b"O" + papers[at] + tail] = moments.get(at)

    def _booked(self, realm: str, papers: pl.DataFrame, lines: pl.DataFrame) -> list[Booked]:
        """List what orders say of themselves to their reservations; an order for a kit says its parts."""
        orders = papers.filter(pl.col("sales_channel").is_not_null())
        if not orders.height:
            return []
        known: dict[int, dict[bytes, int]] = {}
        summed = lines.group_by(OWNER, "sku").agg(pl.col("ordered").sum())
        summed = summed.with_columns(sku_ids(self._context.ids, summed["sku"]).alias("sku"))
        kits = self._kits_of(realm)
        for owner, sku, quantity in summed.iter_rows():
            of_order = known.setdefault(owner, {})
            for part, pieces in kits.get(sku, ((sku, UNIT),)):
                of_order[part] = of_order.get(part, 0) + quantity * pieces // UNIT
        done = set(lines.filter("done")[OWNER].to_list())
        booked = []
        for owner, channel, *numbers in orders.select(OWNER, "sales_channel", "number", "reference").iter_rows():
            for number in dict.fromkeys(numbers):
                if number is not None and (owner in known or owner in done):
                    token = ledger_token(self._context.ids, channel, number)
                    booked.append(Booked(token, owner in done, known.get(owner, {})))
        return booked

    def _kits_of(self, realm: str) -> dict[bytes, list[tuple[bytes, int]]]:
        """Return the parts of every kit; once a run they are searched among all shelves."""
        if realm not in self._kits:
            self._kits[realm] = {}
            for ids in list(self._store.scan(SHELF)):
                some = [one for one in ids if len(one) == ID_BYTES]
                values = self._store.read(self._keys.in_realm(SHELF, realm, some)) if some else []
                self._note_kits(realm, some, values)
        return self._kits[realm]

    def _note_kits(self, realm: str, ids: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        rows = SHELVES.unpack(values, ("part", "of", "quantity"))
        parts = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
        kits = self._kits[realm]
        for one in ids:
            kits.pop(one, None)
        if not parts.height:
            return
        summed = parts.group_by(OWNER, "of").agg(pl.col("quantity").fill_null(0).sum())
        named = summed.with_columns(sku_ids(self._context.ids, summed["of"]).alias("of"))
        for owner, part, quantity in named.iter_rows():
            kits.setdefault(ids[owner], []).append((part, quantity))

    # --- shelves --------------------------------------------------------------------------------------

    def _fold_shelves(
        self,
        realm: str,
        said: pl.DataFrame,
        due: list[bytes],
        deltas: pl.DataFrame,
        touched: Touched,
        change: Change,
        as_of_ms: int,
    ) -> None:
        """Fold shelves, give them what papers and kits hold otherwise, and weigh those that changed."""
        codes, said_ids = encode_ids(said["to"])
        named = list(dict.fromkeys([*said_ids, *due, *deltas["shelf"].to_list()]))
        if not named:
            return
        shelves = Shelves(self._store.read, self._keys, realm)
        shelves.load(named)
        if said.height:
            kits = (said["part"] == KIT_PART).any()
            before = [shelves.shelf[one] for one in said_ids] if kits else []
            values = fold_frame(SHELVES, [shelves.shelf[one] for one in said_ids], codes, said)
            change.store(self._keys.in_realm(SHELF, realm, said_ids), values)
            shelves.shelf.update(zip(said_ids, values, strict=True))
            if kits:
                self._kits_of(realm)
                self._note_kits(realm, said_ids, values)
                of_kits = deltas_of_kits(SHELVES.unpack(before), SHELVES.unpack(values), self._context.ids)
                deltas = pl.concat([deltas, of_kits])
                shelves.load(deltas["shelf"].to_list())
        self._apply(realm, shelves, deltas, due, change, as_of_ms)
        weighed = self._with_parts(shelves, list(dict.fromkeys([*named, *deltas["shelf"].to_list()])))
        self._weigh(realm, shelves, weighed, frozenset(due), touched, change, as_of_ms)

    def _apply(
        self,
        realm: str,
        shelves: Shelves,
        deltas: pl.DataFrame,
        due: list[bytes],
        change: Change,
        as_of_ms: int,
    ) -> None:
        ids = list(dict.fromkeys([*deltas["shelf"].to_list(), *due]))
        if not ids:
            return
        at = pl.DataFrame(
            {"shelf": pl.Series(ids, dtype=pl.Binary), OWNER: range(len(ids))}, schema_overrides={OWNER: pl.Int64}
        )
        holds = HOLDS.unpack([shelves.held[one] for one in ids])
        now = apply_deltas(holds, deltas.join(at, on="shelf", maintain_order="left"), as_of_ms)
        values = HOLDS.pack(now, len(ids))
        change.store(self._keys.in_realm(HELD, realm, ids), values)
        shelves.held.update(zip(ids, values, strict=True))

    def _with_parts(self, shelves: Shelves, ids: list[bytes]) -> list[bytes]:
        """Add the parts of kits, whose orders hold them."""
        kits = self._kits_of(shelves.realm)
        more = [part for one in ids if one in kits for part, _ in kits[one]]
        if not more:
            return ids
        shelves.load(more)
        return list(dict.fromkeys([*ids, *more]))

    def _weigh(
        self,
        realm: str,
        shelves: Shelves,
        ids: list[bytes],
        looked_at: frozenset[bytes],
        touched: Touched,
        change: Change,
        as_of_ms: int,
    ) -> None:
        """Write what can be promised of shelves, and when the clock changes it."""
        rows = SHELVES.unpack([shelves.shelf[one] for one in ids])
        holds, kits = holds_with_kits(shelves, ids, self._context)
        feeds = self.feeds(realm)
        if feeds.hear(self._routes.plan, rows):
            change.put[self._keys.realm_place(realm) + FEEDS] = feeds.encode()
        weighed = weigh(self._routes, self._context.priority, len(ids), rows, holds, as_of_ms, feeds.stale)
        slack = (
            pl.DataFrame(weighed.slack.clip(-PROMISE_MAX, PROMISE_MAX))
            .select(pl.concat_str(pl.all(), separator=","))[:, 0]
            .to_list()
        )
        parts = _kit_texts(rows)
        version = self._routes.version
        place, tail = self._keys.realm_place(realm), realm.encode()
        moments = _moments(rows, holds, bool(self._routes.horizons), as_of_ms)
        due = change.due.setdefault(place, {})
        for at, one in enumerate(ids):
            touched.shelves[one] = None
            change.put[place + PROMISE + one] = f"{version};{slack[at]};{parts.get(at, '')}".encode()
            if at in moments or one in looked_at:
                due[b"S" + one + tail] = moments.get(at)
        for _, kit in kits.iter_rows():
            touched.shelves[self._context.ids.one(f"sku\x1f{kit}")] = None


def _kit_texts(rows: pl.DataFrame) -> dict[int, str]:
    parts = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
    if not parts.height:
        return {}
    summed = parts.group_by(OWNER, "of").agg(pl.col("quantity").sum()).sort(OWNER, "of")
    found: dict[int, list[list[object]]] = {}
    for owner, part, quantity in summed.iter_rows():
        found.setdefault(owner, []).append([part, quantity])
    return {owner: orjson.dumps(listed).decode() for owner, listed in found.items()}


def _moments(rows: pl.DataFrame, holds: pl.DataFrame, inbound: bool, as_of_ms: int) -> dict[int, int]:
    """Say when the clock changes a shelf next: a booking's grace ends, a supply comes nearer."""
    found = [holds.filter((pl.col("part") == BOOKING) & (pl.col("due_ms") > as_of_ms)).select(OWNER, "due_ms")]
    if inbound:
        midnight = (as_of_ms // DAY_MS + 1) * DAY_MS
        found.append(
            rows.filter((pl.col("part") == SUPPLY) & pl.col("expected_on").is_not_null()).select(
                OWNER, pl.lit(midnight, pl.Int64).alias("due_ms")
            )
        )
    return dict(pl.concat(found).group_by(OWNER).agg(pl.col("due_ms").min()).iter_rows())
