"""Compare what a profile should be at the receiver with what it holds, and say what is left to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from nurt.delivery.last_known import Held, Marks, Record
from nurt.model.delivery import LINK_SIGN, PROFILES, Fields, Life, Op, Ref, Row, Wish, Write


class Parting(StrEnum):
    """What happens to a row that its profile no longer gives."""

    KEEP = "keep"  # it stays as it is
    ARCHIVE = "archive"  # its archived fields are written
    DELETE = "delete"
    MERGE = "merge"  # into the heir's row
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """How one object of a destination is treated.

    Attributes:
        link: the two objects that it joins, where it is a link.
        once: written when new, never again.
        shared: its key is not the profile's id, so that another profile may come to own the row.
        of: whose rows they are: of profiles, stock or orders.
        parents: (field, object): the field holds the external id of that row of the profile that an order belongs to.
        needs_parent: no row without them.
        far: of a link, the end that is a row of the profile that an order belongs to.
    """

    name: str
    link: tuple[str, str] | None = None
    once: bool = False
    shared: bool = False
    when_gone: Parting = Parting.KEEP
    when_merged: Parting = Parting.DELETE
    when_erased: Parting = Parting.ERASE
    of: str = PROFILES
    parents: tuple[tuple[str, str], ...] = ()
    needs_parent: bool = False
    far: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The objects of a destination, parents first, and what else decides."""

    objects: tuple[ObjectPlan, ...]
    marks: Marks
    generation: int = 0
    whole_rows: bool = False


_OPS = {Parting.DELETE: Op.DELETE, Parting.MERGE: Op.MERGE, Parting.ERASE: Op.ERASE}


def is_old(record: Record, wish: Wish) -> bool:
    """Say whether a message is older than what the record follows from. The same one again is not."""
    if wish.life is Life.SWEPT:
        return wish.place != record.place  # it was told meanwhile
    if wish.revision is not None:
        return wish.revision < record.revision
    return wish.place[0] == record.place[0] and wish.place[1] < record.place[1]


def renew(record: Record, wish: Wish, rules: Rules) -> Record:
    """Put a wish's place in time into its record; what an earlier generation was told is unknown."""
    held = record.held
    if record.generation != rules.generation:
        held = tuple(replace(one, marks={}, refused=None) for one in held)
    revision = record.revision if wish.revision is None else wish.revision
    return replace(
        record, revision=revision, place=wish.place, generation=rules.generation, life=wish.life, held=held, of=wish.of
    )


def newest(wishes: Sequence[Wish]) -> dict[str, Wish]:
    """Keep of every profile its newest wish: by revision, a tombstone by its place."""
    kept: dict[str, Wish] = {}
    for wish in wishes:
        before = kept.get(wish.subject)
        if before is None or not _is_older(wish, before):
            kept[wish.subject] = wish
    return kept


def _is_older(wish: Wish, before: Wish) -> bool:
    if wish.revision is not None and before.revision is not None:
        return wish.revision < before.revision
    return wish.place[0] == before.place[0] and wish.place[1] < before.place[1]


def differences(record: Record, wish: Wish, rules: Rules) -> list[Write]:
    """Say what is left to write, in the order of the rules; the record has been renewed."""
    if wish.life is Life.LIVE:
        return _live(record, wish, rules)
    writes = []
    archived = {row.object: row for row in wish.rows}
    for plan in reversed(rules.objects):
        parting = plan.when_merged if wish.life is Life.REDIRECT else plan.when_erased
        if wish.life is Life.SWEPT and parting is Parting.ERASE:
            parting = Parting.DELETE  # nobody asked for what is final
        for held in record.held:
            if held.object == plan.name:
                writes += _part(held, parting, archived.get(plan.name), plan, wish, record, rules)
    return writes


def _live(record: Record, wish: Wish, rules: Rules) -> list[Write]:
    rows: dict[str, list[Row]] = {}
    for row in wish.rows:
        rows.setdefault(row.object, []).append(row)
    writes = []
    for plan in rules.objects:
        wanted = {row.key: row for row in rows.get(plan.name, ())}
        for row in wanted.values():
            held = record.find(plan.name, row.key)
            if write := _upsert(held, row, plan, record.revision, wish.subject, rules):
                writes.append(write)
        for held in record.held:
            if held.object == plan.name and held.key not in wanted and not plan.once:
                writes += _part(held, plan.when_gone, None, plan, wish, record, rules)
    return writes


def _upsert(held: Held | None, row: Row, plan: ObjectPlan, revision: int, subject: str, rules: Rules) -> Write | None:
    op = Op.LINK if plan.link else Op.UPSERT
    if held is None:
        return Write(subject, revision, row.object, op, row.key, row.fields, is_new=True)
    mark = rules.marks.of
    changed: Fields = {name: value for name, value in row.fields.items() if held.marks.get(name) != mark(value)}
    if not changed or (plan.once and held.marks):
        return None
    whole = rules.whole_rows or len(changed) == len(row.fields)
    fields = row.fields if whole else changed
    if held.refused is not None and held.refused == rules.marks.of_row(op, fields):
        return None
    return Write(subject, revision, row.object, op, row.key, fields, held.receiver_id, whole)


def _part(
    held: Held, parting: Parting, archived: Row | None, plan: ObjectPlan, wish: Wish, record: Record, rules: Rules
) -> list[Write]:
    if parting is Parting.KEEP:
        return []
    if parting is Parting.ARCHIVE:
        if archived is None:
            return []
        row = Row(held.object, held.key, archived.fields)
        write = _upsert(held, row, plan, record.revision, wish.subject, rules)
        return [replace(write, whole=False)] if write else []
    write = Write(wish.subject, record.revision, held.object, _OPS[parting], held.key, {}, held.receiver_id)
    return [] if held.refused == rules.marks.of_write(write) else [write]


def with_refs(write: Write, plan: ObjectPlan, own: Record, other: Record | None) -> Write | None:
    """Fill in the other rows that a write speaks of; None while they are not at the receiver yet.

    Args:
        other: of a merged profile its heir, of an order the profile that it belongs to.
    """
    if plan.link and write.op is Op.LINK:
        whose = [other if name == plan.far else own for name in plan.link]
        names = zip(whose, plan.link, write.key.split(LINK_SIGN), strict=True)
        ends = [None if record is None else record.find(name, key) for record, name, key in names]
        if any(end is None or not end.marks for end in ends):
            return None
        return replace(write, refs=tuple(Ref(end.object, end.key, end.receiver_id) for end in ends if end))
    if plan.parents and write.op is Op.UPSERT and other is not None:
        keys = [(object_, write.fields.get(field)) for field, object_ in plan.parents]
        held = [other.find(object_, str(key)) for object_, key in keys if key is not None]
        return replace(write, refs=tuple(Ref(one.object, one.key, one.receiver_id) for one in held if one))
    if write.op is Op.MERGE:
        into = other.first(write.object) if other is not None else None
        if into is None or not into.marks:
            return None
        return replace(write, refs=(Ref(into.object, into.key, into.receiver_id),))
    return write


def by_rank(
    writes: Mapping[str, Sequence[Write]], plans: Sequence[ObjectPlan]
) -> tuple[list[list[Write]], list[list[Write]]]:
    """Sort writes into rounds: what gives, parents before children and links last; what takes, the other way round."""
    rank = {plan.name: at for at, plan in enumerate(plans)}
    gives: dict[int, list[Write]] = {}
    takes: dict[int, list[Write]] = {}
    for some in writes.values():
        for write in some:
            rounds = gives if write.op in (Op.UPSERT, Op.LINK) else takes
            rounds.setdefault(rank[write.object], []).append(write)
    return [gives[at] for at in sorted(gives)], [takes[at] for at in sorted(takes, reverse=True)]
