"""Fold contributions into accounts: slots for the few, sums for the many.

Hot path. The sums are those of all children: a child's old share is taken away and its new one added, so whatever
was counted can be uncounted. A child's share lies beside the account under (account, child); an account with ten
million orders never loads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.columns import distinct, newest, pair_keys
from nurt.core.context import KIND_END, LINK_END
from nurt.core.contributions import (
    ACCOUNT_SLOTS,
    BUCKET_KEY,
    BUCKET_SUMS,
    CHILDREN,
    HEAD_PART,
    STAMP,
    SUMS,
    fit,
)
from nurt.core.slots import fold_slots
from nurt.core.tables import OWNER

PAIR = "pair"
"""Column: an index into the (account, child) pairs of a batch."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The newest share of each (account, child) pair of a batch.

    Attributes:
        heads: owner, child, stamp, gone and the account's names; row i is pair i.
        buckets: SUMS columns and `pair`.
    """

    heads: pl.DataFrame
    buckets: pl.DataFrame


def newest_shares(shares: pl.DataFrame, buckets: pl.DataFrame) -> Shares:
    """Keep the newest share of each (owner, child), with the buckets that were said with it.

    Args:
        shares: TO_ACCOUNT_SHARE columns and owner.
        buckets: BUCKETS columns and owner.
    """
    if not shares.height:
        return Shares(shares, fit(buckets, SUMS.columns).with_columns(pl.lit(None, pl.Int64).alias(PAIR)))
    keys = np.concatenate(
        (pair_keys(shares[OWNER].to_numpy(), shares["child"]), pair_keys(buckets[OWNER].to_numpy(), buckets["child"]))
    )
    codes, firsts = distinct(keys)
    pairs = codes[: shares.height]
    winners = newest(pairs, shares["stamp"].to_numpy(), int((firsts < shares.height).sum()))
    heads = shares[winners]
    of = codes[shares.height :]
    kept = buckets.with_columns(pl.Series(PAIR, of)).filter(
        pl.Series(heads["stamp"].to_numpy()[of]) == buckets["stamp"]
    )
    return Shares(heads, kept.select(*SUMS.columns, PAIR))


@dataclass(frozen=True, slots=True)
class AccountsFolded:
    """Accounts after a fold.

    Attributes:
        slots: ACCOUNT_SLOTS and owner, sorted by owner; no rows for an account that is no more.
        sums: SUMS and owner, sorted by owner.
        shares: SUMS and `pair` as owner: what to store for every pair; none for a pair that is gone.
        system: by owner; it tells the realm.
        links: text of links by owner; null for an account that is no more.
        moved_to: owner -> id of the account that its key was changed into.
    """

    slots: pl.DataFrame
    sums: pl.DataFrame
    shares: pl.DataFrame
    system: pl.Series
    links: pl.Series
    moved_to: dict[int, bytes]


def fold_accounts(
    said_slots: pl.DataFrame,
    shares: Shares,
    stored_slots: pl.DataFrame,
    stored_sums: pl.DataFrame,
    stored_shares: pl.DataFrame,
    owners: int,
) -> AccountsFolded:
    """Fold slots and shares into accounts.

    Args:
        said_slots: TO_ACCOUNT_SLOT columns and owner.
        shares: of this batch, newest by pair.
        stored_slots: ACCOUNT_SLOTS and owner, as read.
        stored_sums: SUMS and owner, as read.
        stored_shares: SUMS and owner (a pair), as read.
        owners: how many accounts there are.
    """
    is_head = stored_slots["part"] == HEAD_PART
    slots = fold_slots(stored_slots.filter(~is_head), said_slots)
    sums, kept_shares = _fold_sums(shares, stored_sums, stored_shares)
    alive = np.zeros(owners, dtype=np.bool_)
    alive[slots[OWNER].to_numpy()] = True
    alive[sums[OWNER].to_numpy()] = True
    heads = _heads(said_slots, shares.heads, stored_slots.filter(is_head))
    system = pl.DataFrame({OWNER: range(owners)}).join(heads.select(OWNER, "system"), on=OWNER, how="left")["system"]
    state = pl.concat([heads.filter(pl.Series(alive[heads[OWNER].to_numpy()])), slots]).sort(OWNER, maintain_order=True)
    moved = said_slots.filter(pl.col("gone") & pl.col("moved_to").is_not_null())
    moved_to = dict(moved.select(OWNER, "moved_to").iter_rows())
    return AccountsFolded(state, sums, kept_shares, system, _links(slots, alive), moved_to)


def _fold_sums(
    shares: Shares, stored_sums: pl.DataFrame, stored_shares: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    heads = shares.heads.with_row_index(PAIR).with_columns(pl.col(PAIR).cast(pl.Int64))
    known = stored_shares.filter(pl.col("metric") == STAMP).select(
        pl.col(OWNER).alias(PAIR), pl.col("count").alias("was")
    )
    fresh = heads.join(known, on=PAIR, how="left", maintain_order="left")
    fresh = fresh.filter((pl.col("stamp") >= pl.col("was")).fill_null(True)).select(PAIR, OWNER, "stamp", "gone")
    if not fresh.height:
        return stored_sums, stored_shares
    stays = fresh.filter(~pl.col("gone"))
    new = shares.buckets.join(stays.select(PAIR, OWNER), on=PAIR)
    ones = fit(
        stays.with_columns(pl.lit(CHILDREN, pl.Int64).alias("metric"), pl.lit(1, pl.Int64).alias("count")),
        {PAIR: pl.Int64(), OWNER: pl.Int64(), **SUMS.columns},
    ).with_columns(*_blank_key())
    new = pl.concat([ones, new.select(ones.columns)])
    old = (
        stored_shares.filter(pl.col("metric") != STAMP)
        .rename({OWNER: PAIR})
        .join(fresh.select(PAIR, OWNER), on=PAIR)
        .with_columns(-pl.col(name) for name in BUCKET_SUMS)
    )
    columns = [OWNER, *SUMS.columns]
    sums = (
        pl.concat([stored_sums, new.select(columns), old.select(columns)])
        .group_by(OWNER, *BUCKET_KEY, maintain_order=True)
        .agg(pl.col(name).sum() for name in BUCKET_SUMS)
        .filter(pl.any_horizontal(pl.col(name) != 0 for name in BUCKET_SUMS))
        .sort(OWNER, maintain_order=True)
    )
    marks = fit(
        stays.with_columns(pl.lit(STAMP, pl.Int64).alias("metric"), pl.col("stamp").alias("count")), dict(new.schema)
    ).with_columns(*_blank_key())
    unchanged = stored_shares.rename({OWNER: PAIR}).join(fresh.select(PAIR), on=PAIR, how="anti")
    kept = pl.concat([marks.select(PAIR, *SUMS.columns), new.select(PAIR, *SUMS.columns), unchanged])
    return sums.select(columns), kept.sort(PAIR, maintain_order=True).rename({PAIR: OWNER})


def _blank_key() -> list[pl.Expr]:
    return [pl.lit("").alias("k1"), pl.lit("").alias("k2"), *[pl.col(name).fill_null(0) for name in BUCKET_SUMS]]


def _heads(said_slots: pl.DataFrame, share_heads: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """List each account's head: what its id was made of. The first that knows it stays, for they are all alike.

    Who only says that it is gone knows the system, which tells the realm, and not the rest.
    """
    names = {"account_system": "system", "account_entity": "entity", "account_key": "key", "to": "child"}
    spoken = pl.concat([frame.select(OWNER, *names).rename(names) for frame in (said_slots, share_heads)])
    columns = {OWNER: pl.Int64(), **ACCOUNT_SLOTS.columns}
    spoken = spoken.sort(pl.col("entity").is_null(), maintain_order=True)
    both = pl.concat([stored.select(columns.keys()), fit(spoken, columns)])
    return both.with_columns(pl.lit(HEAD_PART, pl.Int64).alias("part"), pl.lit(0, pl.Int64).alias("stamp")).unique(
        subset=OWNER, keep="first", maintain_order=True
    )


def _links(slots: pl.DataFrame, alive: npt.NDArray[np.bool_]) -> pl.Series:
    """Write each account's links as text: `kind U+001F value`, sorted, joined by U+001E; null when it is no more."""
    kinds = ("email", "loyalty_card", "phone", "tax_id")
    held = slots.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in (*kinds, "identifiers")))
    held = held.filter(~pl.col("part").is_in([ADDRESS_CODE]))
    texts = held.select(
        OWNER,
        pl.concat_str(
            [
                *[pl.concat_str(pl.lit(kind), pl.col(kind), separator=KIND_END) for kind in kinds],
                pl.col("identifiers"),
            ],
            separator=LINK_END,
            ignore_nulls=True,
        ).alias("links"),
    )
    out: list[str | None] = ["" if one else None for one in alive.tolist()]
    for owner, links in texts.iter_rows():
        out[owner] = links
    return pl.Series("links", out, dtype=pl.String)


ADDRESS_CODE = 2
"""An address has a phone too, but it is no identifier of the customer."""
