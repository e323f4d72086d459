"""What rows say to papers and shelves. Hot path.

A *paper* is an order, an ERP document or a shipment with its lines; a *shelf* is all that is known of one sku: stock
levels, supplies, the parts of a kit. A row says its stored contribution to its paper or shelf; one that names another
paper or sku than before says "gone" to the one that it left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import polars as pl

from nurt.core.columns import id_list
from nurt.core.context import FoldContext
from nurt.core.contributions import GUEST
from nurt.core.ids import Ids
from nurt.core.row_tables import LEFT, ROW_TABLES
from nurt.core.rows import RowsFolded
from nurt.core.stock.frames import slots_of
from nurt.core.tables import Table
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, HELD_PARENT_BIT
from nurt.model.keys import Words
from nurt.model.stock_plan import UNIT

_INT, _TEXT, _ID = pl.Int64(), pl.String(), pl.Binary()
_POSITION = dict.fromkeys(("p0", "p1", "p2", "p3"), _INT)

PAPERS = Table(
    {
        "part": _INT,
        "child": _ID,
        "stamp": _INT,
        **dict.fromkeys(("system", "entity", "key", "number", "reference", "match_key"), _TEXT),
        **dict.fromkeys(("order_ref", "document_ref", "order_system", "sales_channel", "market", "status"), _TEXT),
        "sku": _TEXT,
        **dict.fromkeys(("quantity", "cancelled_quantity", "returned_quantity"), _INT),
        **dict.fromkeys(("location", "carrier", "tracking"), _TEXT),
        **dict.fromkeys(("at", "delivered_at", "ts_ms"), _INT),
        **_POSITION,
        "order": _ID,
        "account": _ID,
    }
)
"""A paper's value: its own row (part: the code of order, document or shipment) and its lines, quantities in pieces."""

SHELVES = Table(
    {
        "part": _INT,
        "child": _ID,
        "stamp": _INT,
        **dict.fromkeys(("system", "sku", "location"), _TEXT),
        **dict.fromkeys(("quantity", "reserved_quantity", "expected_on"), _INT),
        "of": _TEXT,  # a kit's part
        "ts_ms": _INT,
        **_POSITION,
    }
)
"""A shelf's value: stock levels, supplies that are open, parts of a kit; quantities in pieces."""

SAID: dict[str, pl.DataType] = {
    "realm": _TEXT,
    "to": _ID,
    "child": _ID,
    "stamp": _INT,
    "part": _INT,
    "gone": pl.Boolean(),
    "slot": _ID,
}

CODE = {kind: entity.code for kind, entity in ENTITIES.items()}
ORDER, LINE, SHIPMENT, LEVEL = CODE["order"], CODE["order_line"], CODE["shipment"], CODE["stock_level"]
DOCUMENT, DOCUMENT_LINE, SHIPMENT_LINE = CODE["document"], CODE["document_line"], CODE["shipment_line"]
SUPPLY, KIT_PART = CODE["supply"], CODE["kit_part"]

_HEADERS = ("order", "document", "shipment")
_LINES = ("order_line", "document_line", "shipment_line")
_SHELVES = ("stock_level", "supply", "kit_part")
_PIECES = ("quantity", "cancelled_quantity", "returned_quantity", "reserved_quantity", "received_quantity")


@dataclass(frozen=True, slots=True)
class StockSaid:
    """Contributions on their way up; both have columns SAID."""

    papers: pl.DataFrame
    shelves: pl.DataFrame


def nothing() -> StockSaid:
    """Make a StockSaid without rows."""
    return StockSaid(pl.DataFrame(schema=SAID), pl.DataFrame(schema=SAID))


def join_said(many: list[StockSaid]) -> StockSaid:
    """Put contributions one after another, in order."""
    if len(many) == 1:
        return many[0]
    if not many:
        return nothing()
    return StockSaid(pl.concat([said.papers for said in many]), pl.concat([said.shelves for said in many]))


def sku_ids(ids: Ids, skus: pl.Series) -> pl.Series:
    """Name the shelves of skus; null to null."""
    return ids.of(pl.select(pl.lit("sku\x1f") + skus).to_series())


class StockVoice:
    """Says rows to papers and shelves; implements operators.rows_stage.Voice."""

    def __init__(self, context: FoldContext) -> None:
        self._context = context

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Make the shelf of its sku the parent of a level, supply or kit part."""
        if kind not in _SHELVES:
            return frame
        skus = frame["kit" if kind == "kit_part" else "sku"]
        return frame.with_columns(
            sku_ids(self._context.ids, skus).alias("parent"),
            pl.when(skus.is_not_null()).then(pl.lit("sku")).alias("parent_kind"),
            skus.alias("parent_key"),
            # the sku is the first field: a row whose sku did not come keeps its shelf
            (pl.col("held") | ((pl.col("held") & 1) * (1 << HELD_PARENT_BIT))).alias("held"),
        )

    def say(self, kind: str, folded: RowsFolded, ids: Words, stamp: int) -> StockSaid:
        """See Voice."""
        state, row_ids = folded.frame(_read_of(kind)), pl.Series(id_list(ids), dtype=pl.Binary)
        child = row_ids.gather(state["owner"])
        header = kind in _HEADERS
        said = state.with_columns(
            child.alias("child"),
            (pl.col("op") == DELETE if header else pl.col("part") == LEFT).alias("gone"),
            (child if header else state["parent"]).alias("to"),
            pl.lit(stamp, pl.Int64).alias("stamp"),
            pl.col("system").replace_strict(dict(self._context.realm), default="default").alias("realm"),
        )
        said = said.filter(pl.col("part") != LEFT) if header else said.filter(pl.col("to").is_not_null())
        said = self._plain(kind, said.with_columns(pl.lit(CODE[kind], pl.Int64).alias("part")))
        if kind in _SHELVES:
            return StockSaid(nothing().papers, slots_of(SHELVES, said, SAID))
        return StockSaid(slots_of(PAPERS, said, SAID), nothing().shelves)

    def join(self, many: list[StockSaid]) -> StockSaid:
        """See Voice."""
        return join_said(many)

    def _plain(self, kind: str, said: pl.DataFrame) -> pl.DataFrame:
        """Name the columns as papers and shelves do, and count in pieces."""
        said = _in_pieces(said)
        if kind == "order":
            said = self._context.filled(said, "market", "").with_columns(
                pl.coalesce("sales_channel", "system").alias("sales_channel"),
                pl.col("placed_at").alias("at"),
                self._account(said).alias("account"),
            )
        elif kind == "document":
            said = said.with_columns(pl.col("booked_at").alias("at"))
        elif kind == "shipment":
            said = said.with_columns(pl.col("shipped_at").alias("at"), pl.col("parent").alias("order"))
        elif kind == "supply":
            closed = pl.col("status").is_in(["cancelled", "complete"]).fill_null(False)
            left = pl.col("quantity").fill_null(0) - pl.col("received_quantity").fill_null(0)
            said = said.with_columns(pl.when(closed).then(0).otherwise(left.clip(0)).alias("quantity"))
        elif kind == "kit_part":
            said = said.with_columns(
                pl.col("sku").alias("of"), pl.col("kit").alias("sku"), pl.col("quantity").fill_null(UNIT)
            )
        return said

    def _account(self, orders: pl.DataFrame) -> pl.Series:
        """Name the account that ordered; a guest's is the order itself, as in `core.row_contributions`."""
        guest = pl.concat_str([pl.col("system"), pl.lit(GUEST), pl.col("entity"), pl.col("key")], separator="\x1f")
        names = orders.select(pl.when(pl.col("parent").is_null()).then(guest)).to_series()
        own = self._context.ids.of(names) if names.null_count() < len(names) else pl.lit(None, _ID)
        return orders.select(pl.coalesce("parent", own).alias("account")).to_series()


_NOT_READ = frozenset(("source_epoch", "partition", "offset", "parent_kind", "parent_entity", "parent_key", "moved_to"))


@cache
def _read_of(kind: str) -> tuple[str, ...]:
    """Name the columns of a stored row that papers and shelves are told."""
    known = {*PAPERS.columns, *SHELVES.columns, "pack_size", "op", "parent", "received_quantity", "kit"}
    known |= {"placed_at", "booked_at", "shipped_at"}
    return tuple(name for name in ROW_TABLES[kind].columns if name in known and name not in _NOT_READ)


def _in_pieces(said: pl.DataFrame) -> pl.DataFrame:
    """Multiply quantities by their pack size; what leaves 64 bits counts as nothing."""
    if "pack_size" not in said.columns or said["pack_size"].null_count() == said.height:
        return said
    pack = pl.col("pack_size").fill_null(UNIT).cast(pl.Int128)
    return said.with_columns(
        (pl.col(name).cast(pl.Int128) * pack // UNIT).cast(pl.Int64, strict=False).alias(name)
        for name in _PIECES
        if name in said.columns
    )
