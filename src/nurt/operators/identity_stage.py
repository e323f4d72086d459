"""The fourth stage: who is who. One worker owns a realm's whole identity graph.

Off the hot path where links change; on it where they do not: then one read tells each account's profile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import polars as pl

from nurt.core.context import FoldContext
from nurt.core.identity import (
    COMPONENTS,
    HEIR,
    HELD,
    MEMBER,
    MEMBERS,
    MEMBERSHIPS,
    WAITING,
    Difference,
    Member,
    Touched,
    difference,
    split_links,
)
from nurt.core.tables import OWNER, Table
from nurt.model.change import Change
from nurt.model.head import owed_score
from nurt.model.keys import Keys
from nurt.operators.profiles_stage import encode_touch
from nurt.ports import Store


class IdentityStage:
    """Owns the identity graphs of a worker's realms."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext, epoch: Callable[[], int]) -> None:
        self._store = store
        self._keys = keys
        self._context = context
        self._epoch = epoch
        self._alone = keys.is_every_shard(store.places)

    def resolve(self, realm: str, touched: Sequence[Touched]) -> list[bytes]:
        """Bring the realm's graph up to date, and name every profile concerned: after the write, each once."""
        last = {touch.account: touch for touch in touched}
        for touch in touched:  # a later touch may have lost the hint where the account went
            if touch.moved_to is not None and last[touch.account].moved_to is None:
                last[touch.account] = Touched(touch.account, last[touch.account].links, touch.moved_to)
        asked = [*last, *{touch.moved_to for touch in last.values() if touch.moved_to} - last.keys()]
        held = self._memberships(realm, asked)
        profiles = {row[1]: None for account in last for row in held[account] if row[0] == MEMBER}
        changed = [touch for touch in last.values() if _links(held[touch.account]) != touch.links]
        if not changed:
            return list(profiles)
        components = self._components(realm, changed, held)
        elsewhere = {
            account: row[1] for account in asked for row in held[account] if row[0] == MEMBER and account not in last
        }
        waiting = {
            touch.account: [row[1] for row in held[touch.account] if row[0] == WAITING]
            for touch in changed
            if touch.links is not None
        }
        diff = difference(changed, components, elsewhere, waiting, self._context.ids)
        self._store.write(self._change(realm, diff, held))
        if not self._alone:  # profiles are recomputed elsewhere, from what was written
            self._store.settle()
        profiles.update(dict.fromkeys(diff.profiles()))
        profiles.update({found[1]: None for account in last if (found := diff.memberships.get(account))})
        return list(profiles)

    def _memberships(self, realm: str, accounts: Sequence[bytes]) -> dict[bytes, list[tuple[int, bytes, bytes, str]]]:
        """Read accounts' membership rows: (part, profile, component, links)."""
        rows = _rows(MEMBERSHIPS, self._store.read(self._keys.in_realm(b"m", realm, accounts)))
        return {
            account: [(part, profile, component, links) for part, component, profile, links in rows[index]]
            for index, account in enumerate(accounts)
        }

    def _components(
        self, realm: str, changed: Sequence[Touched], held: dict[bytes, list[tuple[int, bytes, bytes, str]]]
    ) -> dict[bytes, dict[bytes, Member]]:
        """Load whole components: those of the changed accounts and those of their links."""
        links = sorted({link for touch in changed for link in split_links(touch.links or "")})
        found = self._store.read(self._identifier_keys(realm, links)) if links else []
        wanted = {value[:16]: None for value in found if value is not None}
        wanted.update({row[2]: None for touch in changed for row in held[touch.account] if row[0] == MEMBER})
        names = list(wanted)
        if not names:
            return {}
        rows = _rows(COMPONENTS, self._store.read(self._keys.in_realm(b"g", realm, names)))
        return {
            name: {account: Member(profile, links) for account, profile, links in rows[index]}
            for index, name in enumerate(names)
        }

    def _identifier_keys(self, realm: str, links: Sequence[str]) -> list[bytes]:
        texts = pl.Series([f"identifier\x1f{realm}\x1f{link}" for link in links], dtype=pl.String)
        return self._keys.in_realm(b"d", realm, self._context.ids.of(texts).to_list())

    def _change(self, realm: str, diff: Difference, held: dict[bytes, list[tuple[int, bytes, bytes, str]]]) -> Change:
        """Encode a difference as one atomic write, with the profiles concerned owed."""
        change = Change()
        memberships: dict[bytes, list[tuple[object, ...]]] = {}
        for account, found in diff.memberships.items():
            memberships[account] = [] if found is None else [(MEMBER, *found)]
        for account, profiles in diff.waiting.items():
            kept: list[tuple[object, ...]] = [
                (part, component, profile, links) for part, profile, component, links in held.get(account, [])
            ]
            memberships.setdefault(account, kept)
            memberships[account] += [(WAITING, None, profile, None) for profile in profiles]
        self._put(change, b"m", realm, MEMBERSHIPS, memberships)
        components: dict[bytes, list[tuple[object, ...]]] = {
            name: [(account, member.profile, member.links) for account, member in (members or {}).items()]
            for name, members in diff.components.items()
        }
        self._put(change, b"g", realm, COMPONENTS, components)
        members: dict[bytes, list[tuple[object, ...]]] = {
            profile: [(HELD, account) for account in accounts] for profile, accounts in diff.held.items()
        }
        for profile, heir in diff.heirs.items():
            members[profile] = [] if heir is None else [(HEIR, heir)]
        self._put(change, b"p", realm, MEMBERS, members)
        names = list(diff.identifiers)
        values = [found and found[0] + found[1] for found in diff.identifiers.values()]
        change.store(self._identifier_keys(realm, names), values)
        score = owed_score(self._store.run, self._epoch())
        change.owed[self._keys.realm_place(realm)] = dict.fromkeys(
            [encode_touch((realm, profile)) for profile in diff.profiles()], score
        )
        return change

    def _put(
        self, change: Change, kind: bytes, realm: str, table: Table, rows: dict[bytes, list[tuple[object, ...]]]
    ) -> None:
        flat = [(owner, *row) for owner, of_one in enumerate(rows.values()) for row in of_one]
        frame = pl.DataFrame(flat, schema={OWNER: pl.Int64(), **table.columns}, orient="row") if flat else table.empty()
        change.store(self._keys.in_realm(kind, realm, rows), table.pack(frame, len(rows)))

    def members(self, realm: str, profiles: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """Read what each profile holds, or its heir."""
        rows = _rows(MEMBERS, self._store.read(self._keys.in_realm(b"p", realm, profiles)))
        return [rows[index] for index in range(len(profiles))]


def _rows(table: Table, values: Iterable[bytes | None]) -> dict[int, list[tuple]]:  # type: ignore[type-arg]
    """Unpack values into plain rows, by index."""
    rows: dict[int, list[tuple]] = defaultdict(list)  # type: ignore[type-arg]
    for owner, *row in table.unpack(list(values)).iter_rows():
        rows[owner].append(tuple(row))
    return rows


def _links(rows: list[tuple[int, bytes, bytes, str]]) -> str | None:
    return next((row[3] for row in rows if row[0] == MEMBER), None)
