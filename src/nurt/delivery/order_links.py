"""Orders and their profiles: which row of which profile an order's row names, and since when.

An order names its account, a profile its accounts; so merges and splits move accounts, and with them orders. Each side
writes first and reads afterwards: an order lists itself under its account, then reads which profile has the account; a
profile claims its accounts, then reads which orders are listed there. So one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nurt.delivery.diff import DeliveryRules, ObjectPlan
from nurt.delivery.last_known import LastKnown
from nurt.model.delivery import LINK_SIGN, DesiredState, Lifecycle, Row

PARENT_MISSING = "parent_not_there_yet"
WAITS_MAX = 7
"""Times that a new order waits for its profile's row, then it is sent without; a row that needs its parent waits on."""

WAIT_S = 0.25
WAIT_S_MAX = 600.0

NO_PROFILE = LastKnown(revision=0)
"""Stand-in for the profile of an order without account."""


def linked_kinds(plans: Iterable[ObjectPlan]) -> frozenset[str]:
    """List the kinds whose rows name rows of profiles: orders, or none."""
    return frozenset(plan.of for plan in plans if plan.parents or plan.far)


def wait_s(times: int) -> float:
    """Return how long an order waits for its profile's row, after so many waits."""
    return float(min(WAIT_S_MAX, WAIT_S * 2**times))


def parent_keys_of(desired: DesiredState, plans: Sequence[ObjectPlan]) -> dict[str, str]:
    """Return by object the row of a profile that its orders name: the first one."""
    if desired.lifecycle is not Lifecycle.LIVE:
        return {}
    named = {object_ for plan in plans for _, object_ in plan.parents} | {plan.far for plan in plans if plan.far}
    parent_keys: dict[str, str] = {}
    for row in desired.rows:
        if row.object in named:
            parent_keys.setdefault(row.object, row.key)
    return parent_keys


def affected_accounts(known: LastKnown, desired: DesiredState, parent_keys: Mapping[str, str]) -> set[str]:
    """List accounts whose orders must be checked: all, if a row that orders name is new or changes; else moved ones."""
    before, now = {*known.accounts}, {*desired.accounts} if desired.lifecycle is Lifecycle.LIVE else set()
    if (
        known.orders_pending
        or parent_keys != known.parent_keys
        or any(_comes(known, *parent_key) for parent_key in parent_keys.items())
    ):
        return before | now
    return before ^ now


def _comes(known: LastKnown, object_: str, key: str) -> bool:
    remote = known.find(object_, key)
    return remote is None or not remote.fingerprints


def forget_parent(known: LastKnown, plans: Sequence[ObjectPlan], object_: str) -> LastKnown:
    """Forget that an order's rows name a row of its profile, for that row is made anew: they name it again."""
    named = {plan.name: {field for field, parent in plan.parents if parent == object_} for plan in plans}
    far = {plan.name for plan in plans if plan.far == object_}
    remote_rows = tuple(
        replace(one.forget(), receiver_id=None) if one.object in far else one.forget(named.get(one.object, ()))
        for one in known.remote_rows
    )
    return replace(known, remote_rows=remote_rows)


def resolve_parents(
    desired: DesiredState, rules: DeliveryRules, own: LastKnown, parent: LastKnown | None
) -> tuple[DesiredState, bool]:
    """Put the keys of its profile's rows into an order's rows.

    A profile's row under way keeps the orders that name it already; new orders name it after it is accepted.

    Args:
        own: what the receiver holds of the order.
        parent: what the receiver holds of the profile; None: the order's profile is not known.
    Returns: the desired state, and whether a row that the order should name may be there soon.
    """
    if desired.lifecycle is not Lifecycle.LIVE:
        return desired, False
    plans = {plan.name: plan for plan in rules.objects}
    rows: list[Row] = []
    waits = False
    for row in desired.rows:
        plan = plans[row.object]
        remote = own.find(row.object, row.key)
        named: dict[str, str | None] = {}
        for field, object_ in plan.parents:
            key, is_there = parent_key(parent, object_)
            is_named = (
                key is not None and remote is not None and remote.fingerprints.get(field) == rules.fingerprinter.of(key)
            )
            named[field] = key if is_there or is_named else None
            waits |= parent is None or (key is not None and named[field] is None)
        if plan.needs_parent and None in named.values():
            continue
        rows.append(replace(row, fields={**row.fields, **named}) if named else row)
    for plan in rules.objects:
        if plan.far is None or plan.link is None or plan.of != desired.of:
            continue
        near = next((row for row in rows if row.object == plan.link[0]), None)
        if near is None:
            continue
        key, is_there = parent_key(parent, plan.far)
        link_key = None if key is None else near.key + LINK_SIGN + key
        if link_key is not None and (is_there or own.find(plan.name, link_key) is not None):
            rows.append(Row(plan.name, link_key, {"linked": True}))
        else:
            waits |= parent is None or key is not None
    return replace(desired, rows=tuple(rows)), waits


def parent_key(parent: LastKnown | None, object_: str) -> tuple[str | None, bool]:
    """Return the key of the row that orders name, and whether the receiver has accepted this row."""
    key = None if parent is None else parent.parent_keys.get(object_)
    remote = parent.find(object_, key) if parent is not None and key is not None else None
    return key, remote is not None and bool(remote.fingerprints)
