"""Contributions of rows to sales documents and inventory positions. Hot path.

A *sales document* is an order, an ERP document or a shipment with its lines; an *inventory position* is all that is
known of one sku: stock levels, supplies, the parts of a kit. A row emits its stored contribution to its document or
position; a row whose document or sku changed emits "gone" to the former one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
import polars as pl

from nurt.columnar.distinct import id_list
from nurt.columnar.ids import Ids
from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts, coded_texts, join_texts
from nurt.columnar.types import Bools, Int64s, Words
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT
from nurt.model.stock.plan import UNIT
from nurt.normalise.context import FoldContext
from nurt.rows.children.contributions import (
    Contributions,
    JoinsSaid,
    join_contributions,
    join_joins,
    no_contributions,
    no_ids,
    no_texts,
)
from nurt.rows.children.write import ExtraColumn, RecordPlan, pack_records
from nurt.rows.fold import RowsFolded
from nurt.rows.guests import guest_ids
from nurt.rows.layouts import OP, PARENT, PARENT_BIT, ROW_LAYOUTS, ROW_TABLES, field_names
from nurt.rows.tokens import Tokens
from nurt.state.row_major import Layout, RowArrays
from nurt.state.table import Table
from nurt.stock.frames import packed_rows

SALES_DOCUMENTS = Table.stored("papers")
"""A sales document's value: its own row (part: code of order, document or shipment), its lines, in pieces, and a
parcel's tracking numbers."""

POSITIONS = Table.stored("shelves")
"""An inventory position's value: stock levels, open supplies, parts of a kit; quantities in pieces."""

CODE = {kind: entity.code for kind, entity in ENTITIES.items()}
ORDER, LINE, SHIPMENT, LEVEL = CODE["order"], CODE["order_line"], CODE["shipment"], CODE["stock_level"]
DOCUMENT, DOCUMENT_LINE, SHIPMENT_LINE = CODE["document"], CODE["document_line"], CODE["shipment_line"]
SUPPLY, KIT_PART, TRACKING = CODE["supply"], CODE["kit_part"], CODE["tracking"]

_HEADERS = ("order", "document", "shipment")
_OF_POSITIONS = ("stock_level", "supply", "kit_part")
_PIECES = ("quantity", "cancelled_quantity", "returned_quantity", "reserved_quantity", "received_quantity")


@dataclass(frozen=True, slots=True)
class StockContributions:
    """Contributions on their way up; their `system` determines the realm."""

    sales_documents: Contributions
    positions: Contributions
    joins: JoinsSaid | None = None

    def with_joins(self, joins: JoinsSaid | None) -> StockContributions:
        """Return the same, but with what is said to rows that are made of several."""
        return StockContributions(self.sales_documents, self.positions, joins)

    def by_realm(self, realm_of: Mapping[str, str]) -> dict[str, StockContributions]:
        """Split contributions by the realms of their systems; an unknown system is of the default realm."""
        systems = list(realm_of)
        names = sorted({"default", *realm_of.values()})
        if len({*realm_of.values()}) == 1:
            return {next(iter(realm_of.values())): self} if len(self.sales_documents) or len(self.positions) else {}
        of_system = np.array([*(names.index(realm_of[one]) for one in systems), names.index("default")])
        realms = [of_system[codes_of(one.system, systems)] for one in (self.sales_documents, self.positions)]
        parts = {
            name: StockContributions(
                self.sales_documents.take(realms[0] == at).compact(), self.positions.take(realms[1] == at).compact()
            )
            for at, name in enumerate(names)
        }
        return {name: part for name, part in parts.items() if len(part.sales_documents) or len(part.positions)}


def nothing() -> StockContributions:
    """Make a StockContributions without rows."""
    return StockContributions(no_contributions(), no_contributions())


def join_stock_contributions(many: Sequence[StockContributions]) -> StockContributions:
    """Put contributions one after another, in order."""
    if len(many) == 1:
        return many[0]
    return StockContributions(
        join_contributions([contributions.sales_documents for contributions in many]),
        join_contributions([contributions.positions for contributions in many]),
        join_joins([contributions.joins for contributions in many]),
    )


def sku_ids(ids: Ids, skus: pl.Series) -> pl.Series:
    """Name the positions of skus; null to null."""
    return ids.of(pl.select(pl.lit("sku\x1f") + skus).to_series())


class StockEmitter:
    """A rows.stage.RowEmitter of contributions to sales documents and positions."""

    unread: Mapping[str, Int64s] = MappingProxyType({})
    tokens: Tokens | None = None

    def __init__(self, context: FoldContext) -> None:
        self._context = context

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Make the sku's position the parent of a level, supply or kit part."""
        if kind not in _OF_POSITIONS:
            return frame
        name = "kit" if kind == "kit_part" else "sku"
        skus, bit = frame[name], field_names(kind).index(name)
        return frame.with_columns(
            sku_ids(self._context.ids, skus).alias("parent"),
            pl.when(skus.is_not_null()).then(pl.lit("sku")).alias("parent_kind"),
            skus.alias("parent_key"),
            # a row with an unavailable sku keeps its position
            (
                pl.col("unavailable") | ((pl.col("unavailable") & (1 << bit)) * (1 << (UNAVAILABLE_PARENT_BIT - bit)))
            ).alias("unavailable"),
        )

    def emit(self, kind: str, folded: RowsFolded, ids: Words, stamp: int) -> StockContributions:
        """See rows.stage.RowEmitter."""
        nobody = no_contributions()
        if kind not in CODE:  # rows of a table say nothing themselves
            return StockContributions(nobody, nobody)
        layout, rows, at, owner, gone = ROW_LAYOUTS[kind], folded.rows, folded.at, folded.owner, folded.left
        header = kind in _HEADERS
        emits = ~gone if header else rows.has(PARENT_BIT, at)
        whole = bool(emits.all())
        if not whole:
            at, owner, gone = at[emits], owner[emits], gone[emits]
        child = ids[owner]
        if header:
            gone = rows.numbers[at, OP] == DELETE
        to = child if header else rows.ids(PARENT, at)
        if kind not in _PLANS or ("pack_size" in layout and rows.has(layout.column("pack_size"), at).any()):
            frame = folded.frame(_read_of(kind))
            body = self._body(kind, frame if whole else frame.filter(pl.Series(emits)), child, gone, stamp)
        else:
            extra = self._extra_of_orders(rows, at) if kind == "order" else ()
            body = pack_records(_PLANS[kind], rows, at, gone, child, CODE[kind], stamp, extra)
        none = no_texts(len(at))
        contributions = Contributions(
            to, child, np.full(len(at), stamp), np.full(len(at), CODE[kind]), gone,
            body, rows.text(layout.place("system"), at), none, none, no_ids(len(at)),
        )  # fmt: skip
        return (
            StockContributions(nobody, contributions)
            if kind in _OF_POSITIONS
            else StockContributions(contributions, nobody)
        )

    def join(self, many: list[StockContributions]) -> StockContributions:
        """See rows.stage.RowEmitter."""
        return join_stock_contributions(many)

    def _extra_of_orders(self, rows: RowArrays, at: Int64s) -> list[ExtraColumn]:
        """Give market and sales channel of orders, by default those of their systems."""
        layout, everywhere = ROW_LAYOUTS["order"], np.ones(len(at), dtype=np.bool_)
        system = rows.text(layout.place("system"), at)
        systems = list(self._context.market)
        usual = coded_texts(codes_of(system, systems), [*map(self._context.market.__getitem__, systems), ""])
        account = rows.text(PARENT, at)
        if not (has := rows.has(PARENT_BIT, at)).all():
            account = _filled(account, has, self._guests(rows, at, system))
        texts = [
            _filled(rows.text(layout.place(name), at), rows.has(layout.column(name), at), instead)
            for name, instead in (("market", usual), ("sales_channel", system))
        ]
        return [ExtraColumn(one, everywhere) for one in (*texts, account)]

    def _guests(self, rows: RowArrays, at: Int64s, system: Texts) -> Texts:
        """Name the accounts of guests' orders."""
        layout = ROW_LAYOUTS["order"]
        entity, key = (rows.text(layout.place(name), at) for name in ("entity", "key"))
        return guest_ids(system, entity, key, self._context.ids)

    def _body(self, kind: str, frame: pl.DataFrame, child: Words, gone: Bools, stamp: int) -> Texts:
        """Pack child records of kinds that need more than their columns: off the hot path."""
        contributions = self._plain(
            kind,
            frame.with_columns(
                pl.Series("child", id_list(child), dtype=pl.Binary),
                pl.lit(stamp, pl.Int64).alias("stamp"),
                pl.lit(CODE[kind], pl.Int64).alias("part"),
            ),
        )
        packed, ends = packed_rows(POSITIONS if kind in _OF_POSITIONS else SALES_DOCUMENTS, contributions)
        return Texts(ends[:-1], np.where(gone, ends[:-1], ends[1:]), packed)

    def _plain(self, kind: str, contributions: pl.DataFrame) -> pl.DataFrame:
        """Name the columns as documents and positions do, and convert quantities to pieces."""
        contributions = _in_pieces(contributions)
        if kind == "document":
            contributions = contributions.with_columns(pl.col("booked_at").alias("at"))
        elif kind == "shipment":
            contributions = contributions.with_columns(
                pl.col("shipped_at").alias("at"), pl.col("parent").alias("order")
            )
        elif kind == "supply":
            closed = pl.col("status").is_in(["cancelled", "complete"]).fill_null(False)
            left = pl.col("quantity").fill_null(0) - pl.col("received_quantity").fill_null(0)
            contributions = contributions.with_columns(
                pl.when(closed).then(0).otherwise(left.clip(0)).alias("quantity")
            )
        elif kind == "kit_part":
            contributions = contributions.with_columns(
                pl.col("sku").alias("of"), pl.col("kit").alias("sku"), pl.col("quantity").fill_null(UNIT)
            )
        return contributions


def _filled(theirs: Texts, has: Bools, instead: Texts) -> Texts:
    if has.all():
        return theirs
    return join_texts([theirs, instead]).take(np.arange(len(has)) + np.where(has, 0, len(has)))


_PLANS = {
    kind: RecordPlan(Layout(POSITIONS if kind in _OF_POSITIONS else SALES_DOCUMENTS), ROW_LAYOUTS[kind], renamed, extra)
    for kind, renamed, extra in (
        ("stock_level", {"of": None}, ()),
        ("order", {"at": "placed_at"}, ("market", "sales_channel", "account")),
        ("order_line", None, ()),
        ("document", {"at": "booked_at"}, ()),
        ("document_line", None, ()),
        ("shipment", {"at": "shipped_at", "order": "parent"}, ()),
        ("shipment_line", None, ()),
        ("tracking", {"tracking": "number", "number": None}, ()),
    )
}
"""Kinds whose rows are packed column by column, unless their quantities are in packs."""


_NOT_READ = frozenset(("source_epoch", "partition", "offset", "parent_kind", "parent_entity", "parent_key", "moved_to"))


@cache
def _read_of(kind: str) -> tuple[str, ...]:
    """Name the columns of a stored row that documents and positions get."""
    known = {*SALES_DOCUMENTS.columns, *POSITIONS.columns, "pack_size", "op", "parent", "received_quantity", "kit"}
    known |= {"placed_at", "booked_at", "shipped_at"}
    return tuple(name for name in ROW_TABLES[kind].columns if name in known and name not in _NOT_READ)


def _in_pieces(contributions: pl.DataFrame) -> pl.DataFrame:
    """Multiply quantities by their pack size; a product beyond 64 bits counts as 0."""
    if "pack_size" not in contributions.columns or contributions["pack_size"].null_count() == contributions.height:
        return contributions
    pack = pl.col("pack_size").fill_null(UNIT).cast(pl.Int128)
    return contributions.with_columns(
        (pl.col(name).cast(pl.Int128) * pack // UNIT).cast(pl.Int64, strict=False).alias(name)
        for name in _PIECES
        if name in contributions.columns
    )
