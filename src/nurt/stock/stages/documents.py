"""Papers of a worker's realms: folded, joined with all that hang together with them. Hot path where orders come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.types import KeyRows, Words
from nurt.columnar.values import Values
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import Change
from nurt.model.stock_plan import UNIT
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.rows.child_slots import fold_slots
from nurt.rows.contributions import Contributions
from nurt.state.table import OWNER
from nurt.stock.deltas import deltas_of_shares, no_deltas
from nurt.stock.from_rows import PAPERS, sku_ids
from nurt.stock.holders import Holders
from nurt.stock.ledger import Booked, book_call
from nurt.stock.matching.components import Members, components, joins, read_members, write_members
from nurt.stock.matching.documents import SHARE, join_papers
from nurt.stock.matching.match_keys import TOKEN_COLUMNS, ledger_tokens, tokens_of
from nurt.stock.matching.single_keys import Distinct, TokenRows, settle_lone
from nurt.stock.routes import Routes
from nurt.stock.stages.kits import Kits
from nurt.stock.stages.view import INDEX, PAPER, SHARES

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
        self, realm: str, said: Contributions, due: list[bytes], change: Change, as_of_ms: Millis
    ) -> tuple[list[bytes], pl.DataFrame]:
        """Fold papers, join them anew with all that hang together with them.

        Returns all of these papers, and what changes on shelves.
        """
        self._books = []
        both = np.concatenate([said.to, words_of(due)]) if due else said.to
        if not len(both):
            return [], no_deltas()
        codes, firsts = distinct(both)
        words = both[firsts]
        ids, keys = id_list(words), self._keys.rows_in(PAPER, realm, words)
        (stored,) = self._store.load([keys])
        folded = fold_slots(PAPERS, stored, codes[: len(said)], said)
        change.keep(keys, folded.values, folded.changed)
        was, values = stored.plain(), folded.values.plain()
        known: dict[bytes, bytes | None] = dict(zip(ids, values, strict=True))
        index = self._close(realm, known, words, self._tokens(was), self._tokens(values), change)
        papers = sorted(known)
        share_keys = self._keys.rows_in(SHARES, realm, words_of(papers))
        (old,) = self._store.load([share_keys])
        old_values = old.plain()
        frame = PAPERS.unpack([known[one] for one in papers])
        number = pl.Series("component", components(papers, index), dtype=pl.Int64)
        joined = join_papers(frame.with_columns(number.gather(frame[OWNER])), self._routes.plan, as_of_ms)
        due_rows = joined.due.with_columns(pl.lit(DUE, pl.Int64).alias("part"))
        shares = pl.concat([joined.shares, due_rows], how="diagonal").sort(OWNER, "part", maintain_order=True)
        new_values = SHARE.pack(shares, len(papers))
        self._store_shares(realm, papers, share_keys, old_values, new_values, joined.due, change)
        self._books.append((frame, joined.lines))
        deltas = deltas_of_shares(SHARE.unpack(old_values), shares, papers, self._context.ids)
        self.recent.setdefault(realm, Holders()).note(joined.shares, papers, self._context.ids)
        return papers, deltas

    def book(self, realm: str, change: Change) -> None:
        """Let the write end reservations of orders that were just folded; when kits are known as they are now."""
        for papers, lines in self._books:
            book_call(change, self._keys.realm_place(realm), self._booked(realm, papers, lines))
        self._books = []

    def _tokens(self, values: Sequence[bytes | None]) -> TokenRows:
        return TokenRows.of(tokens_of(PAPERS.unpack(values, TOKEN_COLUMNS), self._context.ids))

    def _close(
        self,
        realm: str,
        known: dict[bytes, bytes | None],
        words: Words,
        before: TokenRows,
        now: TokenRows,
        change: Change,
    ) -> dict[bytes, Members]:
        """Load into `known` all that hangs together with it, before the fold or after.

        Returns who has a token now, of those that more than one paper has or had.
        """
        every = Distinct.of(before, now)
        keys = self._keys.rows_in(INDEX, realm, every.tokens)
        (stored,) = self._store.load([keys])
        settled, changed, values = settle_lone(every, before, now, words, stored)
        change.keep(keys, values, changed)
        if settled.all():
            return {}
        rest, ids = ~settled, list(known)
        had, has = before.dict_of(rest[every.of_before], ids), now.dict_of(rest[every.of_now], ids)
        some = np.flatnonzero(rest).tolist()
        was = {every.tokens[at].tobytes(): read_members(stored.one(at)) for at in some}
        index = {token: dict(members) for token, members in was.items()}
        gone = [pair for pair in had if pair not in has]
        come = [(pair, bears) for pair, bears in has.items() if had.get(pair) is not bears]
        self._reindex(realm, index, gone, come, change)
        reached = [one for members in (*was.values(), *index.values()) if joins(members) for one in members]
        while fresh := [one for one in dict.fromkeys(reached) if one not in known]:
            found = self._store.read(self._keys.in_realm(PAPER, realm, fresh))
            known.update(zip(fresh, found, strict=True))
            tokens = [one for one in dict.fromkeys(id_list(self._tokens(found).token)) if one not in index]
            read = self._store.read(self._keys.in_realm(INDEX, realm, tokens)) if tokens else []
            more = {token: read_members(value) for token, value in zip(tokens, read, strict=True)}
            index |= more
            reached = [one for members in more.values() if joins(members) for one in members]
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
        keys: KeyRows,
        old: Sequence[bytes | None],
        new: Sequence[bytes | None],
        due: pl.DataFrame,
        change: Change,
    ) -> None:
        apart = [at for at in range(len(papers)) if old[at] != new[at]]
        changed = np.zeros(len(papers), dtype=np.bool_)
        changed[apart] = True
        change.keep(keys, Values.of(new), changed)
        moments = dict(zip(due[OWNER].to_list(), due["due_ms"].to_list(), strict=True))
        place, tail = self._keys.realm_place(realm), realm.encode()
        marks = {b"O" + papers[at] + tail: moments.get(at) for at in apart if at in moments or old[at] is not None}
        if marks:
            change.due.setdefault(place, {}).update(marks)

    def _booked(self, realm: str, papers: pl.DataFrame, lines: pl.DataFrame) -> list[Booked]:
        """List what orders say of themselves to their reservations; an order for a kit says its parts."""
        orders = papers.filter(pl.col("sales_channel").is_not_null())
        if not orders.height:
            return []
        known: dict[int, dict[bytes, int]] = {}
        summed = lines.group_by(OWNER, "sku").agg(pl.col("ordered").sum())
        skus = sku_ids(self._context.ids, summed["sku"]).to_list()
        kits = self._kits.of(realm)
        for owner, sku, quantity in zip(summed[OWNER].to_list(), skus, summed["ordered"].to_list(), strict=True):
            of_order = known.setdefault(owner, {})
            for part, pieces in self._kits.leaves(realm, sku).items() if sku in kits else ((sku, UNIT),):
                of_order[part] = of_order.get(part, 0) + quantity * pieces // UNIT
        done = set(lines.filter("done")[OWNER].to_list())
        booked = []
        for name in ("number", "reference"):
            other = pl.lit(True) if name == "number" else pl.col(name).ne_missing(pl.col("number"))
            some = orders.filter(pl.col(name).is_not_null() & other)
            tokens = ledger_tokens(self._context.ids, some["sales_channel"], some[name]).to_list()
            for owner, token in zip(some[OWNER].to_list(), tokens, strict=True):
                if owner in known or owner in done:
                    booked.append(Booked(token, owner in done, known.get(owner, {})))
        return booked
