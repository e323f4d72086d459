"""Read stored stock: for publishing and for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from nurt.columnar.distinct import distinct, words
from nurt.columnar.types import Int64s, Words
from nurt.columnar.values import Values
from nurt.model.keys import Keys
from nurt.model.units import Amount, Millis
from nurt.normalise.context import FoldContext
from nurt.state.row_major import read_values
from nurt.state.table import OWNER
from nurt.stock.atp import POSITION_LAYOUT, AtpCalculator, owners_with, skus_of
from nurt.stock.feeds import Feeds
from nurt.stock.from_rows import DOCUMENT, KIT_PART, ORDER, POSITIONS, SALES_DOCUMENTS, SHIPMENT, TRACKING, sku_ids
from nurt.stock.kits import KITS_DEEP_MAX, leaves_of
from nurt.stock.levels import StockFigures, figures_of, free_of_kits
from nurt.stock.matching.components import MEMBER_BYTES, Members, components, joins, read_members
from nurt.stock.matching.documents import DONE_ORDER, JoinedDocuments, join_documents
from nurt.stock.matching.match_keys import MATCH_KEY_COLUMNS, match_keys_of
from nurt.stock.routes import SalesRoutes
from nurt.stock.stages.kit_holds import POSITION_HOLDS, Load, holds_with_kits
from nurt_client.ledger import read_held

SALES_DOCUMENT, INDEX, HOLDS_OF_DOCUMENT, POSITION, ATP, RESERVED = b"g", b"j", b"c", b"k", b"q", b"m"
FEEDS = b"e"


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """Current figures of skus, with the values behind them.

    Attributes:
        at: indices of the skus among the requested ones.
        ids, skus: ids of positions, and names of their skus.
        figures: of the same skus, by route.
        positions, held: POSITIONS and HOLDS, with holds of kits counted.
        ledger: (skus, routes) quantities that reservations hold.
    """

    at: Int64s
    ids: Words
    skus: list[str]
    figures: StockFigures
    positions: Values
    held: Values
    ledger: Int64s


class StockView:
    """A reader of one deployment's stock.

    Args:
        load: returns the values of blocks of keys.
        stale_of: names a realm's stale locations; None: the stored ones.
    """

    def __init__(
        self,
        load: Load,
        keys: Keys,
        context: FoldContext,
        routes: SalesRoutes,
        stale_of: Callable[[str], frozenset[str]] | None = None,
    ) -> None:
        self._load, self._keys, self._context, self.routes = load, keys, context, routes
        self.stale_of = stale_of or self._stale
        self._atp = AtpCalculator(routes, context.priority)

    def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        return self._load([np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1)])[0].plain()

    def _stale(self, realm: str) -> frozenset[str]:
        return Feeds.decode(self._read([self._keys.realm_place(realm) + FEEDS])[0]).stale

    def look(
        self, realm: str, ids: Words, as_of_ms: Millis, named: Callable[[], Mapping[int, str]] | None = None
    ) -> Looked:
        """Net skus by id.

        Args:
            named: names of skus that were published before, by place among `ids`; a sku without name and stored
                value is left out.
        """
        positions, held, reserved = self._load(
            [self._keys.rows_in(kind, realm, ids) for kind in (POSITION, POSITION_HOLDS, RESERVED)]
        )
        skus, at = skus_of(positions, held), np.arange(len(ids))
        if None in skus:
            known = named() if named is not None else {}
            skus = [one if one is not None else known.get(place) for place, one in enumerate(skus)]
            at = np.flatnonzero([one is not None for one in skus])
            if len(at) < len(ids):
                ids, skus = ids[at], [skus[one] for one in at]
                positions, held, reserved = (_taken(values, at) for values in (positions, held, reserved))
        names = [sku or "" for sku in skus]
        held, _ = holds_with_kits(held, realm, self._context, self._keys, self._load)
        net_stock = self._atp.net(positions, held, as_of_ms, self.stale_of(realm))
        ledger = self._reserved(reserved)
        free, oversold = net_stock.free(self.routes, ledger), net_stock.oversold(self.routes, ledger)
        if positions.size_bytes and owners_with(read_values(POSITION_LAYOUT, positions), KIT_PART).any():
            self._free_kits(realm, positions, free, oversold, as_of_ms)
        return Looked(
            at, ids, names, figures_of(self.routes, net_stock, free, ledger, oversold), positions, held, ledger
        )

    def _free_kits(self, realm: str, positions: Values, free: Int64s, oversold: Int64s, as_of_ms: Millis) -> None:
        """Set the free quantity of kits."""
        known: dict[str, dict[str, Amount]] = {}
        owners = _note_parts(known, positions, None)
        for _ in range(KITS_DEEP_MAX):
            fresh = list({part for parts in known.values() for part in parts} - known.keys())
            if not fresh:
                break
            (values,) = self._load([self._keys.rows_in(POSITION, realm, self._words(fresh))])
            known |= {one: {} for one in fresh}
            _note_parts(known, values, fresh)
        made = {owner: leaves_of(kit, known.get) or {} for owner, kit in owners.items()}
        leaves = sorted({leaf for parts in made.values() for leaf in parts})
        ids = self._words(leaves)
        position, held, reserved = self._load(
            [self._keys.rows_in(kind, realm, ids) for kind in (POSITION, POSITION_HOLDS, RESERVED)]
        )
        held, _ = holds_with_kits(held, realm, self._context, self._keys, self._load)
        net_stock = self._atp.net(position, held, as_of_ms, self.stale_of(realm))
        index = dict(zip(leaves, range(len(leaves)), strict=True))
        rows = [(owner, index[leaf], pieces) for owner, parts in made.items() for leaf, pieces in parts.items()]
        owner, part, pieces = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3).T
        every = list(owners)
        free[every], oversold[every] = 0, 0
        free_of_kits(free, owner, part, pieces, net_stock.free(self.routes, self._reserved(reserved)))

    def _words(self, skus: Sequence[str]) -> Words:
        return words(sku_ids(self._context.ids, pl.Series(skus, dtype=pl.String)))

    def _reserved(self, values: Values) -> Int64s:
        """Read the quantities that reservations hold, (skus, routes)."""
        held = np.zeros((len(values), len(self.routes.names)), dtype=np.int64)
        at = {f"{channel}/{market}": number for number, (channel, market) in enumerate(self.routes.names)}
        for row in np.flatnonzero(values.there).tolist():
            for name, quantity in read_held(values.one(row)).items():
                held[row, at.get(name, len(self.routes.names) - 1)] += quantity
        return held

    def orders(
        self, realm: str, sales_documents: Sequence[bytes], as_of_ms: Millis
    ) -> dict[bytes, dict[str, Any] | None]:
        """Read every order that is connected with these documents; None for a document without an own row."""
        known, index = self._closed(realm, sales_documents)
        ids = sorted(known)
        frame = SALES_DOCUMENTS.unpack([known[one] for one in ids])
        number = pl.Series("component", components(ids, index), dtype=pl.Int64)
        joined = join_documents(frame.with_columns(number.gather(frame[OWNER])), self.routes.plan, as_of_ms)
        headed = frame.filter(pl.col("part").is_in([ORDER, DOCUMENT, SHIPMENT]))[OWNER].to_list()
        there = {ids[owner] for owner in headed}
        gone = {one: None for one in sales_documents if one not in there}
        return {**gone, **_orders(ids, frame, joined, realm)}

    def by_match_key(self, realm: str, match_keys: Sequence[bytes]) -> list[bytes]:
        """Find the documents that bear or name match keys."""
        values = self._read(self._keys.in_realm(INDEX, realm, match_keys))
        return list(dict.fromkeys(sales_document for value in values for sales_document in read_members(value)))

    def _closed(
        self, realm: str, sales_documents: Sequence[bytes]
    ) -> tuple[dict[bytes, bytes | None], dict[bytes, Members]]:
        known: dict[bytes, bytes | None] = {}
        index: dict[bytes, Members] = {}
        fresh = list(dict.fromkeys(sales_documents))
        while fresh:
            values = self._read(self._keys.in_realm(SALES_DOCUMENT, realm, fresh))
            known.update(zip(fresh, values, strict=True))
            found = match_keys_of(SALES_DOCUMENTS.unpack(values, MATCH_KEY_COLUMNS), self._context.ids)["token"]
            every = words(found)
            every = every[distinct(every)[1]]
            (stored,) = self._load([self._keys.rows_in(INDEX, realm, every)])
            # a match key of one document joins nothing
            several = np.flatnonzero(np.diff(stored.cuts) > MEMBER_BYTES).tolist()
            more = {every[at].tobytes(): read_members(stored.one(at)) for at in several}
            match_keys = [match_key for match_key in more if match_key not in index]
            index |= more
            reached = (one for match_key in match_keys if joins(index[match_key]) for one in index[match_key])
            fresh = [one for one in dict.fromkeys(reached) if one not in known]
        return known, index


def _note_parts(known: dict[str, dict[str, Amount]], positions: Values, names: Sequence[str] | None) -> dict[int, str]:
    """Note the direct parts of kits among positions; returns the kits by place."""
    rows = POSITIONS.unpack(positions.plain(), ("part", "sku", "of", "quantity"))
    found: dict[int, str] = {}
    parts = rows.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null())
    for owner, sku, part, quantity in parts.select(OWNER, "sku", "of", "quantity").iter_rows():
        found[owner] = kit = sku if names is None else names[owner]
        of_kit = known.setdefault(kit, {})
        of_kit[part] = Amount(of_kit.get(part, 0) + (quantity or 0))
    return found


def _taken(values: Values, rows: Int64s) -> Values:
    every = values.plain()
    return Values.of([every[row] for row in rows])


def _orders(
    ids: Sequence[bytes], frame: pl.DataFrame, joined: JoinedDocuments, realm: str
) -> dict[bytes, dict[str, Any] | None]:
    lines: dict[int, list[dict[str, Any]]] = {}
    wanted = ("sku", "location", "ordered", "returned", "booked", "shipped", "remaining")
    for row in joined.lines.sort(OWNER, "sku", "location").select(OWNER, *wanted).iter_rows(named=True):
        lines.setdefault(row.pop(OWNER), []).append(row)
    of_order: dict[int, list[int]] = {}
    for sales_document, order in joined.links.sort(OWNER).select(OWNER, "order").iter_rows():
        of_order.setdefault(order, []).append(sales_document)
    beside = _tracking(frame)
    heads = {row[OWNER]: row for row in frame.filter(pl.col("part").is_in([ORDER, DOCUMENT, SHIPMENT])).to_dicts()}
    found: dict[bytes, dict[str, Any] | None] = {}
    for owner, head in heads.items():
        if head["part"] != ORDER:
            continue
        sales_documents = [heads[sales_document] for sales_document in dict.fromkeys(of_order.get(owner, ()))]
        documents = [_document(one) for one in sales_documents if one["part"] == DOCUMENT]
        shipments = [_shipment(one, beside) for one in sales_documents if one["part"] == SHIPMENT]
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


def _shipment(head: dict[str, Any], beside: Mapping[tuple[int, str], str]) -> dict[str, Any]:
    shown = {name: head[name] for name in ("system", "number", "carrier", "tracking", "status")}
    for name in ("carrier", "tracking"):
        if shown[name] is None:
            shown[name] = beside.get((head[OWNER], name))
    return {**shown, "shipped_at": head["at"], "delivered_at": head["delivered_at"]}


def _tracking(frame: pl.DataFrame) -> dict[tuple[int, str], str]:
    """Join what lies in rows beside parcels, by owner and name of the column."""
    rows = frame.filter(pl.col("part") == TRACKING)
    found: dict[tuple[int, str], set[str]] = {}
    for owner, *texts in rows.select(OWNER, "carrier", "tracking").iter_rows():
        for name, text in zip(("carrier", "tracking"), texts, strict=True):
            if text is not None:
                found.setdefault((owner, name), set()).add(text)
    return {place: ", ".join(sorted(some)) for place, some in found.items()}


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
