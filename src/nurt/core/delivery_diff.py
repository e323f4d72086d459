"""Compare what a profile should be at the receiver with what it holds, and say what is left to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from nurt.core.delivery_record import Held, Marks, Record
from nurt.model.delivery import LINK_SIGN, Fields, Life, Op, Ref, Row, Wish, Write


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
    """

    name: str
    link: tuple[str, str] | None = None
    once: bool = False
    shared: bool = False
    when_gone: Parting = Parting.KEEP
    when_merged: Parting = Parting.DELETE
    when_erased: Parting = Parting.ERASE


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
    if wish.revision is not None:
        return wish.revision < record.revision
    return wish.place[0] == record.place[0] and wish.place[1] < record.place[1]


def renew(record: Record, wish: Wish, rules: Rules) -> Record:
    """Put a wish's place in time into its record; what an earlier generation was told is unknown."""
    held = record.held
    if record.generation != rules.generation:
        held = tuple(replace(one, marks={}, refused=None) for one in held)
    revision = record.revision if wish.revision is None else wish.revision
    return Record(revision, wish.place, rules.generation, wish.life, held)


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


def with_refs(write: Write, plan: ObjectPlan, own: Record, heir: Record | None) -> Write | None:
    """Fill in the other rows that a link or a merge speaks of; None while they are not at the receiver yet."""
    if plan.link and write.op is Op.LINK:
        ends = [own.find(name, key) for name, key in zip(plan.link, write.key.split(LINK_SIGN), strict=True)]
        if any(end is None or not end.marks for end in ends):
            return None
        return replace(write, refs=tuple(Ref(end.object, end.key, end.receiver_id) for end in ends if end))
    if write.op is Op.MERGE:
        into = heir.first(write.object) if heir is not None else None
        if into is None or not into.marks:
            return None
        return replace(write, refs=(Ref(into.object, into.key, into.receiver_id),))
    return write


def by_rank(writes: Mapping[str, Sequence[Write]], plans: Sequence[ObjectPlan]) -> list[list[Write]]:
    """Sort writes into rounds: parents first, links after their ends; what takes away is last, children first."""
    rank = {plan.name: at for at, plan in enumerate(plans)}
    rounds: dict[int, list[Write]] = {}
    for some in writes.values():
        for write in some:
            gives = write.op in (Op.UPSERT, Op.LINK)
            at = rank[write.object] if gives else 2 * len(rank) - rank[write.object]
            rounds.setdefault(at, []).append(write)
    return [rounds[at] for at in sorted(rounds)]
