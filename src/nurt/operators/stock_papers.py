"""Papers of a worker's realms: folded, joined with all that hang together with them. Hot path where orders come."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from nurt.core.columns import distinct, id_list
from nurt.core.context import FoldContext
from nurt.core.said import Contributions
from nurt.core.slots import fold_slots
from nurt.core.stock.components import Members, components, joins, read_members, write_members
from nurt.core.stock.deltas import deltas_of_shares, no_deltas
from nurt.core.stock.holders import Holders
from nurt.core.stock.ledger import Booked, book_call
from nurt.core.stock.papers import SHARE, join_papers
from nurt.core.stock.routes import Routes
from nurt.core.stock.said import PAPERS, sku_ids
from nurt.core.stock.tokens import TOKEN_COLUMNS, ledger_token, tokens_of
from nurt.core.tables import OWNER
from nurt.model.change import Change
from nurt.model.keys import Keys
from nurt.model.stock_plan import UNIT
from nurt.model.values import Values
from nurt.operators.stock_kits import Kits
from nurt.operators.stock_view import INDEX, PAPER, SHARES
from nurt.ports import Store

DUE = 0
"""Part of a share's row that says when the clock changes its paper."""


class PapersStage:
    """Owns the papers of a worker's realms.

    Attributes:
        recent: who held what lately, by realm.
    """

    def __init__(self, store: Store, keys: Keys, context: FoldContext, routes: Routes, kits: Kits) -> None:
        self._store, self._keys, self._context, self._routes, self._kits = store, keys, context, routes, kits
        self._books: list[tuple[pl.DataFrame, pl.DataFrame]] = []
        self.recent: dict[str, Holders] = {}

    def fold(
        self, realm: str, said: Contributions, due: list[bytes], change: Change, as_of_ms: int
    ) -> tuple[list[bytes], pl.DataFrame]:
        """Fold papers, join them anew with all that hang together with them.

        Returns all of these papers, and what changes on shelves.
        """
        self._books = []
        codes, firsts = distinct(said.to)
        ids = id_list(said.to[firsts])
        given = len(ids)
        ids += sorted(set(due) - set(ids))
        if not ids:
            return [], no_deltas()
        stored = self._store.read(self._keys.in_realm(PAPER, realm, ids))
        values = list(stored)
        if given:
            values[:given] = fold_slots(PAPERS, Values.of(stored[:given]), codes, said).values.plain()
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
        self._books.append((frame, joined.lines))
        deltas = deltas_of_shares(SHARE.unpack(old_values), shares, papers, self._context.ids)
        self.recent.setdefault(realm, Holders()).note(joined.shares, papers, self._context.ids)
        return papers, deltas

    def book(self, realm: str, change: Change) -> None:
        """Let the write end reservations of orders that were just folded; when kits are known as they are now."""
        for papers, lines in self._books:
            book_call(change, self._keys.realm_place(realm), self._booked(realm, papers, lines))
        self._books = []

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
        kits = self._kits.of(realm)
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
