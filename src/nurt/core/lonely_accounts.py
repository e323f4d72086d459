"""Who shares nothing with anybody is a profile of its own: whole columns of new accounts, without resolving.

Hot path. Most accounts are new once, and alone then; what is written of them equals what `identity.difference` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.columns import encode_ids
from nurt.core.context import LINK_END
from nurt.core.identity import COMPONENTS, HELD, MEMBER, MEMBERS, MEMBERSHIPS
from nurt.core.ids import Ids
from nurt.core.tables import OWNER


@dataclass(frozen=True, slots=True)
class Links:
    """Links of some accounts, one a row.

    Attributes:
        account: index of its account.
        code: index into `ids`.
        ids: ids of the distinct identifiers.
    """

    account: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    ids: list[bytes]


def list_links(realm: str, texts: pl.Series, ids: Ids) -> Links:
    """Cut accounts' texts of links (null: none) into identifiers."""
    rows = pl.DataFrame({"account": np.arange(len(texts)), "link": texts}).filter(pl.col("link") != "")
    rows = rows.with_columns(pl.col("link").str.split(LINK_END)).explode("link", empty_as_null=False)
    if not rows.height:
        return Links(np.empty(0, np.int64), np.empty(0, np.int64), [])
    codes, known = encode_ids(ids.of(identifier_texts(realm, rows["link"])))
    return Links(rows["account"].to_numpy(), codes, known)


def identifier_texts(realm: str, links: pl.Series) -> pl.Series:
    """Write the texts that identifiers' ids are hashed from."""
    return pl.DataFrame({"link": links}).select(pl.lit(f"identifier\x1f{realm}\x1f") + pl.col("link"))[:, 0]


def find_sharing(links: Links, stored: Sequence[bytes | None], accounts: int) -> npt.NDArray[np.bool_]:
    """Say by account whether one of its links is held already, or twice in the batch.

    Args:
        links: of the accounts.
        stored: by identifier: what is stored of it.
        accounts: how many there are.
    """
    shared = np.fromiter((value is not None for value in stored), dtype=np.bool_, count=len(stored))
    shared |= np.bincount(links.code, minlength=len(stored)) > 1
    sharing = np.zeros(accounts, dtype=np.bool_)
    sharing[links.account[shared[links.code]]] = True
    return sharing


@dataclass(frozen=True, slots=True)
class Lonely:
    """What is stored of accounts that are alone, by account: its profile's id, and the packed values."""

    profiles: list[bytes]
    memberships: list[bytes | None]
    components: list[bytes | None]
    members: list[bytes | None]


def settle_lonely(accounts: Sequence[bytes], links: pl.Series, ids: Ids) -> Lonely:
    """Make each account a component and a profile of its own."""
    account = pl.Series("account", accounts, dtype=pl.Binary)
    frame = pl.DataFrame({OWNER: np.arange(len(accounts)), "account": account, "links": links})
    profile = ids.of(frame.select(pl.lit("profile\x1f") + pl.col("account").bin.encode("hex"))[:, 0])
    frame = frame.with_columns(profile.alias("profile"), account.alias("component"), account.alias("id"))
    own = frame.with_columns(pl.lit(MEMBER, pl.Int64).alias("part"))
    held = frame.select(OWNER, "id", pl.lit(HELD, pl.Int64).alias("part"))
    count = len(accounts)
    return Lonely(
        profile.to_list(), MEMBERSHIPS.pack(own, count), COMPONENTS.pack(frame, count), MEMBERS.pack(held, count)
    )
