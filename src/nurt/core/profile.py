"""Recompute profiles from their accounts: nothing is kept but the result, so a split is as easy as a merge.

Hot path. One frame of many profiles, shaped as `schemas/nurt.profiles-value`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.choice import choose
from nurt.core.context import KIND_END, LINK_END, RULES, FoldContext
from nurt.core.contributions import CATEGORY, CODE, HEAD_PART, PRODUCT
from nurt.core.figures import invoice_figures, last_interaction, most_bought, next_change, order_figures
from nurt.core.tables import OWNER

FIELDS = (
    *("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card"),
    *("birth_date", "gender", "language", "country", "market"),
)
VERIFIED_BY = {"email": "email_verified", "phone": "phone_verified"}
IDENTIFIERS = ("email", "phone", "tax_id", "loyalty_card")
ADDRESS = ("kind", "name", "company", "street", "city", "region", "postcode", "country", "phone")

Int64s = npt.NDArray[np.int64]


def live_profiles(
    profile_ids: Sequence[bytes],
    profile_of: Int64s,
    slots: pl.DataFrame,
    sums: pl.DataFrame,
    as_of: int,
    context: FoldContext,
) -> tuple[pl.DataFrame, Mapping[int, int]]:
    """Compute profiles from the values of their accounts.

    Args:
        profile_ids: ids of the profiles.
        profile_of: by account: index of its profile.
        slots: ACCOUNT_SLOTS and owner (an account).
        sums: SUMS and owner (an account).
        as_of: the day that windows end with.
        context: rules and priorities.

    Returns:
        A frame with a row for every profile, in order, and by index the next day that the clock alone changes it.
    """
    owners = len(profile_ids)
    slots = slots.with_columns(pl.Series("account", slots[OWNER]), pl.Series(OWNER, profile_of[slots[OWNER]]))
    sums = sums.with_columns(pl.Series(OWNER, profile_of[sums[OWNER]]))
    heads = slots.filter(pl.col("part") == HEAD_PART)
    realms = heads.unique(OWNER, keep="any").select(
        OWNER, pl.col("system").replace_strict(dict(context.realm), default="default").alias("realm")
    )
    frame = pl.DataFrame(
        {
            OWNER: np.arange(owners),
            "id": [profile.hex() for profile in profile_ids],
            "revision": np.zeros(owners, dtype=np.int64),
            "state": ["live"] * owners,
            "as_of": np.full(owners, as_of),
        }
    ).with_columns(pl.lit(None, pl.String).alias("redirect_to"))
    people = slots.filter(pl.col("part").is_in([CODE["customer"], CODE["order"]]))
    parts = [realms, *_chosen(people, owners, context), _nested("identifiers", _identifiers(people))]
    parts += [
        _nested("addresses", _addresses(slots)),
        _nested("accounts", _accounts(heads)),
        _nested("orders", order_figures(sums, as_of)),
        _nested("products", most_bought(sums, PRODUCT, "sku")),
        _nested("categories", most_bought(sums, CATEGORY, "category")),
        _nested("invoices", invoice_figures(sums, as_of)),
        _nested("consents", _consents(slots)),
        last_interaction(sums),
    ]
    for part in parts:
        frame = frame.join(part, on=OWNER, how="left", maintain_order="left")
    due = dict(next_change(sums, as_of).iter_rows())
    return frame.with_columns(pl.col("realm").fill_null("default")), due


def _chosen(people: pl.DataFrame, owners: int, context: FoldContext) -> list[pl.DataFrame]:
    people = people.with_columns(
        pl.from_epoch(pl.col("birth_date").cast(pl.Int32), time_unit="d").dt.to_string("%Y-%m-%d").alias("birth_date")
    )
    owner = people[OWNER].to_numpy()
    priority = people.select(
        pl.col("system").replace_strict(dict(context.priority), default=LAST_PRIORITY, return_dtype=pl.Int64)
    )[:, 0].to_numpy()
    newest = -people.select(pl.coalesce("updated_at", pl.col("ts_ms") * 1000, pl.lit(0)))[:, 0].to_numpy()
    row = people.select(pl.col("child").bin.encode("hex"))[:, 0]
    chosen = []
    for name in FIELDS:
        values = people[name]
        rules = list(context.rules.get(name, RULES))
        if name not in VERIFIED_BY:
            rules = [rule for rule in rules if rule != "verified_first"]
        keys = {"source_priority": priority, "newest": newest}
        if "verified_first" in rules:
            keys["verified_first"] = 1 - people[VERIFIED_BY[name]].fill_null(False).cast(pl.Int64).to_numpy()
        if "most_frequent" in rules:
            keys["most_frequent"] = -people.select(pl.len().over(OWNER, name).cast(pl.Int64))[:, 0].to_numpy()
        stacked = np.stack([keys[rule] for rule in rules]) if rules else np.empty((0, people.height), np.int64)
        won = choose(owner, values, np.ascontiguousarray(stacked), rules, people["child"], owners)
        chosen.append(
            pl.DataFrame(
                {
                    "value": values.gather(won.rows),
                    "system": people["system"].gather(won.rows),
                    "row": row.gather(won.rows),
                    "position": people["position"].gather(won.rows),
                    "rule": pl.Series(won.rules, dtype=pl.String),
                }
            ).select(pl.Series(OWNER, won.owners), pl.struct(pl.all()).alias(name))
        )
    return chosen


LAST_PRIORITY = 1_000_000
"""Priority of a system that the mapping gives none: after all others."""


def _identifiers(people: pl.DataFrame) -> pl.DataFrame:
    known = [
        people.select(OWNER, pl.lit(kind).alias("kind"), pl.col(kind).alias("value")).drop_nulls("value")
        for kind in IDENTIFIERS
    ]
    if people["identifiers"].null_count() < people.height:
        pairs = (
            people.select(OWNER, pl.col("identifiers").str.split(LINK_END))
            .explode("identifiers", empty_as_null=True)
            .drop_nulls()
        )
        cut = pl.col("identifiers").str.split_exact(KIND_END, 1).struct.rename_fields(["kind", "value"])
        known.append(pairs.select(OWNER, cut.alias("cut")).unnest("cut"))
    return pl.concat(known).unique().sort(OWNER, "kind", "value")


def _addresses(slots: pl.DataFrame) -> pl.DataFrame:
    held = slots.filter(pl.col("part") == CODE["address"])
    return held.select(OWNER, "system", pl.col("child").bin.encode("hex").alias("row"), *ADDRESS).sort(OWNER, "row")


def _accounts(heads: pl.DataFrame) -> pl.DataFrame:
    account = pl.col("child").bin.encode("hex").alias("account")
    return heads.select(OWNER, account, "system", "entity", "key").sort(OWNER, "account")


def _consents(slots: pl.DataFrame) -> pl.DataFrame:
    """Keep the latest consent of each purpose: by time, an unknown time first, then by row."""
    held = slots.filter((pl.col("part") == CODE["consent"]) & pl.col("purpose").is_not_null())
    rows = held.select(
        OWNER, "purpose", "granted", "at", "system", pl.col("child").bin.encode("hex").alias("row")
    ).sort(OWNER, "purpose", "at", "row", nulls_last=False)
    return rows.unique(subset=[OWNER, "purpose"], keep="last", maintain_order=True)


def _nested(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Gather rows, sorted by owner, into a list of structs an owner."""
    inner = pl.struct(pl.all().exclude(OWNER)).alias(name)
    return rows.select(OWNER, inner).group_by(OWNER, maintain_order=True).agg(name)
