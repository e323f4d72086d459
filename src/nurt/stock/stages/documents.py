"""Fold sales documents of a worker's realms, and join them with connected ones. Hot path where orders arrive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.types import KeyRows, Words
from nurt.columnar.values import Values
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.model.stock.plan import UNIT
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.rows.children.contributions import Contributions
from nurt.rows.children.records import fold_records
from nurt.state.table import OWNER
from nurt.stock.deltas import deltas_of_holds, no_deltas
from nurt.stock.from_rows import SALES_DOCUMENTS, sku_ids
from nurt.stock.holders import Holders
from nurt.stock.ledger import Booked, book_call
from nurt.stock.matching.components import Members, components, joins, read_members, write_members
from nurt.stock.matching.documents import DOCUMENT_HOLDS, join_documents
from nurt.stock.matching.match_keys import MATCH_KEY_COLUMNS, ledger_match_keys, match_keys_of
from nurt.stock.matching.single_keys import Distinct, MatchKeyRows, settle_single
from nurt.stock.routes import SalesRoutes
from nurt.stock.stages.kits import Kits
from nurt.stock.stages.view import HOLDS_OF_DOCUMENT, INDEX, SALES_DOCUMENT

DUE = 0
"""Part of the row with a document's timer, in the value of its holds."""


class DocumentsStage:
    """The stage that owns the sales documents of a worker's realms.

    Attributes:
        recent: recent holders of skus, by realm.
    """

    def __init__(self, store: Store, keys: Keys, context: FoldContext, routes: SalesRoutes, kits: Kits) -> None:
        self._store, self._keys, self._context, self._routes, self._kits = store, keys, context, routes, kits
        self._books: list[tuple[pl.DataFrame, pl.DataFrame]] = []
        self.recent: dict[str, Holders] = {}

    def fold(
        self, realm: str, contributions: Contributions, due: list[bytes], change: StateWrite, as_of_ms: Millis
    ) -> tuple[list[bytes], pl.DataFrame]:
        """Fold sales documents, and join them again with all connected ones.

        Returns all of these documents, and the changes of positions.
        """
        self._books = []
        both = np.concatenate([contributions.to, words_of(due)]) if due else contributions.to
        if not len(both):
            return [], no_deltas()
        codes, firsts = distinct(both)
        words = both[firsts]
        ids, keys = id_list(words), self._keys.rows_in(SALES_DOCUMENT, realm, words)
        (stored,) = self._store.load([keys])
        folded = fold_records(SALES_DOCUMENTS, stored, codes[: len(contributions)], contributions)
        change.keep(keys, folded.values, folded.changed)
        was, values = stored.plain(), folded.values.plain()
        known: dict[bytes, bytes | None] = dict(zip(ids, values, strict=True))
        index = self._close(realm, known, words, self._match_keys(was), self._match_keys(values), change)
        sales_documents = sorted(known)
        hold_keys = self._keys.rows_in(HOLDS_OF_DOCUMENT, realm, words_of(sales_documents))
        (old,) = self._store.load([hold_keys])
        old_values = old.plain()
        frame = SALES_DOCUMENTS.unpack([known[one] for one in sales_documents])
        number = pl.Series("component", components(sales_documents, index), dtype=pl.Int64)
        joined = join_documents(frame.with_columns(number.gather(frame[OWNER])), self._routes.plan, as_of_ms)
        due_rows = joined.due.with_columns(pl.lit(DUE, pl.Int64).alias("part"))
        holds = pl.concat([joined.holds, due_rows], how="diagonal").sort(OWNER, "part", maintain_order=True)
        new_values = DOCUMENT_HOLDS.pack(holds, len(sales_documents))
        self._store_holds(realm, sales_documents, hold_keys, old_values, new_values, joined.due, change)
        self._books.append((frame, joined.lines))
        deltas = deltas_of_holds(DOCUMENT_HOLDS.unpack(old_values), holds, sales_documents, self._context.ids)
        self.recent.setdefault(realm, Holders()).note(joined.holds, sales_documents, self._context.ids)
        return sales_documents, deltas

    def book(self, realm: str, change: StateWrite) -> None:
        """Let the write end reservations of the orders just folded; call this after kits are up to date."""
        for sales_documents, lines in self._books:
            book_call(change, self._keys.realm_place(realm), self._booked(realm, sales_documents, lines))
        self._books = []

    def _match_keys(self, values: Sequence[bytes | None]) -> MatchKeyRows:
        return MatchKeyRows.of(match_keys_of(SALES_DOCUMENTS.unpack(values, MATCH_KEY_COLUMNS), self._context.ids))

    def _close(
        self,
        realm: str,
        known: dict[bytes, bytes | None],
        words: Words,
        before: MatchKeyRows,
        now: MatchKeyRows,
        change: StateWrite,
    ) -> dict[bytes, Members]:
        """Load into `known` all documents that are connected with it, before the fold or after.

        Returns the current documents of each match key that more than one document has or had.
        """
        every = Distinct.of(before, now)
        keys = self._keys.rows_in(INDEX, realm, every.match_keys)
        (stored,) = self._store.load([keys])
        settled, changed, values = settle_single(every, before, now, words, stored)
        change.keep(keys, values, changed)
        if settled.all():
            return {}
        rest, ids = ~settled, list(known)
        had, has = before.dict_of(rest[every.of_before], ids), now.dict_of(rest[every.of_now], ids)
        some = np.flatnonzero(rest).tolist()
        was = {every.match_keys[at].tobytes(): read_members(stored.one(at)) for at in some}
        index = {match_key: dict(members) for match_key, members in was.items()}
        gone = [pair for pair in had if pair not in has]
        come = [(pair, bears) for pair, bears in has.items() if had.get(pair) is not bears]
        self._reindex(realm, index, gone, come, change)
        reached = [one for members in (*was.values(), *index.values()) if joins(members) for one in members]
        while fresh := [one for one in dict.fromkeys(reached) if one not in known]:
            found = self._store.read(self._keys.in_realm(SALES_DOCUMENT, realm, fresh))
            known.update(zip(fresh, found, strict=True))
            match_keys = [one for one in dict.fromkeys(id_list(self._match_keys(found).match_key)) if one not in index]
            read = self._store.read(self._keys.in_realm(INDEX, realm, match_keys)) if match_keys else []
            more = {match_key: read_members(value) for match_key, value in zip(match_keys, read, strict=True)}
            index |= more
            reached = [one for members in more.values() if joins(members) for one in members]
        return index

    def _reindex(
        self,
        realm: str,
        index: dict[bytes, Members],
        gone: list[tuple[bytes, bytes]],
        come: list[tuple[tuple[bytes, bytes], bool]],
        change: StateWrite,
    ) -> None:
        moved: dict[bytes, None] = {}
        for sales_document, match_key in gone:
            index[match_key].pop(sales_document, None)
            moved[match_key] = None
        for (sales_document, match_key), bears in come:
            index[match_key][sales_document] = bears
            moved[match_key] = None
        change.store(self._keys.in_realm(INDEX, realm, moved), [write_members(index[match_key]) for match_key in moved])

    def _store_holds(
        self,
        realm: str,
        sales_documents: list[bytes],
        keys: KeyRows,
        old: Sequence[bytes | None],
        new: Sequence[bytes | None],
        due: pl.DataFrame,
        change: StateWrite,
    ) -> None:
        apart = [at for at in range(len(sales_documents)) if old[at] != new[at]]
        changed = np.zeros(len(sales_documents), dtype=np.bool_)
        changed[apart] = True
        change.keep(keys, Values.of(new), changed)
        moments = dict(zip(due[OWNER].to_list(), due["due_ms"].to_list(), strict=True))
        place, tail = self._keys.realm_place(realm), realm.encode()
        marks = {
            b"O" + sales_documents[at] + tail: moments.get(at) for at in apart if at in moments or old[at] is not None
        }
        if marks:
            change.timers.setdefault(place, {}).update(marks)

    def _booked(self, realm: str, sales_documents: pl.DataFrame, lines: pl.DataFrame) -> list[Booked]:
        """List the facts of orders for their reservations; an order of a kit lists the kit's parts."""
        orders = sales_documents.filter(pl.col("sales_channel").is_not_null())
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
            match_keys = ledger_match_keys(self._context.ids, some["sales_channel"], some[name]).to_list()
            for owner, match_key in zip(some[OWNER].to_list(), match_keys, strict=True):
                if owner in known or owner in done:
                    booked.append(Booked(match_key, owner in done, known.get(owner, {})))
        return booked
