"""Read stock as it is kept: for publishing and for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.context import FoldContext
from nurt.core.stock.components import Members, components, joins, read_members
from nurt.core.stock.feeds import Feeds
from nurt.core.stock.figures import figures, free_of_kits
from nurt.core.stock.ledger import read_held
from nurt.core.stock.papers import DONE_ORDER, Joined, join_papers
from nurt.core.stock.promise import HOLDS, KIT, Weighed, weigh
from nurt.core.stock.routes import Routes
from nurt.core.stock.said import DOCUMENT, KIT_PART, ORDER, PAPERS, SHELVES, SHIPMENT, sku_ids
from nurt.core.stock.tokens import TOKEN_COLUMNS, tokens_of
from nurt.core.tables import OWNER
from nurt.model.keys import Keys
from nurt.model.stock_plan import UNIT

Read = Callable[[Sequence[bytes]], list[bytes | None]]
Int64s = npt.NDArray[np.int64]
PAPER, INDEX, SHARES, SHELF, HELD, PROMISE, RESERVED = b"g", b"j", b"c", b"k", b"d", b"q", b"m"
FEEDS = b"e"


class Shelves:
    """Shelves and holds of a realm, read when they are first named; what is not stored yet may be put."""

    def __init__(self, read: Read, keys: Keys, realm: str) -> None:
        self._read, self._keys, self.realm = read, keys, realm
        self.shelf: dict[bytes, bytes | None] = {}
        self.held: dict[bytes, bytes | None] = {}

    def load(self, ids: Iterable[bytes]) -> None:
        """Read those that are not known yet; one round trip."""
        fresh = [one for one in dict.fromkeys(ids) if one not in self.shelf]
        if not fresh:
            return
        keys = self._keys.in_realm(SHELF, self.realm, fresh) + self._keys.in_realm(HELD, self.realm, fresh)
        values = self._read(keys)
        self.shelf.update(zip(fresh, values[: len(fresh)], strict=True))
        self.held.update(zip(fresh, values[len(fresh) :], strict=True))

    def reserved(self, ids: Sequence[bytes], routes: Routes) -> Int64s:
        """Read what reservations hold, (ids, routes)."""
        held = np.zeros((len(ids), len(routes.names)), dtype=np.int64)
        at = {f"{channel}/{market}": number for number, (channel, market) in enumerate(routes.names)}
        for row, value in enumerate(self._read(self._keys.in_realm(RESERVED, self.realm, ids))):
            if value is not None:
                for name, quantity in read_held(value).items():
                    held[row, at.get(name, len(routes.names) - 1)] += quantity
        return held


def holds_with_kits(shelves: Shelves, ids: list[bytes], context: FoldContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read what is held of shelves, what is held of kits that use them counted in.

    Returns (HOLDS and owner without parts KIT, (owner, of) of the kits).
    """
    values = [shelves.held[one] for one in ids]
    if not any(values):
        return HOLDS.empty(), HOLDS.empty(("of",))
    holds = HOLDS.unpack(values)
    uses = holds.filter(pl.col("part") == KIT).select(OWNER, "of", pl.col("quantity").alias("uses"))
    holds = holds.filter(pl.col("part") != KIT)
    if not uses.height:
        return holds, uses.select(OWNER, "of")
    kits = uses["of"].unique(maintain_order=True)
    kit_ids = sku_ids(context.ids, kits).to_list()
    shelves.load(kit_ids)
    of_kits = HOLDS.unpack([shelves.held[one] for one in kit_ids]).filter(pl.col("part") != KIT)
    of_kits = of_kits.with_columns(kits.gather(of_kits[OWNER]).alias("of")).drop(OWNER)
    through = uses.join(of_kits, on="of", maintain_order="left").with_columns(
        (pl.col("quantity") * pl.col("uses") // UNIT).alias("quantity")
    )
    return pl.concat([holds, through.select(holds.columns)]), uses.select(OWNER, "of")


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """Skus as they are: their figures, and what these were made of."""

    ids: list[bytes]
    skus: list[str]
    figures: pl.DataFrame
    rows: pl.DataFrame
    holds: pl.DataFrame
    weighed: Weighed
    ledger: Int64s


class StockView:
    """Reads stock of one deployment.

    Args:
        read: returns the values of keys.
        stale_of: names a realm's stale locations; None: as they are stored.
    """

    def __init__(
        self,
        read: Read,
        keys: Keys,
        context: FoldContext,
        routes: Routes,
        stale_of: Callable[[str], frozenset[str]] | None = None,
    ) -> None:
        self._read, self._keys, self._context, self.routes = read, keys, context, routes
        self.stale_of = stale_of or self._stale

    def _stale(self, realm: str) -> frozenset[str]:
        return Feeds.decode(self._read([self._keys.realm_place(realm) + FEEDS])[0]).stale

    def look(self, realm: str, ids: Sequence[bytes], as_of_ms: int, names: Mapping[bytes, str] | None = None) -> Looked:
        """Weigh skus by id.

        Args:
            names: skus of which something was said before; who has no name and nothing stored is left out.
        """
        names = names or {}
        shelves = Shelves(self._read, self._keys, realm)
        shelves.load(ids)
        ids = [
            one
            for one in dict.fromkeys(ids)
            if shelves.shelf[one] is not None or shelves.held[one] is not None or one in names
        ]
        rows, holds, weighed, ledger, skus = self._weighed(shelves, ids, as_of_ms)
        skus = [sku or names.get(one, "") for one, sku in zip(ids, skus, strict=True)]
        free = weighed.free(self.routes, ledger)
        kits = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
        slack = (weighed.slack - ledger @ self.routes.inside).min(axis=1) if len(ids) else np.zeros(0, dtype=np.int64)
        located = np.maximum(weighed.located - np.maximum(weighed.on_hand, 0), 0).sum(axis=1)
        oversold = np.maximum(-slack, 0) + located
        if kits.height:
            parts = kits["of"].unique(maintain_order=True)
            part_ids = sku_ids(self._context.ids, parts).to_list()
            shelves.load(part_ids)
            _, _, of_parts, part_ledger, _ = self._weighed(shelves, part_ids, as_of_ms)
            index = dict(zip(parts.to_list(), range(len(parts)), strict=True))
            summed = kits.group_by(OWNER, "of", maintain_order=True).agg(pl.col("quantity").fill_null(0).sum())
            summed = summed.with_columns(pl.col("of").replace_strict(index, return_dtype=pl.Int64).alias("part"))
            free_of_kits(free, summed, of_parts.free(self.routes, part_ledger))
            oversold[summed[OWNER].unique().to_numpy()] = 0
        return Looked(
            ids, skus, figures(self.routes, skus, weighed, free, ledger, oversold), rows, holds, weighed, ledger
        )

    def _weighed(
        self, shelves: Shelves, ids: list[bytes], as_of_ms: int
    ) -> tuple[pl.DataFrame, pl.DataFrame, Weighed, Int64s, list[str]]:
        rows = SHELVES.unpack([shelves.shelf[one] for one in ids])
        own = HOLDS.unpack([shelves.held[one] for one in ids], ("sku",))
        holds, _ = holds_with_kits(shelves, ids, self._context)
        stale = self.stale_of(shelves.realm)
        weighed = weigh(self.routes, self._context.priority, len(ids), rows, holds, as_of_ms, stale)
        named = pl.concat([rows.select(OWNER, "sku"), own.select(OWNER, "sku")]).drop_nulls()
        texts = dict(named.unique(OWNER, keep="first", maintain_order=True).iter_rows())
        return rows, holds, weighed, shelves.reserved(ids, self.routes), [texts.get(at, "") for at in range(len(ids))]

    def orders(self, realm: str, papers: Sequence[bytes], as_of_ms: int) -> dict[bytes, dict[str, Any] | None]:
        """Read every order that hangs together with these papers; None for a paper whose own row is not there."""
        known, index = self._closed(realm, papers)
        ids = sorted(known)
        frame = PAPERS.unpack([known[one] for one in ids])
        number = pl.Series("component", components(ids, index), dtype=pl.Int64)
        joined = join_papers(frame.with_columns(number.gather(frame[OWNER])), self.routes.plan, as_of_ms)
        headed = frame.filter(pl.col("part").is_in([ORDER, DOCUMENT, SHIPMENT]))[OWNER].to_list()
        there = {ids[owner] for owner in headed}
        gone = {one: None for one in papers if one not in there}
        return {**gone, **_orders(ids, frame, joined, realm)}

    def by_token(self, realm: str, tokens: Sequence[bytes]) -> list[bytes]:
        """Find the papers that bear or name tokens."""
        values = self._read(self._keys.in_realm(INDEX, realm, tokens))
        return list(dict.fromkeys(paper for value in values for paper in read_members(value)))

    def _closed(self, realm: str, papers: Sequence[bytes]) -> tuple[dict[bytes, bytes | None], dict[bytes, Members]]:
        known: dict[bytes, bytes | None] = {}
        index: dict[bytes, Members] = {}
        fresh = list(dict.fromkeys(papers))
        while fresh:
            values = self._read(self._keys.in_realm(PAPER, realm, fresh))
            known.update(zip(fresh, values, strict=True))
            found = tokens_of(PAPERS.unpack(values, TOKEN_COLUMNS), self._context.ids)["token"]
            tokens = [token for token in dict.fromkeys(found.to_list()) if token not in index]
            read = self._read(self._keys.in_realm(INDEX, realm, tokens)) if tokens else []
            index |= {token: read_members(value) for token, value in zip(tokens, read, strict=True)}
            reached = (one for token in tokens if joins(index[token]) for one in index[token])
            fresh = [one for one in dict.fromkeys(reached) if one not in known]
        return known, index


def _orders(
    ids: Sequence[bytes], frame: pl.DataFrame, joined: Joined, realm: str
) -> dict[bytes, dict[str, Any] | None]:
    lines: dict[int, list[dict[str, Any]]] = {}
    wanted = ("sku", "location", "ordered", "returned", "booked", "shipped", "remaining")
    for row in joined.lines.sort(OWNER, "sku", "location").select(OWNER, *wanted).iter_rows(named=True):
        lines.setdefault(row.pop(OWNER), []).append(row)
    of_order: dict[int, list[int]] = {}
    for paper, order in joined.links.sort(OWNER).select(OWNER, "order").iter_rows():
        of_order.setdefault(order, []).append(paper)
    heads = {row[OWNER]: row for row in frame.filter(pl.col("part").is_in([ORDER, DOCUMENT, SHIPMENT])).to_dicts()}
    found: dict[bytes, dict[str, Any] | None] = {}
    for owner, head in heads.items():
        if head["part"] != ORDER:
            continue
        papers = [heads[paper] for paper in dict.fromkeys(of_order.get(owner, ()))]
        documents = [_document(one) for one in papers if one["part"] == DOCUMENT]
        shipments = [_shipment(one) for one in papers if one["part"] == SHIPMENT]
        found[ids[owner]] = {
            "id": ids[owner].hex(),
            "realm": realm,
            "system": head["system"],
            "number": head["number"],
            "reference": head["reference"],
            "channel": head["sales_channel"],
            "market": head["market"],
            "status": head["status"],
            "placed_at": head["at"],
            "stage": _stage(head, lines.get(owner, []), documents, shipments),
            "lines": lines.get(owner, []),
            "documents": documents,
            "shipments": shipments,
            "account": None if head["account"] is None else head["account"].hex(),
        }
    return found


def _document(head: dict[str, Any]) -> dict[str, Any]:
    return {"system": head["system"], "number": head["number"], "status": head["status"], "booked_at": head["at"]}


def _shipment(head: dict[str, Any]) -> dict[str, Any]:
    names = ("system", "number", "carrier", "tracking", "status")
    return {**{name: head[name] for name in names}, "shipped_at": head["at"], "delivered_at": head["delivered_at"]}


def _stage(
    head: dict[str, Any], lines: list[dict[str, Any]], documents: list[Any], shipments: list[dict[str, Any]]
) -> str:
    if head["status"] in DONE_ORDER:
        return str(head["status"])
    if shipments:
        left = any(line["ordered"] > max(line["shipped"], line["returned"]) for line in lines)
        if left:
            return "partly_shipped"
        return "delivered" if all(one["status"] == "delivered" for one in shipments) else "shipped"
    return "booked" if documents else "placed"
