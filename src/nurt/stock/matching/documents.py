"""Compute what joined documents hold of skus: orders, less booked and shipped quantities. Hot path; pure.

Quantities of a document or shipment are allocated to the orders that it names, sku by sku: quantities with the fewest
possible orders first, and older orders first. So documents that merge orders, split shipments, repeated bookings and
partial documents need no rules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import polars as pl

from nurt.columnar.types import Int64s
from nurt.model.stock.plan import AT_BOOKING, StockPlan
from nurt.model.units import Millis
from nurt.state.table import OWNER, Table
from nurt.stock.frames import fit
from nurt.stock.from_rows import DOCUMENT, DOCUMENT_LINE, LINE, ORDER, SHIPMENT, SHIPMENT_LINE
from nurt.stock.holds import BOOKING, HOLD
from nurt.stock.matching.references import WHERE, targets_of

DOCUMENT_HOLDS = Table.stored("share")
"""A sales document's holds of skus, in the form of HOLDS."""

DONE_ORDER = ("cancelled", "returned", "complete")
GONE_SHIPMENT = ("shipped", "delivered", "returned")
DONE_DOCUMENT = ("shipped", "complete")
POSITION = ("p0", "p1", "p2", "p3")
_KEY = (OWNER, "sku", "location")


@dataclass(frozen=True, slots=True, eq=False)
class JoinedDocuments:
    """Results of joining sales documents.

    Attributes:
        holds: DOCUMENT_HOLDS and owner, sorted by owner.
        due: owner and due_ms: when the clock changes a document's holds, or its event is due.
        lines: by order, sku and location: ordered, returned, booked, shipped, remaining; for people.
        links: owner (of a document or shipment) and order (owner): orders to which it could be allocated.
    """

    holds: pl.DataFrame
    due: pl.DataFrame
    lines: pl.DataFrame
    links: pl.DataFrame


def join_documents(sales_documents: pl.DataFrame, plan: StockPlan, as_of_ms: Millis) -> JoinedDocuments:
    """Join sales documents and compute what each holds.

    Args:
        sales_documents: SALES_DOCUMENTS, owner and component: every document of the changed components; owners in
            the order of their ids. Documents of different components are not joined, even if they share a text
            (see MATCH_KEY_DOCUMENTS_MAX).
        as_of_ms: what expired or was due by this moment has ended.
    """
    orders = sales_documents.filter(pl.col("part") == ORDER)
    lines = _needs(sales_documents, orders, plan, as_of_ms)
    booked, booked_links = _allocated(sales_documents, orders, lines, DOCUMENT, DOCUMENT_LINE)
    shipped, shipped_links = _allocated(sales_documents, orders, lines, SHIPMENT, SHIPMENT_LINE, booked_links)
    is_documented = pl.concat([booked_links, shipped_links])["order"].unique().implode()
    lines = lines.with_columns(
        pl.Series("booked", _fill(lines, booked)), pl.Series("shipped", _fill(lines, shipped, wholes=True))
    )
    ended = _larger(pl.col("shipped"), pl.col("returned"))
    if plan.reduced_by == AT_BOOKING:
        ended = _larger(ended, pl.col("booked"))
    remaining = (pl.col("need") - ended).clip(0)
    lines = lines.with_columns(pl.when(pl.col("expired")).then(0).otherwise(remaining).alias("remaining"))
    # an order with a document or shipment does not expire: it is in progress
    waits = pl.col("expired") & pl.col(OWNER).is_in(is_documented)
    lines = lines.with_columns(pl.when(waits).then(remaining).otherwise(pl.col("remaining")).alias("remaining"))
    of_orders = lines.filter(pl.col("remaining") > 0).select(
        OWNER,
        pl.lit(HOLD, pl.Int64).alias("part"),
        "sku",
        "channel",
        "market",
        "location",
        pl.col("remaining").alias("quantity"),
    )
    holds = [fit(of_orders, {OWNER: pl.Int64(), **DOCUMENT_HOLDS.columns})]
    if plan.reduced_by == AT_BOOKING:
        holds.append(_bookings(pl.concat([booked, _unbooked(shipped, booked_links)]), orders, plan, as_of_ms))
    else:
        holds.append(_bookings(shipped.filter(~pl.col("whole")), orders, plan, as_of_ms))
        holds.append(_sales(booked, lines, orders))
    return JoinedDocuments(
        pl.concat(holds).sort(OWNER, "part", "sku", maintain_order=True),
        _due(orders, lines, is_documented, plan, as_of_ms),
        lines,
        pl.concat([booked_links, shipped_links]),
    )


def _needs(sales_documents: pl.DataFrame, orders: pl.DataFrame, plan: StockPlan, as_of_ms: Millis) -> pl.DataFrame:
    """Sum what orders need, by order, sku and location; a cancelled or finished order needs nothing."""
    zero = [pl.col(name).fill_null(0) for name in ("quantity", "cancelled_quantity", "returned_quantity")]
    lines = (
        sales_documents.filter((pl.col("part") == LINE) & pl.col("sku").is_not_null())
        .with_columns(zero[0].alias("ordered"), (zero[0] - zero[1]).clip(0).alias("need"), zero[2].alias("returned"))
        .group_by(_KEY)
        .agg(pl.col("ordered", "need", "returned").sum())
    )
    expires = pl.col("at") // 1000 + (plan.reservation_s or 0) * 1000 <= as_of_ms
    head = orders.select(
        OWNER,
        pl.col("sales_channel").alias("channel"),
        "market",
        "at",
        "child",
        pl.col("status").is_in(DONE_ORDER).fill_null(False).alias("done"),
        (expires.fill_null(False) if plan.reservation_s is not None else pl.lit(False)).alias("expired"),
    )
    lines = lines.join(head, on=OWNER, how="inner").with_columns(
        pl.when(pl.col("done")).then(0).otherwise(pl.col("need")).alias("need")
    )
    # older orders first; the order of filling is part of the result, so it is the same everywhere
    return lines.sort(pl.col("at").fill_null(0), "child", "sku", pl.col("location").fill_null(""))


def _allocated(
    sales_documents: pl.DataFrame,
    orders: pl.DataFrame,
    lines: pl.DataFrame,
    head_part: int,
    line_part: int,
    documents: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """List quantities of documents or shipments, with possible orders of each quantity, and named orders.

    Returns (allocated: owner, sku, location, quantity, targets (order owners), position, ...; links: owner, order).
    """
    heads = sales_documents.filter(pl.col("part") == head_part)
    if not heads.height:
        return _NOTHING_ALLOCATED, _NO_LINKS
    heads = heads.filter(pl.col("status").ne_missing("cancelled"))
    heads = heads.with_columns(pl.col("status").is_in(GONE_SHIPMENT).fill_null(False).alias("gone"))
    if head_part == SHIPMENT:
        heads = heads.filter("gone")
    of_head = targets_of(heads, orders, "order_ref", documents, sales_documents)
    some = sales_documents.filter((pl.col("part") == line_part) & pl.col("sku").is_not_null())
    some = some.join(heads.select(OWNER, *(pl.col(name).alias(f"h_{name}") for name in _OF_HEAD)), on=OWNER)
    own = some.filter(pl.col("order_ref").is_not_null()) if head_part == DOCUMENT else some.clear()
    own = own.with_columns(pl.col("h_order_system").alias("order_system"), pl.lit(None, pl.String).alias("match_key"))
    own_ref = targets_of(
        own.select(OWNER, "order_ref", "match_key", *WHERE).unique(), orders, "order_ref", None, sales_documents
    )
    key = [OWNER, "order_ref"]
    by_line = own_ref.group_by(key, maintain_order=True).agg(pl.col("order").unique().sort().alias("l_order"))
    by_head = of_head.group_by(OWNER, maintain_order=True).agg(pl.col("order").unique().sort().alias("h_order"))
    if head_part != DOCUMENT:
        some = some.with_columns(pl.lit(None, pl.String).alias("order_ref"))
    some = some.join(by_head, on=OWNER, how="left").join(by_line, on=key, how="left", nulls_equal=False)
    named = pl.when(pl.col("order_ref").is_null()).then(pl.col("h_order")).otherwise(pl.col("l_order"))
    some = some.with_columns(
        named.fill_null(pl.lit([], pl.List(pl.Int64))).alias("targets"),
        pl.coalesce("location", "h_location").alias("location"),
    )
    some = _latest_position(some).with_columns(
        pl.coalesce(pl.col("h_at") // 1000, _larger(pl.col("ts_ms"), pl.col("h_ts_ms"))).alias("since_ms"),
        pl.col("h_status").is_in(DONE_DOCUMENT).fill_null(False).alias("done"),
    )
    allocated = (
        some.with_columns(pl.col("quantity").fill_null(0).clip(0))
        .sort(*_ranked_position(), nulls_last=True)
        .group_by(OWNER, "sku", "location", "targets", maintain_order=True)
        .agg(
            pl.col("quantity").sum(),
            pl.col("since_ms").max(),
            *(pl.col(name).last() for name in POSITION),
            pl.col("h_system").first().alias("system"),
            pl.col("done").first(),
        )
        .with_columns(pl.lit(False).alias("whole"))
    )
    if head_part == SHIPMENT:
        allocated = pl.concat([allocated, _whole_parcels(heads, sales_documents, by_head).select(allocated.columns)])
    allocated = allocated.filter((pl.col("quantity") > 0) | pl.col("whole"))
    allocated = allocated.sort(pl.col("targets").list.len(), OWNER, "sku", pl.col("location").fill_null(""), "targets")
    links = pl.concat([of_head.select(OWNER, "order"), own_ref.select(OWNER, "order")]).unique(maintain_order=True)
    return allocated.select(_NOTHING_ALLOCATED.columns), links


_OF_HEAD = ("system", "status", "at", "ts_ms", "location", "order_system", *POSITION)
_NO_LINKS = pl.DataFrame(schema={OWNER: pl.Int64(), "order": pl.Int64()})
_NOTHING_ALLOCATED = pl.DataFrame(
    schema={
        OWNER: pl.Int64(),
        "sku": pl.String(),
        "location": pl.String(),
        "quantity": pl.Int64(),
        "targets": pl.List(pl.Int64()),
        "since_ms": pl.Int64(),
        **dict.fromkeys(POSITION, pl.Int64()),
        "system": pl.String(),
        "done": pl.Boolean(),
        "whole": pl.Boolean(),
    }
)


def _latest_position(some: pl.DataFrame) -> pl.DataFrame:
    """Take the later position of line and document; an unknown part makes the result unknown."""
    unknown = pl.any_horizontal(pl.col(f"{pre}{name}").is_null() for pre in ("", "h_") for name in POSITION)
    later = pl.lit(False)
    for name in reversed(POSITION):
        own, head = pl.col(name), pl.col(f"h_{name}")
        later = (head > own) | ((head == own) & later)
    return some.with_columns(
        pl.when(unknown).then(None).when(later).then(pl.col(f"h_{name}")).otherwise(pl.col(name)).alias(name)
        for name in POSITION
    )


def _ranked_position() -> list[str]:
    return list(POSITION)


def _whole_parcels(heads: pl.DataFrame, sales_documents: pl.DataFrame, by_head: pl.DataFrame) -> pl.DataFrame:
    """Fill parcels without lines: with everything that their orders need."""
    with_lines = sales_documents.filter(pl.col("part") == SHIPMENT_LINE)[OWNER].unique().implode()
    bare = heads.filter(~pl.col(OWNER).is_in(with_lines)).join(by_head, on=OWNER).rename({"h_order": "targets"})
    return fit(
        bare.with_columns(
            pl.lit(0, pl.Int64).alias("quantity"), pl.lit(True).alias("whole"), pl.lit(False).alias("done")
        ),
        dict(_NOTHING_ALLOCATED.schema),
    )


def _fill(
    lines: pl.DataFrame, allocated: pl.DataFrame, wholes: bool = False
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Allocate quantities to lines; returns the allocated quantity, by line."""
    got = np.zeros(lines.height, dtype=np.int64)
    if not allocated.height or not lines.height:
        return got
    need = lines["need"].to_numpy()
    if wholes and allocated["whole"].any():
        whole = allocated.filter("whole")["targets"].explode(empty_as_null=False).unique().implode()
        got[lines[OWNER].is_in(whole).to_numpy()] = need[lines[OWNER].is_in(whole).to_numpy()]
        allocated = allocated.filter(~pl.col("whole"))
    allocated = allocated.with_row_index("gift").filter(pl.col("targets").list.len() > 0)
    if not allocated.height:
        return got
    pairs = (
        allocated.select("gift", "sku", "quantity", "targets")
        .explode("targets", empty_as_null=False)
        .rename({"targets": OWNER})
    )
    at = lines.select(OWNER, "sku").with_row_index("line")
    pairs = pairs.join(at, on=[OWNER, "sku"], how="inner").sort("gift", "line")
    left = np.zeros(int(allocated["gift"].max()) + 1, dtype=np.int64)  # type: ignore[arg-type]
    left[allocated["gift"].to_numpy()] = allocated["quantity"].to_numpy()
    _pour(pairs["gift"].to_numpy().astype(np.int64), pairs["line"].to_numpy().astype(np.int64), left, need, got)
    return got


def _unbooked(shipped: pl.DataFrame, booked_links: pl.DataFrame) -> pl.DataFrame:
    """Choose shipments of orders without a booking: they count for a grace, because on hand shows them late."""
    gone = shipped.filter((pl.col("targets").list.len() > 0) & ~pl.col("whole"))
    if not gone.height or not booked_links.height:
        return gone
    booked = booked_links["order"].unique().implode()
    gone = gone.with_row_index("gift")
    each = gone.select("gift", "targets").explode("targets", empty_as_null=False)
    known = each.filter(pl.col("targets").is_in(booked))["gift"].unique().implode()
    return gone.filter(~pl.col("gift").is_in(known)).drop("gift")


def _bookings(allocated: pl.DataFrame, orders: pl.DataFrame, plan: StockPlan, as_of_ms: Millis) -> pl.DataFrame:
    """Turn booked or shipped quantities into bookings that on hand may not show yet."""
    due = pl.col("since_ms").fill_null(0) + plan.grace_s * 1000
    fresh = allocated.with_columns(due.alias("due_ms")).filter(pl.col("due_ms") > as_of_ms)
    return fit(
        _with_route(fresh, orders).with_columns(pl.lit(BOOKING, pl.Int64).alias("part")),
        {OWNER: pl.Int64(), **DOCUMENT_HOLDS.columns},
    )


def _sales(booked: pl.DataFrame, lines: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """Make holds of documents without orders, until shipped; where a document names an order, the order holds."""
    own = booked.filter((pl.col("targets").list.len() == 0) & ~pl.col("done"))
    return fit(
        _with_route(own, orders).with_columns(pl.lit(HOLD, pl.Int64).alias("part")),
        {OWNER: pl.Int64(), **DOCUMENT_HOLDS.columns},
    )


def _with_route(allocated: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """Take channel and market from the first possible order; without an order, any stock may serve."""
    first = orders.select(pl.col(OWNER).alias("first"), pl.col("sales_channel").alias("channel"), "market")
    some = allocated.with_columns(pl.col("targets").list.first().alias("first")).join(
        first, on="first", how="left", maintain_order="left"
    )
    return some.with_columns(pl.col("channel").fill_null(""), pl.col("market").fill_null(""))


def _due(
    orders: pl.DataFrame, lines: pl.DataFrame, is_documented: pl.Series, plan: StockPlan, as_of_ms: Millis
) -> pl.DataFrame:
    """Compute when the clock next changes an open order: the order expires, or is stuck."""
    after = [seconds for seconds in (plan.reservation_s, plan.stuck_s) if seconds is not None]
    waiting = orders.filter(
        ~pl.col("status").is_in(DONE_ORDER).fill_null(False)
        & ~pl.col(OWNER).is_in(is_documented)
        & pl.col("at").is_not_null()
    )
    if not after:
        return pl.DataFrame(schema={OWNER: pl.Int64(), "due_ms": pl.Int64()})
    soon = [waiting.select(OWNER, (pl.col("at") // 1000 + seconds * 1000).alias("due_ms")) for seconds in after]
    return pl.concat(soon).filter(pl.col("due_ms") > as_of_ms).group_by(OWNER).agg(pl.col("due_ms").min())


def _larger(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Take the larger of two numbers that are never null."""
    return pl.when(one >= other).then(one).otherwise(other)


@numba.njit(nogil=True, cache=True)
def _pour(gift: Int64s, line: Int64s, left: Int64s, need: Int64s, got: Int64s) -> None:
    """Give quantities of gifts to lines in need, in order.

    gift, line  (n,)  int64  indices of a gift and of a line that may get from the gift
    left        (g,)  int64  by gift: the remaining quantity; written
    need        (l,)  int64  by line: the needed quantity, in the unit of `left`
    got         (l,)  int64  by line: the quantity that it got; written
    """
    for row in range(len(gift)):
        take = min(left[gift[row]], need[line[row]] - got[line[row]])
        if take > 0:
            left[gift[row]] -= take
            got[line[row]] += take
