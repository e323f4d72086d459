"""The fourth stage: resolve identity. One worker owns a realm's whole identity graph.

Hot path where links do not change (one read finds each account's profile) and for new singletons. Where links meet,
change or go, plain Python decides, off the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nurt.columnar.distinct import id_list
from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import PADDING_BYTES, Values, no_values
from nurt.model.fence import pending_score
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.identity.memberships import Memberships, read_memberships
from nurt.profiles.identity.resolve import (
    COMPONENTS,
    MEMBER,
    MEMBER_PART,
    MEMBERS,
    MEMBERSHIPS,
    SURVIVOR_PART,
    WAITING,
    AccountChanges,
    IdentityDiff,
    Member,
    difference,
    join_account_changes,
)
from nurt.profiles.identity.singletons import Links, find_sharing, identifier_ids, list_links, settle_singletons
from nurt.profiles.profiles_stage import encode_dirty_key
from nurt.state.python_rows import Row, pack_rows, unpack_rows
from nurt.state.table import Table


class IdentityStage:
    """The stage that owns the identity graphs of a worker's realms."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext, epoch: Callable[[], int]) -> None:
        self._store = store
        self._keys = keys
        self._context = context
        self._epoch = epoch
        self._alone = keys.is_every_shard(store.places)

    def resolve(self, realm: str, touched: Sequence[AccountChanges]) -> list[bytes]:
        """Bring the realm's graph up to date, and return every changed profile, once, after the write."""
        changes = join_account_changes(touched)
        stored = self._read_stored(realm, changes)
        profiles = dict.fromkeys(id_list(stored.memberships.profiles))
        changed = np.flatnonzero(stored.memberships.is_changed)
        if not len(changed):
            return list(profiles)
        links = list_links(realm, changes.links, changed, self._context.ids)
        found = no_values(0)
        if len(links.ids):
            (found,) = self._store.load([self._keys.rows_in(b"d", realm, links.ids)])
        is_singleton = stored.memberships.is_new[changed] & ~find_sharing(links, found, len(changed))
        change = StateWrite()
        settled: dict[bytes, bytes] = {}
        if is_singleton.any():
            settled = self._settle_singletons(realm, changes, changed[is_singleton], links, is_singleton, change)
        profiles.update(dict.fromkeys(settled.values()))
        if not is_singleton.all():
            diff = self._resolve_others(realm, stored, changed[~is_singleton], found.plain(), settled)
            self._add_difference(realm, diff, stored, change)
            profiles.update(dict.fromkeys(diff.profiles()))
        self._store.write(change)
        if not self._alone:  # other workers recompute profiles from what was written
            self._store.settle()
        return list(profiles)

    def _read_stored(self, realm: str, changes: AccountChanges) -> _Stored:
        asked = changes.accounts
        if changes.moved_to:
            known = set(id_list(asked))
            beside = [to for to in dict.fromkeys(changes.moved_to.values()) if to not in known]
            asked = np.concatenate((asked, words_of(beside)))
        (values,) = self._store.load([self._keys.rows_in(b"m", realm, asked)])
        return _Stored(changes, read_memberships(values.part(0, len(changes.accounts)), changes.links), asked, values)

    def _settle_singletons(
        self, realm: str, changes: AccountChanges, rows: Int64s, links: Links, is_singleton: Bools, change: StateWrite
    ) -> dict[bytes, bytes]:
        """Write new singletons; returns account -> profile.

        Nothing is marked as pending: a replay that brings such an account again makes its profile dirty.
        """
        accounts, of_realm = changes.accounts[rows], self._keys.rows_in
        settled = settle_singletons(accounts, changes.links, rows, self._context.ids)
        memberships, components = of_realm(b"m", realm, accounts), of_realm(b"g", realm, accounts)
        keys = np.stack((memberships, components, of_realm(b"p", realm, settled.profiles)), axis=1)
        change.keep(keys.reshape(-1, keys.shape[2]), settled.values)
        of_singletons = is_singleton[links.account]
        owners = (np.cumsum(is_singleton) - 1)[links.account[of_singletons]]
        entries = np.hstack((accounts, settled.profiles))[owners]  # component and profile
        cuts = np.arange(len(entries) + 1, dtype=np.int64) * (8 * entries.shape[1])
        body = np.concatenate((entries.view(np.uint8).reshape(-1), np.zeros(PADDING_BYTES, dtype=np.uint8)))
        change.keep(of_realm(b"d", realm, links.ids[links.code[of_singletons]]), Values(body, cuts))
        return dict(zip(id_list(accounts), id_list(settled.profiles), strict=True))

    def _resolve_others(
        self,
        realm: str,
        stored: _Stored,
        others: Int64s,
        found: Sequence[bytes | None],
        settled: Mapping[bytes, bytes],
    ) -> IdentityDiff:
        """Resolve the components of accounts whose links meet, changed or went."""
        changes = stored.changes
        links = {changes.account(row): changes.links.text(row) for row in others.tolist()}
        rows = stored.rows(links)
        wanted = {value[:16]: None for value in found if value is not None}
        wanted.update({row[1]: None for account in links for row in rows[account] if row[0] == MEMBER})
        elsewhere: dict[bytes, bytes] = {}
        targets = set(changes.moved_to.values()) - links.keys()
        if targets:
            beside = stored.rows(targets)
            elsewhere = {account: row[2] for account in targets for row in beside[account] if row[0] == MEMBER}
            elsewhere.update({account: settled[account] for account in targets & settled.keys()})
        waiting = {
            account: [row[2] for row in rows[account] if row[0] == WAITING]
            for account, text in links.items()
            if text is not None
        }
        waiting = self._still_emptied(realm, waiting, set(settled.values()))
        components = self._components(realm, list(wanted))
        return difference(links, changes.moved_to, components, elsewhere, waiting, self._context.ids)

    def _still_emptied(
        self, realm: str, waiting: Mapping[bytes, list[bytes]], settled: set[bytes]
    ) -> dict[bytes, list[bytes]]:
        """Leave out profiles that have accounts again: such a profile needs no survivor."""
        profiles = [profile for some in waiting.values() for profile in some]
        members = self.members(realm, profiles) if profiles else []
        live = settled | {
            one for one, rows in zip(profiles, members, strict=True) if rows and rows[0][0] == MEMBER_PART
        }
        return {account: [profile for profile in some if profile not in live] for account, some in waiting.items()}

    def _components(self, realm: str, names: list[bytes]) -> dict[bytes, dict[bytes, Member]]:
        if not names:
            return {}
        rows = unpack_rows(COMPONENTS, self._store.read(self._keys.in_realm(b"g", realm, names)))
        return {
            name: {account: Member(profile, links) for account, profile, links in rows[index]}
            for index, name in enumerate(names)
        }

    def _add_difference(self, realm: str, diff: IdentityDiff, stored: _Stored, change: StateWrite) -> None:
        """Encode a difference, and mark the changed profiles as pending."""
        memberships: dict[bytes, list[Row]] = {}
        for account, found in diff.memberships.items():
            memberships[account] = [] if found is None else [(MEMBER, *found)]
        kept = stored.rows(diff.waiting)
        for account, profiles in diff.waiting.items():
            memberships.setdefault(account, list(kept[account]))
            memberships[account] += [(WAITING, None, profile, None) for profile in profiles]
        self._put(change, b"m", realm, MEMBERSHIPS, memberships)
        components: dict[bytes, list[Row]] = {
            name: [(account, member.profile, member.links) for account, member in (members or {}).items()]
            for name, members in diff.components.items()
        }
        self._put(change, b"g", realm, COMPONENTS, components)
        members: dict[bytes, list[Row]] = {
            profile: [(MEMBER_PART, account) for account in accounts] for profile, accounts in diff.members.items()
        }
        for profile, survivor in diff.survivors.items():
            members[profile] = [] if survivor is None else [(SURVIVOR_PART, survivor)]
        self._put(change, b"p", realm, MEMBERS, members)
        identifiers = identifier_ids(realm, list(diff.identifiers), self._context.ids)
        values = [found and found[0] + found[1] for found in diff.identifiers.values()]
        change.store(self._keys.in_realm(b"d", realm, identifiers), values)
        score = pending_score(self._store.run, self._epoch())
        change.pending[self._keys.realm_place(realm)] = dict.fromkeys(
            [encode_dirty_key((realm, profile)) for profile in diff.profiles()], score
        )

    def _put(self, change: StateWrite, kind: bytes, realm: str, table: Table, rows: dict[bytes, list[Row]]) -> None:
        change.store(self._keys.in_realm(kind, realm, rows), pack_rows(table, [*rows.values()]))

    def members(self, realm: str, profiles: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """Read each profile's accounts, or its survivor."""
        return unpack_rows(MEMBERS, self._store.read(self._keys.in_realm(b"p", realm, profiles)))


@dataclass(frozen=True, slots=True)
class _Stored:
    """Stored memberships of changed accounts, and of those that they moved to.

    Attributes:
        changes: the changed accounts.
        memberships: the stored memberships, compared with current links.
        asked: the changed accounts, then those that they moved to.
        values: of MEMBERSHIPS, by index into `asked`.
    """

    changes: AccountChanges
    memberships: Memberships
    asked: Words
    values: Values

    def rows(self, accounts: Iterable[bytes]) -> dict[bytes, list[Row]]:
        """List the membership rows of some of the `asked` accounts."""
        found: dict[bytes, list[Row]] = {account: [] for account in accounts}
        asked = id_list(self.asked) if found else []
        places = [index for index, account in enumerate(asked) if account in found]
        rows = unpack_rows(MEMBERSHIPS, [self.values.one(index) for index in places])
        found.update(zip([asked[index] for index in places], rows, strict=True))
        return found
