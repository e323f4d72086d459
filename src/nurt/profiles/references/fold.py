"""Decide which order is meant by a value, and send there what names it.

A token's value has the orders that bear it, what names it with its whole contribution, and orders that were meant
before. The one bearer is meant; of several none, unless the mapping says which comes first. What the token sends lies
at the order under the child's id xor the token: a child that goes from one value to another, or to a key, is told by
two speakers, whose stamps do not compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nurt.columnar.memory import copy_bytes
from nurt.columnar.texts import Texts
from nurt.columnar.types import ID_BYTES, Bools, Bytes, Int64s, Words
from nurt.columnar.values import Values
from nurt.columnar.varint import VARINT_BYTES_MAX, from_zigzag, peek_within, put_unsigned, put_zigzag
from nurt.rows.children.contributions import Contributions, join_contributions, no_contributions, no_ids, no_texts
from nurt.rows.children.records import fold_records
from nurt.rows.children.tables import BEARER_PART, LEFT_PART, REFERENCES
from nurt.rows.children.waiting import change_of_waiting
from nurt.state.column_major import Rows
from nurt.state.packing import DAMAGED, unreadable
from nurt.state.write_rows import pack_value

BY_NO_ORDER, BY_SEVERAL = "order, by a field", "several orders, by a field"
"""What rows wait for, in the counts of waiting ones."""

_READ = ("part", "child", "stamp", "rank", "body")


@dataclass(frozen=True, slots=True)
class TokensFolded:
    """Tokens after a fold.

    Attributes:
        values: by owner, to store.
        changed: by owner: whether the value differs from the stored one.
        to_orders: what names a token, sent to the orders that are or were meant.
        waiting: what is added to the counts of rows that name a value which no order bears, or several.
    """

    values: Values
    changed: Bools
    to_orders: Contributions
    waiting: Mapping[tuple[str, str, str], int]


def fold_tokens(
    owner: Int64s, contributions: Contributions, stored: Values, token_ids: Words, stamp: int
) -> TokensFolded:
    """Fold contributions into tokens, and send everything that names a token to the order that is meant.

    Args:
        owner: by contribution: index of its token.
        contributions: of orders that bear a token, and of rows that name it.
        stored: values of REFERENCES, by owner, as read.
        token_ids: id of each owner.
        stamp: given to what is sent.
    """
    folded = fold_records(REFERENCES, stored, owner, contributions, drop=LEFT_PART)
    before, now = _Members(stored), _Members(folded.values)
    was, meant = before.meant(len(stored)), now.meant(len(stored))
    left = _left(before, was, now, meant)
    values, changed = folded.values, folded.changed
    if left:
        values = _note_left(values, left, stamp)
        changed[[one for one, _ in left]] = True
    names = np.flatnonzero(now.names)
    ended = _ended(now, names, owner, contributions)
    sent = [
        _sent(now.owner[names], now.part[names], now.child[names], now.texts(names), now, meant, token_ids, stamp),
        _sent(*ended, None, now, meant, token_ids, stamp),
    ]
    concerned = (
        np.concatenate((now.owner[names], ended[0])),
        np.concatenate((now.part[names], ended[1])),
        np.concatenate((now.child[names], ended[2])),
    )
    gone = list(_gone(concerned, left, token_ids, stamp))
    waiting = _waiting((before, was), (now, meant))
    return TokensFolded(values, changed, join_contributions([*gone, *sent]), waiting)


def _waiting(before: tuple[_Members, Int64s], after: tuple[_Members, Int64s]) -> Mapping[tuple[str, str, str], int]:
    """Count what names a value that no order bears, or several of which none is meant."""
    (stood, were), (stand, are) = ((members, _borne(members, meant)) for members, meant in (before, after))
    none = change_of_waiting(_of(stood, were[0]), _of(stand, are[0]), BY_NO_ORDER)
    several = change_of_waiting(_of(stood, were[1]), _of(stand, are[1]), BY_SEVERAL)
    return {**none, **several}


def _of(members: _Members, is_there: Bools) -> tuple[Int64s, Int64s, Bools]:
    return members.part, members.owner, is_there


def _borne(members: _Members, meant: Int64s) -> tuple[Bools, Bools]:
    """Return, by owner, whether an order bears the value, and whether no more do than one can be meant of."""
    is_borne = np.zeros(len(meant), dtype=np.bool_)
    is_borne[members.owner[members.part == BEARER_PART]] = True
    return is_borne, ~is_borne | (meant >= 0)


class _Members:
    """What meets at tokens: rows of REFERENCES."""

    def __init__(self, values: Values) -> None:
        self.rows = Rows(REFERENCES, REFERENCES.locate(values.body, values.cuts, _READ), _READ)
        self.owner, self.part = self.rows.raw.owner, self.rows.number("part")
        self.child = self.rows.ids("child", np.arange(len(self.part))).byteswap()
        self.names = (self.part != BEARER_PART) & (self.part != LEFT_PART)

    def texts(self, some: Int64s) -> Texts:
        """Give the contributions of rows that name a token."""
        return self.rows.texts("body").take(some)

    def meant(self, owners: int) -> Int64s:
        """Return, by owner, the row of the order that is meant; -1: none."""
        bearers = np.flatnonzero(self.part == BEARER_PART)
        found = np.full(owners, -1, dtype=np.int64)
        found[self.owner[bearers]] = bearers
        for one in np.flatnonzero(np.bincount(self.owner[bearers], minlength=owners) > 1).tolist():
            mine = bearers[self.owner[bearers] == one]
            found[one] = self._first(mine) if self.rows.present("rank")[mine].all() else -1
        return found

    def _first(self, bearers: Int64s) -> int:
        ranks = self.rows.texts("rank").take(bearers).plain()
        ids = [self.child[one].tobytes() for one in bearers]
        return int(bearers[min(range(len(bearers)), key=lambda one: (ranks[one], ids[one]))])


Left = Sequence[tuple[int, bytes]]
"""Tokens, by owner, and orders that they meant before."""


def _left(before: _Members, was: Int64s, now: _Members, meant: Int64s) -> Left:
    """List orders that tokens meant before, now or earlier, and mean no more."""
    found: dict[tuple[int, bytes], None] = {}
    former = [*np.flatnonzero(before.part == LEFT_PART).tolist(), *was[was >= 0].tolist()]
    for row in former:
        one, order = int(before.owner[row]), before.child[row].tobytes()
        if meant[one] < 0 or now.child[meant[one]].tobytes() != order:
            found[one, order] = None
    return list(found)


def _note_left(values: Values, left: Left, stamp: int) -> Values:
    """Store former orders with their tokens. Off the hot path: few tokens ever mean another order."""
    noted = values.plain()
    for one, order in left:
        packed = pack_value(REFERENCES, {"part": LEFT_PART, "child": order, "stamp": stamp})
        value = noted[one]
        noted[one] = packed if value is None else value + packed[1:]  # without a second version byte
    return Values.of(noted)


def _ended(now: _Members, names: Int64s, owner: Int64s, contributions: Contributions) -> tuple[Int64s, Int64s, Words]:
    """List what names a token no more: owner, part and child."""
    gone = np.flatnonzero(contributions.gone & (contributions.part != BEARER_PART))
    if len(gone):
        there = {(int(now.owner[row]), int(now.part[row]), now.child[row].tobytes()) for row in names}
        mine = zip(owner[gone].tolist(), contributions.part[gone].tolist(), contributions.child[gone], strict=True)
        gone = gone[[(one, part, child.tobytes()) not in there for one, part, child in mine]]
    return owner[gone], contributions.part[gone], contributions.child[gone]


def _sent(
    owner: Int64s,
    part: Int64s,
    child: Words,
    bodies: Texts | None,
    now: _Members,
    meant: Int64s,
    token_ids: Words,
    stamp: int,
) -> Contributions:
    """Send what names tokens, or (without bodies) named them, to the orders that are meant."""
    some = np.flatnonzero(meant[owner] >= 0)
    if not len(some):
        return no_contributions()
    to = now.child[meant[owner[some]]]
    slots = child[some] ^ token_ids[owner[some]]
    body = no_texts(len(some)) if bodies is None else _readdressed(bodies.take(some), slots, stamp)
    return _contributions(to, slots, part[some], body, stamp, bodies is None)


def _gone(concerned: tuple[Int64s, Int64s, Words], left: Left, token_ids: Words, stamp: int) -> Iterator[Contributions]:
    """Take everything that names or named a token away from the orders that it meant before."""
    owner, part, child = concerned
    for one, order in left:
        mine = np.flatnonzero(owner == one)
        to = np.tile(np.frombuffer(order, dtype=np.uint64), (len(mine), 1))
        yield _contributions(to, child[mine] ^ token_ids[one], part[mine], no_texts(len(mine)), stamp, True)


def _contributions(to: Words, child: Words, part: Int64s, body: Texts, stamp: int, gone: bool) -> Contributions:
    rows = len(to)
    none = no_texts(rows)
    stamps = np.full(rows, stamp, dtype=np.int64)
    return Contributions(to, child, stamps, part, np.full(rows, gone), body, none, none, none, no_ids(rows))


def _readdressed(bodies: Texts, child: Words, stamp: int) -> Texts:
    """Write child records again with another child and stamp."""
    sizes = bodies.stops - bodies.starts
    out = np.empty(int(sizes.sum()) + VARINT_BYTES_MAX * len(sizes), dtype=np.uint8)
    ends = np.zeros(len(sizes) + 1, dtype=np.int64)
    found = _readdress(bodies.starts, bodies.stops, bodies.body, np.ascontiguousarray(child), stamp, out, ends)
    if found < 0:
        raise unreadable(DAMAGED, "references")
    return Texts(ends[:-1], ends[1:], out)


@numba.njit(nogil=True, cache=True)
def _readdress(starts: Int64s, stops: Int64s, body: Bytes, child: Words, stamp: int, out: Bytes, ends: Int64s) -> int:
    """Copy child records; the first three columns (part, child, stamp) are read, and two of them changed.

    starts, stops  (n,)    int64   record i is body[starts[i]:stops[i]]
    body           (b,)    uint8   packed records
    child          (n, 2)  uint64  ids to write
    stamp          scalar  int64   to write
    out            (m,)    uint8   written; room for all records, and for longer stamps
    ends           (n+1,)  int64   written: record i is out[ends[i]:ends[i+1]]; 0 before
    Returns the bytes written; negative: a record ends within one of these columns.
    """
    base, to = body.ctypes.data, out.ctypes.data
    at = 0
    for row in range(len(starts)):
        end = base + stops[row]
        bitmap, here = peek_within(base + starts[row], end)
        part, here = peek_within(here, end)
        size, here = peek_within(here, end)
        if size != np.uint64(ID_BYTES) or end - here < ID_BYTES:
            return -1
        _, here = peek_within(here + ID_BYTES, end)
        if here > end:
            return -1
        at = put_unsigned(out, at, bitmap)
        at = put_zigzag(out, at, from_zigzag(part))
        at = put_unsigned(out, at, ID_BYTES)
        copy_bytes(to + at, child.ctypes.data + ID_BYTES * row, ID_BYTES)
        at = put_zigzag(out, at + ID_BYTES, stamp)
        copy_bytes(to + at, here, end - here)
        at += end - here
        ends[row + 1] = at
    return at
