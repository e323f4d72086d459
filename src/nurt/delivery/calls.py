"""Cut writes into calls: by object and kind, by count and by bytes; writes of a shared row become one write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import orjson

from nurt.model.delivery import Call, Limits, Op, Write


def calls_of(writes: Sequence[Write], limits: Limits, bulk: bool) -> Iterable[Call]:
    """Make calls of one round's writes; no call has a key twice.

    Args:
        bulk: whether a bulk interface may be taken, where the receiver has one and enough rows are there.
    """
    groups: dict[tuple[str, Op, bool], list[Write]] = {}
    for write in writes:
        groups.setdefault((write.object, write.op, write.believed), []).append(write)
    for (object_, op, believed), some in groups.items():
        may_be_bulk = bulk and limits.bulk_rows_max is not None and op is Op.UPSERT and not believed
        is_bulk = may_be_bulk and len(some) > limits.bulk_from
        rows_max = limits.bulk_rows_max if is_bulk and limits.bulk_rows_max else limits.rows_max
        yield from cut(object_, op, some, 1 if op in limits.one_row_ops else rows_max, limits.bytes_max, is_bulk)


def cut(object_: str, op: Op, writes: Sequence[Write], rows_max: int, bytes_max: int, bulk: bool) -> Iterable[Call]:
    """Cut writes into calls, by count and by bytes."""
    some: list[Write] = []
    size = 0
    for write in writes:
        bytes_ = len(orjson.dumps(write.fields, default=str)) + len(write.key) + 64
        if some and (len(some) == rows_max or size + bytes_ > bytes_max):
            yield Call(object_, op, tuple(some), bulk)
            some, size = [], 0
        some.append(write)
        size += bytes_
    if some:
        yield Call(object_, op, tuple(some), bulk)


def merge_writes(writes: Sequence[Write]) -> Write:
    """Make one write of several profiles' writes to one row: the newest revision's values win.

    It may make the row when one of them may, for that one has the whole row.
    """
    if len(writes) == 1:
        return writes[0]
    ordered = sorted(writes, key=lambda write: write.revision)
    fields = {name: value for write in ordered for name, value in write.fields.items()}
    return replace(
        ordered[-1],
        fields=fields,
        receiver_id=next((write.receiver_id for write in reversed(ordered) if write.receiver_id), None),
        whole=ordered[-1].whole and len(fields) == len(ordered[-1].fields),
        believed=all(write.believed for write in ordered),
    )
