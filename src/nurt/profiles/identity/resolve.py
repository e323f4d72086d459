"""Resolve identity: accounts that share an identifier are one profile.

A component is all accounts that equal identifiers connect. The resolution of a component is a pure function of its
accounts and their links, so the order in which links arrived cannot matter. Only changed components are resolved; this
is plain Python, because links change seldom.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nurt.columnar.distinct import distinct, id_list, newest
from nurt.columnar.ids import Ids
from nurt.columnar.types import Int64s, Words
from nurt.normalise.context import LINK_END
from nurt.profiles.identity.links import JoinedLinks, chain_links
from nurt.state.table import Table

MEMBER, WAITING = 0, 1
"""`part` of a membership row: the account's own, or an emptied profile that waits for this account to appear."""

MEMBERSHIPS = Table.stored("memberships")
COMPONENTS = Table.stored("components")
MEMBER_PART, SURVIVOR_PART = 0, 1
"""`part` of a profile's member row: an account of the profile, or the survivor of a merged one."""
MEMBERS = Table.stored("members")


@dataclass(frozen=True, slots=True)
class Member:
    """An account in its component: its profile and its links (`kind U+001F value`, joined by U+001E)."""

    profile: bytes
    links: str


@dataclass(frozen=True, slots=True)
class AccountChanges:
    """Current links of some accounts of a realm, from the accounts stage after its write; each account once.

    Attributes:
        accounts: ids of the accounts.
        links: text of links by account; None when the account is gone.
        moved_to: gone account -> the account that it became when its key changed.
    """

    accounts: Words
    links: JoinedLinks
    moved_to: dict[bytes, bytes]

    def account(self, row: int) -> bytes:
        """Give one id. Not for the hot path."""
        return self.accounts[row].tobytes()

    def take(self, rows: Int64s) -> AccountChanges:
        """Choose some accounts, with all of `moved_to`."""
        return AccountChanges(self.accounts[rows], self.links.take(rows), self.moved_to)


def join_account_changes(many: Sequence[AccountChanges]) -> AccountChanges:
    """Join account changes; of an account's several changes the last counts, and the last `moved_to`."""
    if len(many) == 1:
        return many[0]
    moved_to = {account: to for changed in many for account, to in changed.moved_to.items()}
    accounts = np.concatenate([changed.accounts for changed in many])
    joined = AccountChanges(accounts, chain_links([changed.links for changed in many]), moved_to)
    codes, firsts = distinct(accounts)
    if len(firsts) == len(accounts):
        return joined
    return joined.take(newest(codes, np.zeros(len(codes), dtype=np.int64), len(firsts)))


@dataclass(slots=True)
class IdentityDiff:
    """Changes of the identity graph; None as a value: the entry is deleted.

    Attributes:
        memberships: account -> (component, profile, links).
        components: component -> account -> member.
        identifiers: link text -> (component, profile).
        members: profile -> its accounts, in order.
        survivors: emptied profile -> its survivor, or None when no account of the profile is left.
        waiting: account that does not exist yet -> emptied profiles whose survivor will be the account's profile.
    """

    memberships: dict[bytes, tuple[bytes, bytes, str] | None] = field(default_factory=dict)
    components: dict[bytes, dict[bytes, Member] | None] = field(default_factory=dict)
    identifiers: dict[str, tuple[bytes, bytes] | None] = field(default_factory=dict)
    members: dict[bytes, list[bytes]] = field(default_factory=dict)
    survivors: dict[bytes, bytes | None] = field(default_factory=dict)
    waiting: dict[bytes, list[bytes]] = field(default_factory=dict)

    def profiles(self) -> set[bytes]:
        """Name every profile that this difference changes."""
        return {*self.members, *self.survivors}


def split_links(text: str) -> list[str]:
    """Cut a text of links into links."""
    return text.split(LINK_END) if text else []


def resolve(accounts: Mapping[bytes, str]) -> list[list[bytes]]:
    """Group accounts into profiles: those connected by equal links; groups and their members in order of id.

    Args:
        accounts: account -> text of links; a union of whole components.
    """
    parent: dict[bytes, bytes] = {account: account for account in accounts}

    def root(account: bytes) -> bytes:
        while parent[account] != account:
            parent[account] = parent[parent[account]]
            account = parent[account]
        return account

    first: dict[str, bytes] = {}
    for account in sorted(accounts):
        for link in split_links(accounts[account]):
            a, b = root(account), root(first.setdefault(link, account))
            if a != b:
                parent[max(a, b)] = min(a, b)
    groups: dict[bytes, list[bytes]] = defaultdict(list)
    for account in sorted(accounts):
        groups[root(account)].append(account)
    return [groups[anchor] for anchor in sorted(groups)]


def profile_id(anchor: bytes, ids: Ids) -> bytes:
    """Derive a profile's id from its anchor account, the smallest account id in it."""
    return ids.one(f"profile\x1f{anchor.hex()}")


def profile_ids(anchors: Sequence[bytes], ids: Ids) -> list[bytes]:
    """Derive the ids of many profiles, as `profile_id` does it one by one."""
    texts = [f"profile\x1f{anchor.hex()}".encode() for anchor in anchors]
    cuts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=cuts[1:])
    return id_list(ids.of_joined(np.frombuffer(b"".join(texts), dtype=np.uint8), cuts))


def difference(
    changed: Mapping[bytes, str | None],
    moved_to: Mapping[bytes, bytes],
    components: Mapping[bytes, Mapping[bytes, Member]],
    elsewhere: Mapping[bytes, bytes],
    waiting: Mapping[bytes, list[bytes]],
    ids: Ids,
) -> IdentityDiff:
    """Resolve the changed components again, and return the differences from the stored graph.

    Args:
        changed: accounts whose links changed, with their links; None: the account is gone.
        moved_to: gone account -> account that it became.
        components: whole stored components: those of the changed accounts and of their new links.
        elsewhere: account -> profile, for accounts in `moved_to` that are in no loaded component.
        waiting: changed account -> emptied profiles that wait for it.
    """
    before = {account: member for members in components.values() for account, member in members.items()}
    after = {account: member.links for account, member in before.items()}
    for changed_account, links in changed.items():
        if links is None:
            after.pop(changed_account, None)
        else:
            after[changed_account] = links
    diff = IdentityDiff()
    profile_of: dict[bytes, bytes] = {}
    groups = resolve(after)
    for group, profile in zip(groups, profile_ids([group[0] for group in groups], ids), strict=True):
        component = group[0]
        members = {account: Member(profile, after[account]) for account in group}
        profile_of.update(dict.fromkeys(group, profile))
        if members != components.get(component):
            diff.components[component] = members
            diff.members[profile] = group
        for account, member in members.items():
            if before.get(account) != member or account not in components.get(component, {}):
                diff.memberships[account] = (component, profile, member.links)
            for link in split_links(member.links):
                diff.identifiers[link] = (component, profile)
    for account in before.keys() - after.keys():
        diff.memberships[account] = None
    for member in before.values():
        for link in split_links(member.links):
            diff.identifiers.setdefault(link, None)
    anchors = set(diff.components)
    for component in components.keys() - anchors:
        if component not in after or profile_of[component] != profile_id(component, ids):
            diff.components[component] = None
    gone = {account: to for account, to in moved_to.items() if account in changed and changed[account] is None}
    _find_survivors(diff, gone, before, profile_of, elsewhere)
    for account, profiles in waiting.items():
        if account in profile_of:
            diff.survivors.update({one: profile_of[account] for one in profiles if one not in diff.members})
    return diff


def _find_survivors(
    diff: IdentityDiff,
    moved: Mapping[bytes, bytes],
    before: Mapping[bytes, Member],
    profile_of: Mapping[bytes, bytes],
    elsewhere: Mapping[bytes, bytes],
) -> None:
    """Name, for every emptied profile, the profile of most of its accounts; of equal ones the smallest id."""
    emptied: dict[bytes, list[bytes]] = defaultdict(list)
    for account, member in before.items():
        emptied[member.profile].append(account)
    for profile in emptied.keys() - set(profile_of.values()):
        votes: Counter[bytes] = Counter()
        awaited: list[bytes] = []
        for account in emptied[profile]:
            target = moved.get(account, account)
            survivor = profile_of.get(target) or elsewhere.get(target)
            if survivor is not None:
                votes[survivor] += 1
            elif account in moved:
                awaited.append(target)
        diff.survivors[profile] = min(votes, key=lambda survivor: (-votes[survivor], survivor)) if votes else None
        if not votes and awaited:
            diff.waiting.setdefault(min(awaited), []).append(profile)
