"""Compare a profile's desired state with the last known state, and plan the writes that are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from nurt.delivery.gone import GonePolicy, is_believed, stays_gone
from nurt.delivery.last_known import Fingerprinter, LastKnown, Presence, RemoteRow
from nurt.model.delivery import LINK_SIGN, PROFILES, DesiredState, Fields, Lifecycle, Op, Ref, Row, Write


class DeletePolicy(StrEnum):
    """Policy for a row that is no longer in its profile's desired state."""

    KEEP = "keep"  # it stays as it is
    ARCHIVE = "archive"  # its archived fields are written
    DELETE = "delete"
    MERGE = "merge"  # into the survivor's row
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """Plan of how one object of a destination is written.

    Attributes:
        link: the two objects that a link joins; empty for others.
        once: written when new, never again.
        shared: its key is not the profile's id, so another profile may own the row later.
        of: what the rows are made of: profiles, stock or orders.
        parents: (field, object): the field holds the external id of the object's row, of the order's profile.
        needs_parent: no row is written without its parents.
        far: of a link, the end that is a row of the order's profile.
        gone_there: what follows when the receiver holds a row no more that it accepted.
    """

    name: str
    link: tuple[str, str] | None = None
    once: bool = False
    shared: bool = False
    when_gone: DeletePolicy = DeletePolicy.KEEP
    when_merged: DeletePolicy = DeletePolicy.DELETE
    when_erased: DeletePolicy = DeletePolicy.ERASE
    of: str = PROFILES
    parents: tuple[tuple[str, str], ...] = ()
    needs_parent: bool = False
    far: str | None = None
    gone_there: GonePolicy = field(default=GonePolicy.ASK, repr=False)  # the text of a plan is hashed and stored


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """Rules of what is written: the objects of a destination, parents first, and further settings."""

    objects: tuple[ObjectPlan, ...]
    fingerprinter: Fingerprinter
    generation: int = 0
    whole_rows: bool = False


_OPS = {DeletePolicy.DELETE: Op.DELETE, DeletePolicy.MERGE: Op.MERGE, DeletePolicy.ERASE: Op.ERASE}


def is_old(known: LastKnown, desired: DesiredState, generation: int = 0) -> bool:
    """Say whether a message is older than that of the last known state. The same message again is not old.

    After an erasure it is: a replay would bring back a person who was erased, if only until the erasure is read again.
    """
    if desired.lifecycle is Lifecycle.SWEPT:
        return desired.place != known.place  # it was delivered meanwhile
    is_before = desired.place[0] == known.place[0] and desired.place[1] < known.place[1]
    if desired.revision is None:
        return is_before
    if known.lifecycle is Lifecycle.ERASED and desired.lifecycle is not Lifecycle.ERASED:
        return desired.revision <= known.revision or (is_before and known.generation == generation)
    return desired.revision < known.revision


def renew(known: LastKnown, desired: DesiredState, rules: DeliveryRules) -> LastKnown:
    """Put a desired state's revision and place into its last known state; fields of earlier generations are unknown."""
    remote_rows = known.remote_rows
    if known.generation != rules.generation:
        remote_rows = tuple(replace(one.forget(), refused=None) for one in remote_rows)
    revision = known.revision if desired.revision is None else desired.revision
    return replace(
        known,
        revision=revision,
        place=desired.place,
        generation=rules.generation,
        lifecycle=desired.lifecycle,
        remote_rows=remote_rows,
        of=desired.of,
    )


def newest(desired_states: Sequence[DesiredState]) -> dict[str, DesiredState]:
    """Keep every profile's newest desired state: by revision, a tombstone by its place."""
    kept: dict[str, DesiredState] = {}
    for desired in desired_states:
        before = kept.get(desired.subject)
        if before is None or not _is_older(desired, before):
            kept[desired.subject] = desired
    return kept


def _is_older(desired: DesiredState, before: DesiredState) -> bool:
    if desired.revision is not None and before.revision is not None:
        return desired.revision < before.revision
    return desired.place[0] == before.place[0] and desired.place[1] < before.place[1]


def plan_writes(known: LastKnown, desired: DesiredState, rules: DeliveryRules) -> list[Write]:
    """List what is left to write, in the order of the rules; `renew` has been called on the last known state."""
    if desired.lifecycle is Lifecycle.LIVE:
        return _plan_live(known, desired, rules)
    writes = []
    archived = {row.object: row for row in desired.rows}
    for plan in reversed(rules.objects):
        policy = plan.when_merged if desired.lifecycle is Lifecycle.REDIRECT else plan.when_erased
        if desired.lifecycle is Lifecycle.SWEPT and policy is DeletePolicy.ERASE:
            policy = DeletePolicy.DELETE  # nobody asked for an erasure, which is final
        for remote in known.remote_rows:
            if remote.object == plan.name:
                writes += _apply_delete_policy(remote, policy, archived.get(plan.name), plan, desired, known, rules)
    return writes


def _plan_live(known: LastKnown, desired: DesiredState, rules: DeliveryRules) -> list[Write]:
    rows: dict[str, list[Row]] = {}
    for row in desired.rows:
        rows.setdefault(row.object, []).append(row)
    writes = []
    for plan in rules.objects:
        wanted = {row.key: row for row in rows.get(plan.name, ())}
        for row in wanted.values():
            remote = known.find(plan.name, row.key)
            if write := _upsert(remote, row, plan, known.revision, desired.subject, rules):
                writes.append(write)
        for remote in known.remote_rows:
            if remote.object == plan.name and remote.key not in wanted and not plan.once:
                writes += _apply_delete_policy(remote, plan.when_gone, None, plan, desired, known, rules)
    return writes


def _upsert(
    remote: RemoteRow | None, row: Row, plan: ObjectPlan, revision: int, subject: str, rules: DeliveryRules
) -> Write | None:
    op = Op.LINK if plan.link else Op.UPSERT
    if remote is None:
        return Write(subject, revision, row.object, op, row.key, row.fields, is_new=True)
    fingerprint = rules.fingerprinter.of
    changed: Fields = {
        name: value for name, value in row.fields.items() if remote.fingerprints.get(name) != fingerprint(value)
    }
    is_done = plan.once and (remote.is_there or remote.presence is Presence.GONE)
    if not changed or is_done or stays_gone(remote, plan.gone_there):
        return None
    whole = rules.whole_rows or len(changed) == len(row.fields)
    fields = row.fields if whole else changed
    if remote.refused is not None and remote.refused == rules.fingerprinter.of_row(op, fields):
        return None
    believed = op is Op.UPSERT and is_believed(remote, plan.gone_there)
    return Write(subject, revision, row.object, op, row.key, fields, remote.receiver_id, whole, believed=believed)


def _apply_delete_policy(
    remote: RemoteRow,
    policy: DeletePolicy,
    archived: Row | None,
    plan: ObjectPlan,
    desired: DesiredState,
    known: LastKnown,
    rules: DeliveryRules,
) -> list[Write]:
    if policy is DeletePolicy.KEEP:
        return []
    if policy is DeletePolicy.ARCHIVE:
        if archived is None:
            return []
        row = Row(remote.object, remote.key, archived.fields)
        if remote.presence is Presence.GONE:
            return []
        write = _upsert(remote, row, plan, known.revision, desired.subject, rules)
        return [replace(write, whole=False, believed=True)] if write else []  # archived fields alone are no row
    write = Write(desired.subject, known.revision, remote.object, _OPS[policy], remote.key, {}, remote.receiver_id)
    return [] if remote.refused == rules.fingerprinter.of_write(write) else [write]


def with_refs(write: Write, plan: ObjectPlan, own: LastKnown, other: LastKnown | None) -> Write | None:
    """Fill in the other rows that a write refers to; None while these rows are not at the receiver yet.

    Args:
        other: of a merged profile its survivor, of an order its profile.
    """
    if plan.link and write.op is Op.LINK:
        sides = [other if name == plan.far else own for name in plan.link]
        names = zip(sides, plan.link, write.key.split(LINK_SIGN), strict=True)
        ends = [None if known is None else known.find(name, key) for known, name, key in names]
        if any(end is None or not end.fingerprints for end in ends):
            return None
        return replace(write, refs=tuple(Ref(end.object, end.key, end.receiver_id) for end in ends if end))
    if plan.parents and write.op is Op.UPSERT and other is not None:
        keys = [(object_, write.fields.get(field)) for field, object_ in plan.parents]
        rows = [other.find(object_, str(key)) for object_, key in keys if key is not None]
        return replace(write, refs=tuple(Ref(one.object, one.key, one.receiver_id) for one in rows if one))
    if write.op is Op.MERGE:
        into = other.first(write.object) if other is not None else None
        if into is None or not into.fingerprints:
            return None
        return replace(write, refs=(Ref(into.object, into.key, into.receiver_id),))
    return write


def by_rank(
    writes: Mapping[str, Sequence[Write]], plans: Sequence[ObjectPlan]
) -> tuple[list[list[Write]], list[list[Write]]]:
    """Sort writes into rounds: additions, parents before children and links last; removals, the other way round."""
    rank = {plan.name: at for at, plan in enumerate(plans)}
    additions: dict[int, list[Write]] = {}
    removals: dict[int, list[Write]] = {}
    for some in writes.values():
        for write in some:
            rounds = additions if write.op in (Op.UPSERT, Op.LINK) else removals
            rounds.setdefault(rank[write.object], []).append(write)
    return [additions[at] for at in sorted(additions)], [removals[at] for at in sorted(removals, reverse=True)]
