"""Fold inventory positions of a worker's realms, apply changed holds, and net. Hot path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import Values
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.rows.children.contributions import Contributions
from nurt.rows.children.records import fold_records
from nurt.state.row_major import read_values
from nurt.state.table import OWNER
from nurt.stock.atp import POSITION_LAYOUT, AtpCalculator, atp_texts, newest_news, owners_with
from nurt.stock.deltas import apply_deltas, deltas_of_kits
from nurt.stock.feeds import Feeds
from nurt.stock.from_rows import KIT_PART, POSITIONS, SUPPLY
from nurt.stock.holds import BOOKING, DAY_MS, HOLDS
from nurt.stock.kits import below
from nurt.stock.routes import SalesRoutes
from nurt.stock.stages.kit_holds import POSITION_HOLDS, holds_with_kits, overlaid
from nurt.stock.stages.kits import Kits
from nurt.stock.stages.view import ATP, FEEDS, POSITION
from nurt_client.ids import sku_id

ATP_MAX = 9_000_000_000_000_000
"""The largest ATP: the numbers of the ledger's script are doubles."""


class PositionsStage:
    """The stage that owns the inventory positions of a worker's realms.

    Args:
        feeds_of: gives the feeds of a realm.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        routes: SalesRoutes,
        kits: Kits,
        feeds_of: Callable[[str], Feeds],
    ) -> None:
        self._store, self._keys, self._context, self._routes = store, keys, context, routes
        self._kits, self._feeds_of = kits, feeds_of
        self._atp = AtpCalculator(routes, context.priority)

    def fold(
        self,
        realm: str,
        contributions: Contributions,
        due: list[bytes],
        deltas: pl.DataFrame,
        change: StateWrite,
        as_of_ms: Millis,
    ) -> list[bytes]:
        """Fold positions, apply changed holds of documents and kits, and net changed positions; returns all."""
        outer: list[bytes] = []
        if (contributions.part == KIT_PART).any():
            of_kits, outer = self._change_kits(realm, contributions)
            deltas = pl.concat([deltas, of_kits])
        asked_of = [*deltas["shelf"].to_list(), *due, *outer]
        words = np.concatenate([contributions.to, words_of(asked_of)]) if asked_of else contributions.to
        if not len(words):
            return []
        codes, firsts = distinct(words)
        words, more = self._with_parts(realm, words[firsts])
        position, hold_values = self._load(realm, words)
        folded = fold_records(POSITIONS, position, codes[: len(contributions)], contributions)
        change.keep(self._keys.rows_in(POSITION, realm, words), folded.values, folded.changed)
        again = folded.changed.copy()
        again[more] = True
        if asked_of:
            asked = np.unique(codes[len(contributions) :])
            again[asked] = True
            hold_values = self._apply(realm, words, hold_values, asked, deltas, change, as_of_ms)
        return self._net(realm, words, folded.values, hold_values, again, frozenset(due), change, as_of_ms)

    def _load(self, realm: str, words: Words) -> tuple[Values, Values]:
        position, hold_values = self._store.load(
            [self._keys.rows_in(kind, realm, words) for kind in (POSITION, POSITION_HOLDS)]
        )
        return position, hold_values

    def _change_kits(self, realm: str, contributions: Contributions) -> tuple[pl.DataFrame, list[bytes]]:
        """Note the current parts of kits.

        Returns the changes at the positions of parts, and the kits that contain the changed skus.
        """
        some = contributions.take(contributions.part == KIT_PART)
        codes, firsts = distinct(some.to)
        words = some.to[firsts]
        position, _ = self._load(realm, words)
        before, after = position.plain(), fold_records(POSITIONS, position, codes, some).values.plain()
        outer = self._kits.note(realm, id_list(words), after)
        return deltas_of_kits(POSITIONS.unpack(before), POSITIONS.unpack(after), self._context.ids), outer

    def _with_parts(self, realm: str, words: Words) -> tuple[Words, Int64s]:
        """Add parts of kits, because orders of a kit hold its parts; returns all skus, and the places of the parts."""
        kits, none = self._kits.of(realm), np.zeros(0, dtype=np.int64)
        if not kits:
            return words, none
        ids = id_list(words)
        parts = [part for one in ids if one in kits for part in below(one, kits.get)]
        if not parts:
            return words, none
        codes, firsts = distinct(np.concatenate([words, words_of(parts)]))
        every = np.concatenate([words, words_of(parts)])[firsts]
        return every, np.unique(codes[len(words) :])

    def _apply(
        self,
        realm: str,
        words: Words,
        hold_values: Values,
        asked: Int64s,
        deltas: pl.DataFrame,
        change: StateWrite,
        as_of_ms: Millis,
    ) -> Values:
        """Apply changed holds to positions; returns the holds of all."""
        every = hold_values.plain()
        ids = id_list(words[asked])
        at = pl.DataFrame({"shelf": pl.Series(ids, dtype=pl.Binary), OWNER: pl.Series(range(len(ids)), dtype=pl.Int64)})
        holds = HOLDS.unpack([every[one] for one in asked])
        now = apply_deltas(holds, deltas.join(at, on="shelf", maintain_order="left"), as_of_ms)
        values = HOLDS.pack(now, len(ids))
        change.keep(self._keys.rows_in(POSITION_HOLDS, realm, words[asked]), Values.of(values))
        return overlaid(every, asked.tolist(), values)

    def _net(
        self,
        realm: str,
        words: Words,
        position: Values,
        hold_values: Values,
        again: Bools,
        looked_at: frozenset[bytes],
        change: StateWrite,
        as_of_ms: Millis,
    ) -> list[bytes]:
        """Write ATP and timers; returns all positions, and the kits that use them."""
        place, rows = self._keys.realm_place(realm), read_values(POSITION_LAYOUT, position)
        feeds = self._feeds_of(realm)
        if feeds.watches(self._routes.plan) and feeds.hear(
            self._routes.plan, newest_news(rows, self._routes.locations)
        ):
            change.put[place + FEEDS] = feeds.encode()
        hold_values, kits = holds_with_kits(hold_values, realm, self._context, self._keys, self._store.load)
        net_stock = self._atp.net(position, hold_values, as_of_ms, feeds.stale)
        ids, made = id_list(words), np.unique(rows.owner[owners_with(rows, KIT_PART)]).tolist()
        kits_here = self._kits.of(realm)
        texts = atp_texts(
            self._routes.version,
            net_stock.slack.clip(-ATP_MAX, ATP_MAX),
            {at: self._kits.text(realm, ids[at]) for at in made if ids[at] in kits_here},
        )
        change.keep(self._keys.rows_in(ATP, realm, words), texts, again)
        moments = self._moments(rows.owner[owners_with(rows, SUPPLY)], hold_values, as_of_ms)
        if moments or looked_at:
            due, tail = change.timers.setdefault(place, {}), realm.encode()
            for at, one in enumerate(ids):
                if at in moments or one in looked_at:
                    due[b"S" + one + tail] = moments.get(at)
        return ids + [sku_id(self._context.ids, kit) for kit in kits]

    def _moments(self, supplied: Int64s, hold_values: Values, as_of_ms: Millis) -> dict[int, int]:
        """Compute when the clock next changes a position: a booking's grace ends, a supply comes nearer."""
        found: dict[int, int] = {}
        if self._routes.horizons:
            found = dict.fromkeys(supplied.tolist(), (as_of_ms // DAY_MS + 1) * DAY_MS)
        if hold_values.size_bytes:
            holds = HOLDS.locate(hold_values.body, hold_values.cuts, ("part", "due_ms"))
            part, due_ms = holds.numbers
            soon = np.flatnonzero((part == BOOKING) & (due_ms > as_of_ms))
            for owner, due in zip(holds.owner[soon].tolist(), due_ms[soon].tolist(), strict=True):
                found[owner] = min(due, found.get(owner, due))
        return found
