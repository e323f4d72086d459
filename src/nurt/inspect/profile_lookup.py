"""Find a stored profile by anything that points at it, and show why its accounts are one customer.

Off the hot path, reads only, and from any process: the folds go on meanwhile, so the results of two reads may lie a
micro-batch apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from nurt.adapters.redis.client import Redis
from nurt.contracts.profile_reader import read_profile
from nurt.model.keys import Keys
from nurt.model.stored_profile import ERASED, LIVE, REDIRECT, KeptProfile
from nurt.model.units import Day
from nurt.normalise.context import KIND_END, FoldContext
from nurt.normalise.identifiers import normalise_column
from nurt.profiles.golden_record.aggregates import order_figures
from nurt.profiles.golden_record.write import IDENTIFIERS
from nurt.profiles.identity.resolve import COMPONENTS, MEMBER, MEMBER_PART, MEMBERS, MEMBERSHIPS, split_links
from nurt.rows.children.tables import ACCOUNT_RECORDS, HEAD_PART
from nurt.state.table import OWNER, Table

STATES = {LIVE: "live", REDIRECT: "redirect", ERASED: "erased"}
REDIRECTS_MAX = 1_000
"""How many redirects are followed; each merge adds one, and a circle must end."""

EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Identifier:
    """Normalised value that points at a person or firm, with its realm."""

    realm: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Link:
    """Identifier and the accounts that hold it; it makes several accounts one customer."""

    kind: str
    value: str
    accounts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AccountView:
    """View of the customer in one system, with the account's own figures (one for every currency and market)."""

    account: bytes
    system: str
    entity: str
    key: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    orders: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ProfileView:
    """View of a profile as it is stored, and why.

    Attributes:
        trail: redirects that were followed to this profile, oldest first; empty when it was found at once.
        state: live, redirect (its survivor is not there yet) or erased.
        due: the next day on which the clock changes the profile.
        content: as published; empty when erased.
        accounts: in the order of their ids; the first is the anchor: the profile has its id.
        links: every identifier of the accounts; those of several accounts first.
    """

    profile: bytes
    trail: tuple[bytes, ...]
    state: str
    revision: int
    due: date | None
    content: Mapping[str, Any]
    accounts: tuple[AccountView, ...]
    links: tuple[Link, ...]


class ProfileLookup:
    """Lookup in one deployment's state.

    Args:
        client: returns bytes.
        keys: of the deployment.
        context: of the deployment; identifiers are looked up in its realms.
    """

    def __init__(self, client: Redis, keys: Keys, context: FoldContext) -> None:
        self._client = client
        self._keys = keys
        self._context = context
        self._realms = sorted(set(context.realm.values()) | {"default"})

    def profile(self, profile: bytes) -> ProfileView | None:
        """Find a profile by its id, following redirects; None when it never existed."""
        trail: list[bytes] = []
        while True:
            kept = KeptProfile.decode(self._get(self._keys.of(b"f", [profile]))[0])
            content = read_profile(kept.body, kept.version) if kept is not None and kept.body else {}
            survivor = content.get("redirect_to")
            if survivor is None or bytes.fromhex(survivor) in trail or len(trail) == REDIRECTS_MAX:
                break
            trail.append(profile)
            profile = bytes.fromhex(survivor)
        if kept is None:
            return None
        due = date.fromordinal(EPOCH_DAY + kept.due) if kept.due >= 0 else None
        accounts = self._accounts(content, profile) if kept.state == LIVE else ()
        return ProfileView(
            profile, tuple(trail), STATES[kept.state], kept.revision, due, content, accounts, shared_links(accounts)
        )

    def profile_of_account(self, account: bytes) -> bytes | None:
        """Find the profile of an account."""
        values = self._get([key for realm in self._realms for key in self._keys.in_realm(b"m", realm, [account])])
        rows = MEMBERSHIPS.unpack(values)
        found = rows.filter(pl.col("part") == MEMBER)["profile"].to_list()
        return found[0] if found else None

    def profiles_of_key(self, system: str, entity: str, key: Sequence[str]) -> list[bytes]:
        """Find the profile of a system's native key."""
        found = self.profile_of_account(self._context.ids.one("\x1f".join((system, entity, *key))))
        return [] if found is None else [found]

    def profiles_of_identifier(self, text: str, kind: str | None = None) -> list[tuple[bytes, Identifier]]:
        """Find the profiles that an identifier points at, read as every kind (or one kind) and in every realm.

        A phone or tax id without a country is tried in the country of every system. A profile is returned once.
        """
        candidates = [
            Identifier(realm, each, value) for each, value in self.readings(text, kind) for realm in self._realms
        ]
        if not candidates:
            return []
        names = [f"identifier\x1f{one.realm}\x1f{one.kind}\x1f{one.value}" for one in candidates]
        ids = self._context.ids.of(pl.Series(names, dtype=pl.String)).to_list()
        keys = [
            key
            for one, named in zip(candidates, ids, strict=True)
            for key in self._keys.in_realm(b"d", one.realm, [named])
        ]
        found: dict[bytes, Identifier] = {}
        for one, value in zip(candidates, self._get(keys), strict=True):
            if value is not None:
                found.setdefault(value[16:32], one)
        return list(found.items())

    def readings(self, text: str, kind: str | None = None) -> list[tuple[str, str]]:
        """Return all readings of a text as an identifier: (kind, normalised value), each once."""
        kinds = [kind] if kind is not None else [*IDENTIFIERS, *self._context.identifier_rules]
        countries = pl.Series([None, *sorted(set(self._context.country.values()))], dtype=pl.String)
        texts = pl.Series([text] * len(countries), dtype=pl.String)
        return [
            (each, value)
            for each in dict.fromkeys(kinds)
            for value in dict.fromkeys(normalise_column(each, texts, countries, self._context.identifier_rules))
            if value is not None
        ]

    def _accounts(self, content: Mapping[str, Any], profile: bytes) -> tuple[AccountView, ...]:
        realm = content.get("realm", "default")
        members = _rows(MEMBERS, self._get(self._keys.in_realm(b"p", realm, [profile])))
        accounts: list[bytes] = [row["id"] for row in members if row["part"] == MEMBER_PART]
        if not accounts:
            return ()
        links = self._links_of(realm, accounts[0])
        values = self._get([*self._keys.of(b"a", accounts), *self._keys.of(b"s", accounts)])
        records = ACCOUNT_RECORDS.unpack(values[: len(accounts)])
        heads = {row[OWNER]: row for row in records.filter(pl.col("part") == HEAD_PART).iter_rows(named=True)}
        as_of = Day(content["as_of"].toordinal() - EPOCH_DAY)
        figures = order_figures(values[len(accounts) :], as_of)
        return tuple(
            AccountView(
                account,
                heads[owner]["system"] if owner in heads else "",
                (heads[owner]["entity"] or "") if owner in heads else "",
                tuple((heads[owner]["key"] or "").split("\x1f")) if owner in heads else (),
                links.get(account, ()),
                tuple(figures[owner]),
            )
            for owner, account in enumerate(accounts)
        )

    def _links_of(self, realm: str, anchor: bytes) -> dict[bytes, tuple[tuple[str, str], ...]]:
        """Read the links of every account in one account's component."""
        membership = _rows(MEMBERSHIPS, self._get(self._keys.in_realm(b"m", realm, [anchor])))
        components = [row["component"] for row in membership if row["part"] == MEMBER]
        if not components:
            return {}
        rows = _rows(COMPONENTS, self._get(self._keys.in_realm(b"g", realm, components)))
        return {row["account"]: _pairs(row["links"]) for row in rows}

    def _get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read keys of any place; a pipeline of MGETs would be refused by a Cluster, single GETs are not."""
        pipe = self._client.pipeline(transaction=False)
        for key in keys:
            pipe.get(key)
        values: list[bytes | None] = pipe.execute()
        return values


def shared_links(accounts: Iterable[AccountView]) -> tuple[Link, ...]:
    """List the identifiers of accounts, those with most accounts first."""
    holders: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for account in accounts:
        for link in account.links:
            holders[link].append(account.account)
    links = [Link(kind, value, tuple(accounts_of)) for (kind, value), accounts_of in holders.items()]
    return tuple(sorted(links, key=lambda link: (-len(link.accounts), link.kind, link.value)))


def _pairs(text: str | None) -> tuple[tuple[str, str], ...]:
    cut = (link.partition(KIND_END) for link in split_links(text or ""))
    return tuple((kind, value) for kind, _, value in cut)


def _rows(table: Table, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
    return list(table.unpack(values).iter_rows(named=True))
