"""Fold contributions into accounts: slots for the few, sums for the many.

Hot path. The sums are those of all children: a child's old share is taken away and its new one added, so whatever
was counted can be uncounted. A child's share lies beside the account under (account, child); an account with ten
million orders never loads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.columns import distinct, newest, pair_keys
from nurt.core.context import KIND_END, LINK_END
from nurt.core.contributions import ACCOUNT_SLOTS, CODE, HEAD_PART, SUMS, fit
from nurt.core.slots import fold_slots
from nurt.core.sums import PAIR, fold_sums
from nurt.core.tables import OWNER

_KINDS = ("email", "loyalty_card", "phone", "tax_id")


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
    said_last = pl.Series(heads["stamp"].to_numpy()[of]) == buckets["stamp"]
    kept = buckets.with_columns(pl.Series(PAIR, of)).filter(said_last)
    return Shares(heads, kept.select(*SUMS.columns, PAIR))


@dataclass(frozen=True, slots=True)
class AccountsFolded:
    """Accounts after a fold.

    Attributes:
        slots: values of ACCOUNT_SLOTS by owner; None for an account that is no more.
        sums: values of SUMS by owner.
        shares: values of SUMS by pair; None for a child that is gone.
        system: by owner; it tells the realm.
        links: text of links by owner; null for an account that is no more.
        moved_to: owner -> id of the account that its key was changed into.
    """

    slots: list[bytes | None]
    sums: list[bytes | None]
    shares: list[bytes | None]
    system: pl.Series
    links: pl.Series
    moved_to: dict[int, bytes]


def fold_accounts(
    said_slots: pl.DataFrame,
    shares: Shares,
    stored_slots: Sequence[bytes | None],
    stored_sums: Sequence[bytes | None],
    stored_shares: Sequence[bytes | None],
) -> AccountsFolded:
    """Fold slots and shares into accounts.

    Args:
        said_slots: TO_ACCOUNT_SLOT columns and owner.
        shares: of this batch, newest by pair.
        stored_slots, stored_sums: values by owner, as read.
        stored_shares: values by pair, as read.
    """
    owners = len(stored_slots)
    names = pl.concat([frame.select(OWNER, "to", *_NAMES) for frame in (said_slots, shares.heads)])
    system = _by_owner(names.drop_nulls("account_system"), "account_system", owners)
    known = np.fromiter((value is not None for value in stored_slots), dtype=np.bool_, count=owners)
    incoming = said_slots.select(_HEAD_COLUMNS)
    if not known.all():
        incoming = pl.concat([_new_heads(names, known), incoming])
    folded = fold_slots(ACCOUNT_SLOTS, stored_slots, incoming, mark=HEAD_PART)
    sums = fold_sums(shares.heads, shares.buckets, stored_sums, stored_shares)
    alive = folded.held | np.fromiter((value is not None for value in sums.sums), dtype=np.bool_, count=owners)
    slots = [value if lives else None for value, lives in zip(folded.values, alive.tolist(), strict=True)]
    moved = said_slots.filter(pl.col("gone") & pl.col("moved_to").is_not_null())
    moved_to = dict(moved.select(OWNER, "moved_to").iter_rows())
    return AccountsFolded(slots, sums.sums, sums.shares, system, _links(slots, alive), moved_to)


_NAMES = ("account_system", "account_entity", "account_key")
_HEAD_COLUMNS = (OWNER, "child", "stamp", "part", "gone", "slot")


def _by_owner(frame: pl.DataFrame, name: str, owners: int) -> pl.Series:
    """Put the first value of each owner in its place."""
    found = np.full(owners, frame.height, dtype=np.int64)
    owner = frame[OWNER].to_numpy()
    np.minimum.at(found, owner, np.arange(frame.height))
    padded = pl.concat([frame[name], pl.Series(name, [None], dtype=frame[name].dtype)])
    return padded.gather(found)


def _new_heads(names: pl.DataFrame, known: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """Make the heads of accounts that are new: what their ids were made of.

    Who only says that it is gone knows the system, which tells the realm, and not the rest.
    """
    spoken = names.filter(pl.Series(~known[names[OWNER].to_numpy()]) & pl.col("account_entity").is_not_null())
    heads = spoken.unique(OWNER, keep="first", maintain_order=True).select(
        OWNER,
        pl.lit(HEAD_PART, pl.Int64).alias("part"),
        pl.col("to").alias("child"),
        pl.lit(0, pl.Int64).alias("stamp"),
        pl.col("account_system").alias("system"),
        pl.col("account_entity").alias("entity"),
        pl.col("account_key").alias("key"),
        pl.lit(False).alias("gone"),
    )
    return heads.with_columns(ACCOUNT_SLOTS.pack_rows(heads).alias("slot")).select(_HEAD_COLUMNS)


def _links(slots: Sequence[bytes | None], alive: npt.NDArray[np.bool_]) -> pl.Series:
    """Write each account's links as text: `kind U+001F value`, sorted, joined by U+001E; null when it is no more."""
    rows = ACCOUNT_SLOTS.unpack(slots, ("part", *_KINDS, "identifiers"))
    rows = rows.filter(pl.col("part").is_in([CODE["customer"], CODE["order"]]))
    texts = rows.select(
        pl.concat_str(
            [
                *[pl.concat_str(pl.lit(kind), pl.col(kind), separator=KIND_END) for kind in _KINDS],
                pl.col("identifiers"),
            ],
            separator=LINK_END,
            ignore_nulls=True,
        )
    )[:, 0]
    place = np.where(alive, rows.height, rows.height + 1)
    place[rows[OWNER].to_numpy()] = np.arange(rows.height)
    return pl.concat([texts, pl.Series(["", None], dtype=pl.String)]).gather(place).alias("links")
