"""Fold change events into rows.

Hot path: plain arrays, a few kernel calls for an entity kind. A row's state is its newest event, and the parents that
the row left. Whatever arrives, old or new, the row emits its stored contribution again to its parent and "gone" to the
parents it left, because a replay must emit again what a crash lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
import polars as pl

from nurt.columnar.distinct import distinct
from nurt.columnar.memory import copy_bytes, trailing_zeros
from nurt.columnar.types import ID_BYTES, Bits, Bools, Bytes, Int8s, Int64s, Words
from nurt.columnar.values import PADDING_BYTES, Values
from nurt.columnar.varint import VARINT_BYTES_MAX, put_unsigned, put_zigzag
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT
from nurt.rows.instances import Instances, RankOf, Speakers, as_rows, choose, find_instances
from nurt.rows.layouts import (
    HIGHEST,
    HIGHEST_AT,
    LEFT,
    LEFT_BITS,
    OP,
    OTHER,
    P0_BIT,
    PARENT,
    PARENT_BIT,
    PARENT_COLUMNS,
    PARENT_KIND,
    PART,
    POSITION,
    ROOTS,
    ROW_LAYOUTS,
    TOPIC_AT,
    field_names,
)
from nurt.rows.positions import settle
from nurt.rows.read_frames import Incoming
from nurt.rows.tokens import KIND as TOKENS_OF
from nurt.rows.tokens import Tokens
from nurt.state.row_major import Layout, RowArrays, RowTuple, join_rows, put_text, read_values, text_bytes_of
from nurt.state.table import VERSION


@dataclass(frozen=True, slots=True)
class RowsFolded:
    """Rows after a fold: every row's current state, and the parents that the row left, sorted by owner.

    Attributes:
        layout: of the kind's stored rows.
        rows: stored rows and rows that arrived; the current state is a part of them.
        at: which of `rows` the current state is.
        owner: owner of each row of the current state.
        left: the row is a parent that the owner left: only the columns parent, parent's kind and system count.
        accepted: for each incoming event, whether the event was news.
        changed: by owner: whether there is something new to store.
        missing: by owner: bits of the missing columns of its newest event; None: nothing is missing.
        others: which of `rows` are instances that do not speak, and their owners; None: there are none.
        speakers: what was found where several topics hold rows; None: no row has two instances.
        doubt: for each incoming event, whether it met one of another partition that nothing compares it to.
    """

    layout: Layout
    rows: RowArrays
    at: Int64s
    owner: Int64s
    left: Bools
    accepted: Bools
    changed: Bools
    missing: Int64s | None = None
    others: tuple[Int64s, Int64s] | None = None
    speakers: Speakers | None = None
    doubt: Bools | None = None

    def values(self) -> Values:
        """Pack the values to store, by owner; absent where nothing changed."""
        return self._packed(self.changed)

    def frame(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Give the state as a frame: columns of the stored row (or only these), and owner. Not for the hot path.

        Instances that do not speak are not in it: its rows are those of `at`.
        """
        speaking = replace(self, others=None)._packed(np.ones(len(self.changed), dtype=np.bool_))
        return self.layout.table.unpack(speaking.plain(), columns)

    def _packed(self, owners: Bools) -> Values:
        at, owner, part = self.at, self.owner, self.left.view(np.int8)
        if self.others is not None:
            silent, of = self.others
            at, owner = np.concatenate((at, silent)), np.concatenate((owner, of))
            part = np.concatenate((part, np.full(len(silent), OTHER, dtype=np.int8)))
            order = np.argsort(owner, kind="stable")
            at, owner, part = at[order], owner[order], part[order]
        chosen = owners[owner]
        if not chosen.all():
            at, owner, part = at[chosen], owner[chosen], part[chosen]
        rows, layout = self.rows, self.layout
        row_bytes_max = 1 + VARINT_BYTES_MAX * (1 + len(layout.is_text))
        room_bytes = len(at) * row_bytes_max + text_bytes_of(at, rows.starts, rows.stops)
        out = np.empty(room_bytes + PADDING_BYTES, dtype=np.uint8)
        ends = np.zeros(len(owners) + 1, dtype=np.int64)
        _pack(
            at, owner, part, LEFT_BITS, layout.is_text, layout.slot, VERSION, rows.as_tuple(), out, ends,
        )  # fmt: skip
        return Values(out, ends)


def fold_rows(
    kind: str,
    incoming: Incoming,
    values: Values,
    rank_of: RankOf = lambda _code: 0,
    tokens: Tokens | None = None,
) -> RowsFolded:
    """Apply events to rows in arrival order; an event strictly older than its row is old news.

    Where several topics hold a table, each row has an instance for each of them, which the topic's events change.

    Args:
        kind: the entity kind.
        incoming: events, each with its owner.
        values: by owner, as read.
        rank_of: place of a topic, by its code, in the mapping's order of the table's topics.
        tokens: makes those of orders that others name by a field; None: nobody does.
    Source: PostgreSQL `source.sequence`, MySQL `file, pos, row`, SQL Server LSNs; equal or null parts are decided by
        the Kafka offset within one partition, which has a row's events in order.
    """
    stored, owners = read_values(ROW_LAYOUTS[kind], values), len(values)
    rows = join_rows(stored, incoming.rows)
    marks = _marks(rows.bits, TOPIC_AT[kind][0])
    instances = find_instances(kind, rows, len(stored), owners) if marks & _TOPIC else None
    if instances is not None:
        rows, owners = as_rows(rows, instances), len(instances.owner)
    winner = np.full(owners, -1, dtype=np.int64)
    highest = np.full(owners, -1, dtype=np.int64)
    accepted = np.zeros(len(rows), dtype=np.bool_)
    doubt = np.zeros(len(rows), dtype=np.bool_)
    partitions = _partitions(rows, len(stored), incoming) if marks & _PLACED else _NOBODY_ASKS
    settle(
        rows.owner, rows.bits, rows.numbers, HIGHEST_AT[kind], TOPIC_AT[kind][1], partitions,
        winner, accepted, highest, doubt,
    )  # fmt: skip
    changed, news = winner >= len(stored), accepted[len(stored) :]
    missing: Int64s | None = None
    again = (highest >= 0) & (highest != winner + len(rows))  # else the row has it stored
    if incoming.unavailable is not None or again.any():
        state = rows.take(winner)
        if incoming.unavailable is not None:
            missing = _hold(
                kind, state, rows, accepted, np.concatenate((np.zeros(len(stored), np.int64), incoming.unavailable))
            )
            if missing is not None and instances is not None:
                missing = _borrow(kind, state, instances, missing)
        _raise_highest(kind, state, rows, np.flatnonzero(again), highest[again])
        winner = np.arange(owners) + len(rows)
        rows = join_rows(rows, state)
        accepted = np.concatenate((accepted, np.zeros(owners, dtype=np.bool_)))
    others = speakers = None
    if instances is not None:
        owners = len(values)
        speakers = choose(kind, instances, rows.take(winner), owners, rank_of)
        silent = np.ones(len(winner), dtype=np.bool_)
        silent[speakers.instance] = False
        others = winner[silent], instances.owner[silent]
        rows, winner = replace(rows, owner=instances.owner[rows.owner]), winner[speakers.instance]
        changed, missing = _by_owner(instances, speakers, changed, missing)
    at, owner = winner, np.arange(owners)
    left = np.zeros(owners, dtype=np.bool_)
    gone = at[:0]
    if kind not in ROOTS:
        gone = left_parents(rows, accepted, winner)
    elif tokens is not None and kind == TOKENS_OF:
        rows, gone = tokens.left(rows, accepted, winner)
    if len(gone):
        at, owner = np.concatenate((at, gone)), np.concatenate((owner, rows.owner[gone]))
        left = np.concatenate((left, np.ones(len(gone), dtype=np.bool_)))
        order = np.argsort(owner, kind="stable")
        at, owner, left = at[order], owner[order], left[order]
    return RowsFolded(
        ROW_LAYOUTS[kind], rows, at, owner, left, news, changed, missing, others, speakers, doubt[len(stored) :]
    )


def _partitions(rows: RowArrays, stored: int, incoming: Incoming) -> Int64s:
    """Say of each row how many partitions its topic has."""
    partitions = np.zeros(len(rows), dtype=np.int64)
    if incoming.partitions is not None:
        partitions[stored:] = incoming.partitions
    return partitions


_NOBODY_ASKS = np.zeros(0, dtype=np.int64)
_TOPIC, _PLACED = 1, 2


@numba.njit(nogil=True, cache=True)
def _marks(bits: Bits, topic: int) -> int:
    """Ask whether a batch has rows that need more than a comparison of positions.

    bits   (n,)    uint64  bit i: column i is not null
    topic  scalar  int64   bit of the column `topic`
    Returns _TOPIC: some row notes its topic; _PLACED: some may have only the place of its key (see `key_places`).
    """
    topics = np.uint64(0)
    places = False
    for row in range(len(bits)):
        topics |= bits[row] >> np.uint64(topic)
        places |= bits[row] >> np.uint64(P0_BIT) & np.uint64(15) == 12
    return (_TOPIC if topics & np.uint64(1) else 0) | (_PLACED if places else 0)


def _by_owner(
    instances: Instances, speakers: Speakers, changed: Bools, missing: Int64s | None
) -> tuple[Bools, Int64s | None]:
    """Say by owner what is known by instance: what changed, and which columns are missing."""
    by_owner = (speakers.instance != instances.spoke) & (instances.spoke >= 0)
    np.logical_or.at(by_owner, instances.owner, changed)
    if missing is None:
        return by_owner, None
    bits = np.zeros(len(by_owner), dtype=np.int64)
    np.bitwise_or.at(bits, instances.owner, missing)
    return by_owner, bits


def _hold(kind: str, state: RowArrays, rows: RowArrays, accepted: Bools, masks: Int64s) -> Int64s | None:
    """Take each unavailable column from the event before; off the hot path, because TOAST columns are rare.

    Returns, by owner, the columns without an earlier value: the row was re-keyed, or deleted by flag and came back.

    Source: Debezium `__debezium_unavailable_value`.
    """
    missing = np.zeros(len(state), dtype=np.int64)
    alive = state.numbers[:, OP] != DELETE
    for bit, names in _held_columns(kind):
        is_unavailable = (masks >> bit) & 1 == 1
        if not (is_unavailable & accepted).any():
            continue
        source = np.full(len(state), -1, dtype=np.int64)
        takes = np.flatnonzero(accepted & ~is_unavailable)
        source[rows.owner[takes]] = takes  # the last one wins: rows are in arrival order
        # where every event lacks the column, the column stays null
        known = source >= 0
        asked = np.zeros(len(state), dtype=np.bool_)
        asked[rows.owner[is_unavailable & accepted]] = True
        gone = known & (rows.numbers[source, OP] == DELETE)
        missing[asked & alive & (~known | gone)] |= np.int64(1 << bit)
        _copy_columns(kind, names, state, rows, source, known)
    return missing if missing.any() else None


def _held_columns(kind: str) -> list[tuple[int, Sequence[str]]]:
    """List the bits of columns that may come without their value, with the columns of each."""
    fields: list[tuple[int, Sequence[str]]] = [(bit, [name]) for bit, name in enumerate(field_names(kind))]
    return [*fields, (UNAVAILABLE_PARENT_BIT, PARENT_COLUMNS)]


def _copy_columns(
    kind: str, names: Sequence[str], state: RowArrays, rows: RowArrays, source: Int64s, known: Bools
) -> None:
    """Set columns of every row of `state` from the rows `source`; null where that is not known."""
    layout = ROW_LAYOUTS[kind]
    for name in names:
        column, place = layout.column(name), layout.place(name)
        bit_mask = np.uint64(1 << column)
        there = known & rows.has(column, source)
        state.bits[:] = np.where(there, state.bits | bit_mask, state.bits & ~bit_mask)
        if layout.is_text[column]:
            state.starts[:, place] = np.where(there, rows.starts[source, place], 0)
            state.stops[:, place] = np.where(there, rows.stops[source, place], 0)
        else:
            state.numbers[:, place] = np.where(there, rows.numbers[source, place], 0)


def _borrow(kind: str, state: RowArrays, instances: Instances, missing: Int64s) -> Int64s | None:
    """Take missing columns from the instance that spoke before, or came first: what did not change is equal there."""
    every = np.arange(len(state))
    first = np.full(len(instances.spoke), -1, dtype=np.int64)
    first[instances.owner[::-1]] = every[::-1]
    source = np.where(instances.spoke >= 0, instances.spoke, first)[instances.owner]
    able = (source >= 0) & (source != every) & (state.numbers[source, OP] != DELETE)
    for bit, names in _held_columns(kind):
        takes = able & (missing >> bit & 1 == 1) & (missing[source] >> bit & 1 == 0)
        if takes.any():
            _copy_columns(kind, names, state, state, np.where(takes, source, every), np.ones_like(takes))
            missing[takes] &= ~np.int64(1 << bit)
    return missing if missing.any() else None


def _raise_highest(kind: str, state: RowArrays, rows: RowArrays, owners: Int64s, highest: Int64s) -> None:
    """Keep the highest known position of a row beside a position that lacks a part."""
    layout = ROW_LAYOUTS[kind]
    from_events = highest < len(rows)
    source = np.where(from_events, highest, highest - len(rows))
    for position, name in zip(POSITION, HIGHEST, strict=True):
        there = np.where(from_events, rows.has(layout.column(position), source), rows.has(layout.column(name), source))
        found = [rows.numbers[source, layout.place(one)] for one in (position, name)]
        bit_mask = np.uint64(1 << layout.column(name))
        state.bits[owners] = np.where(there, state.bits[owners] | bit_mask, state.bits[owners] & ~bit_mask)
        state.numbers[owners, layout.place(name)] = np.where(there, np.where(from_events, *found), 0)


def left_parents(rows: RowArrays, accepted: Bools, winner: Int64s) -> Int64s:
    """List the former parents of rows: stored ones, and those within the batch."""
    found = np.empty(len(rows), dtype=np.int64)
    keys = np.empty((len(rows), _KEY_WORDS), dtype=np.uint64)
    arrays = rows.bits, rows.numbers, rows.starts, rows.stops, rows.body
    count = _find_left(rows.owner, *arrays, accepted, winner, found, keys)
    if not count:
        return found[:0]
    return found[distinct(keys[:count])[1]]


_KEY_WORDS = 4
"""Owner, parent (16 bytes), and the first letters of its kind."""


@numba.njit(nogil=True, cache=True)
def _find_left(
    owner: Int64s,
    bits: Bits,
    numbers: Int64s,
    starts: Int64s,
    stops: Int64s,
    body: Bytes,
    accepted: Bools,
    winner: Int64s,
    found: Int64s,
    keys: Words,
) -> int:
    """Collect rows whose parent differs from that of the owner's newest row, with keys that tell the rows apart.

    owner     (n,)    int64   index of the owner
    bits, numbers, starts, stops, body  of n rows, stored ones first, see RowArrays; no RowTuple: the call is short
    accepted  (n,)    bool    the row was news
    winner    (o,)    int64   by owner: its newest row
    found     (n,)    int64   written: rows with a former parent; those of the batch first
    keys      (n, 4)  uint64  written: owner, parent's id, first 8 bytes of the parent's kind
    Returns how many rows were found.
    """
    count = 0
    has = np.uint64(1) << np.uint64(PARENT_BIT)
    for passed in range(2):
        for row in range(len(owner)):
            was_left = numbers[row, PART] == LEFT
            if passed == was_left or not (was_left or accepted[row]) or not bits[row] & has:
                continue
            now = winner[owner[row]]
            start = starts[row, PARENT]
            if bits[now] & has:
                same = True
                at = starts[now, PARENT]
                for i in range(ID_BYTES):
                    same = same and body[start + i] == body[at + i]
                if same:
                    continue
            found[count] = row
            keys[count, 0] = owner[row]
            keys[count, 3] = 0
            to_address = keys.ctypes.data + 8 * _KEY_WORDS * count
            copy_bytes(to_address + 8, body.ctypes.data + start, ID_BYTES)
            kind = starts[row, PARENT_KIND]
            copy_bytes(to_address + 24, body.ctypes.data + kind, min(8, stops[row, PARENT_KIND] - kind))
            count += 1
    return count


@numba.njit(nogil=True, cache=True)
def _pack(
    rows: Int64s,
    owner: Int64s,
    part: Int8s,
    left_bits: int,
    is_text: Bools,
    slot: Int64s,
    version: int,
    unavailable: RowTuple,
    out: Bytes,
    ends: Int64s,
) -> None:
    """Pack rows into one value for each owner.

    rows       (n,)    int64     which rows of `unavailable`
    owner      (n,)    int64     index of the owner, ascending
    part       (n,)    int8      ROW, LEFT or OTHER; of a former parent only `left_bits` are written
    left_bits  scalar  int64     bits of columns
    is_text    (c,)    bool      by column
    slot       (c,)    int64     by column: its place among texts or numbers
    unavailable (r, .) RowTuple  the rows, see RowArrays
    out        (m,)    uint8     written
    ends       (o+1,)  int64     written: value i is out[ends[i]:ends[i+1]]
    """
    bits, numbers, starts, stops, body = unavailable
    at = 0
    value = 0
    to_address, address = out.ctypes.data, body.ctypes.data
    for one in range(len(rows)):
        if one == 0 or owner[one] != owner[one - 1]:
            while value < owner[one]:
                value += 1
                ends[value] = at
            out[at] = version
            at += 1
        row = rows[one]
        shown = bits[row]
        if part[one] == LEFT:
            shown &= np.uint64(left_bits)
        at = put_unsigned(out, at, shown)
        while shown:
            column = trailing_zeros(shown)
            shown &= shown - np.uint64(1)
            place = slot[column]
            if is_text[column]:
                start = starts[row, place]
                at = put_text(out, at, to_address, address, start, stops[row, place] - start)
            else:
                number = numbers[row, place] if column else np.int64(part[one])
                at = put_zigzag(out, at, number)
    for rest in range(value + 1, len(ends)):
        ends[rest] = at
