"""Fold an order's rows into the order, and emit what the order adds to its account.

Hot path. An order without its own row adds nothing yet: lines may come first. An order that names no customer is a
guest's: its account is the order itself, and the order's email, phone and names serve as a customer row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nurt.columnar.text_codes import few_texts
from nurt.columnar.texts import Texts, coded_texts, join_texts
from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import Values
from nurt.model.entities import ENTITIES
from nurt.normalise.context import FoldContext
from nurt.profiles.order_partials import Sold, pack_order_partials
from nurt.profiles.people.of_orders import PARTS, add_people, identifiers_of_guests, people_of
from nurt.rows.children.contributions import (
    Contributions,
    ContributionSet,
    empty_contribution_set,
    join_contributions,
    no_contributions,
    no_ids,
    no_texts,
)
from nurt.rows.children.records import RecordsFolded, fold_records
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE, GUEST, LEFT_PART, NO_CURRENCY, ORDER_RECORDS
from nurt.rows.children.waiting import change_of_waiting
from nurt.state.column_major import Rows
from nurt.state.write_rows import pack_columns, pack_value

_ORDER = CODE["order"]
_ACCOUNT = ("part", "account", "system", "account_entity", "account_key")
_READ = (
    *(*_ACCOUNT, "currency", "market", "gross", "status", "placed_at"),
    *("sku", "category", "quantity", "returned_quantity", "amount", "open_amount", "due_on"),
)
"""Columns from which an order's contribution is made."""


@dataclass(frozen=True, slots=True)
class OrdersFolded:
    """Orders after a fold, and their contributions to accounts.

    Attributes:
        values: by owner, to store; absent: nothing is left of the order.
        changed: by owner: whether the value differs from the stored one.
        contributions: partials, and child records of guests.
        waiting: what is added to the counts of children without their order.
    """

    values: Values
    changed: Bools
    contributions: ContributionSet
    waiting: Mapping[tuple[str, str, str], int] = field(default_factory=dict)


def fold_orders(
    owner: Int64s,
    contributions: Contributions,
    stored: Values,
    order_ids: Words,
    stamp: int,
    context: FoldContext,
) -> OrdersFolded:
    """Fold contributions into orders and emit each order's whole current contribution.

    Args:
        owner: by contribution: index of its order.
        contributions: of rows.
        stored: values of ORDER_RECORDS, by owner, as read.
        order_ids: id of each owner.
        stamp: given to the orders' contributions.
        context: defaults of systems for orders without currency or market.
    """
    folded = fold_records(ORDER_RECORDS, stored, owner, contributions, drop=LEFT_PART)
    rows = Rows(ORDER_RECORDS, ORDER_RECORDS.locate(folded.values.body, folded.values.cuts, _READ), _READ)
    order_row = _order_rows(rows, len(stored))
    before = Rows(ORDER_RECORDS, ORDER_RECORDS.locate(stored.body, stored.cuts, _ACCOUNT), _ACCOUNT)
    left = _left_accounts(before, rows, order_row)
    values = _note_left(folded.values, left, stamp) if left else folded.values
    people = people_of(folded.values) if np.isin(rows.number("part"), PARTS).any() else None
    partials = _partials(rows, people, order_row, order_ids, stamp, context)
    records = _guests(rows, people, order_row, folded, order_ids, stamp)
    if left:
        gone = _gone(left, order_ids, stamp)
        partials, records = join_contributions([gone, partials]), join_contributions([gone, records])
    changed = folded.changed
    changed[[one.owner for one in left]] = True
    contributed = ContributionSet(empty_contribution_set().to_orders, records, partials)
    return OrdersFolded(values, changed, contributed, _waiting(before, rows, order_row))


def _waiting(before: Rows, rows: Rows, order_row: Int64s) -> Mapping[tuple[str, str, str], int]:
    was_there = _order_rows(before, len(order_row)) >= 0
    stood = before.number("part"), before.raw.owner, was_there
    return change_of_waiting(stood, (rows.number("part"), rows.raw.owner, order_row >= 0), "order")


def _order_rows(rows: Rows, owners: int) -> Int64s:
    """Find, by owner, the order's own row; -1: none."""
    order_row = np.full(owners, -1, dtype=np.int64)
    found = np.flatnonzero(rows.number("part") == _ORDER)
    order_row[rows.raw.owner[found]] = found
    return order_row


def _partials(
    rows: Rows, people: Rows | None, order_row: Int64s, order_ids: Words, stamp: int, context: FoldContext
) -> Contributions:
    """Emit what every order adds to its account."""
    owners = np.flatnonzero(order_row >= 0)
    if not len(owners):
        return no_contributions()
    system = rows.texts("system")
    sold = Sold(
        rows.raw.owner,
        rows.number("part"),
        _filled(rows, "currency", context.currency, NO_CURRENCY).as_tuple(),
        _filled(rows, "market", context.market, "").as_tuple(),
        rows.texts("status").as_tuple(),
        rows.texts("sku").as_tuple(),
        rows.present("sku"),
        rows.texts("category").as_tuple(),
        rows.present("category"),
        rows.number("gross"),
        rows.number("placed_at"),
        rows.present("placed_at"),
        rows.number("quantity") - rows.number("returned_quantity"),
        np.where(rows.present("open_amount"), rows.number("open_amount"), rows.number("amount")),
        rows.number("due_on"),
        rows.present("due_on"),
    )
    at = order_row[owners]
    body = pack_order_partials(sold, order_row, owners)
    if people is not None:
        body = add_people(body, people, order_row, owners)
    return Contributions(
        rows.ids("account", at).byteswap(),
        order_ids[owners],
        np.full(len(owners), stamp, dtype=np.int64),
        np.full(len(owners), _ORDER, dtype=np.int64),
        np.zeros(len(owners), dtype=np.bool_),
        body,
        system.take(at),
        rows.texts("account_entity").take(at),
        rows.texts("account_key").take(at),
        no_ids(len(owners)),
    )


def _filled(rows: Rows, name: str, known: Mapping[str, str], last: str) -> Texts:
    """Fill absent currencies or markets of orders from their system, then with `last`."""
    texts, absent = rows.texts(name), ~rows.present(name) & (rows.number("part") == _ORDER)
    missing = np.flatnonzero(absent)
    if not len(missing):
        return texts
    codes, systems = few_texts(rows.texts("system").take(missing))
    choices = [known.get(system, last) for system in systems]
    joined = join_texts([texts, coded_texts(codes, choices)])
    count = len(texts.starts)
    starts, stops = joined.starts[:count], joined.stops[:count]
    starts[missing], stops[missing] = joined.starts[count:], joined.stops[count:]
    return Texts(starts, stops, joined.body)


@dataclass(frozen=True, slots=True)
class _Left:
    """A former account of an order: the order emits "gone" to the account until no rewind can need it."""

    owner: int
    account: bytes
    system: bytes
    entity: bytes
    key: bytes


def _left_accounts(before: Rows, rows: Rows, order_row: Int64s) -> list[_Left]:
    """List the accounts that orders left, now or earlier; few orders ever leave one."""
    part, owner = before.number("part"), before.raw.owner
    some = np.flatnonzero(((part == _ORDER) | (part == LEFT_PART)) & before.present("account"))
    there = order_row[owner[some]]
    now = rows.ids("account", np.maximum(there, 0)) if len(rows.raw.owner) else no_ids(len(some))
    some = some[(there < 0) | (before.ids("account", some) != now).any(axis=1)]
    columns = [before.texts(name).take(some).plain() for name in _ACCOUNT[1:]]
    left: dict[tuple[int, bytes], _Left] = {}
    for one, account, *names in zip(owner[some].tolist(), *columns, strict=True):
        left[one, account] = _Left(one, account, *names)
    return list(left.values())


def _note_left(values: Values, left: Sequence[_Left], stamp: int) -> Values:
    """Store former accounts with their orders. Off the hot path: few orders ever leave one."""
    noted = values.plain()
    for one in left:
        fields: dict[str, int | bytes] = {"part": LEFT_PART, "child": one.account, "stamp": stamp, "system": one.system}
        fields |= {"account": one.account, "account_entity": one.entity, "account_key": one.key}
        packed = pack_value(ORDER_RECORDS, fields)
        stored_values = noted[one.owner]
        noted[one.owner] = (
            packed if stored_values is None else stored_values + packed[1:]
        )  # without a second version byte
    return Values.of(noted)


def _gone(left: Sequence[_Left], order_ids: Words, stamp: int) -> Contributions:
    """Emit "gone" to the former accounts of orders."""
    rows = len(left)
    return Contributions(
        np.frombuffer(b"".join(one.account for one in left), dtype=np.uint64).reshape(-1, 2),
        order_ids[[one.owner for one in left]],
        np.full(rows, stamp, dtype=np.int64),
        np.full(rows, _ORDER, dtype=np.int64),
        np.ones(rows, dtype=np.bool_),
        no_texts(rows),
        _texts([one.system for one in left]),
        _texts([one.entity for one in left]),
        _texts([one.key for one in left]),
        no_ids(rows),
    )


def _texts(some: Sequence[bytes]) -> Texts:
    ends = np.cumsum([0, *map(len, some)], dtype=np.int64)
    return Texts(ends[:-1], ends[1:], np.frombuffer(b"".join(some), dtype=np.uint8))


_SPOKEN = (
    *("system", "entity", "key", "position", "ts_ms"),
    *(name for name in ENTITIES["order"].fields if name in ACCOUNT_RECORDS.columns),
)
"""Fields of the person in a guest's order."""


def _guests(
    rows: Rows, people: Rows | None, order_row: Int64s, folded: RecordsFolded, order_ids: Words, stamp: int
) -> Contributions:
    """Make child records of guests' orders, which serve as customer rows."""
    owners = np.flatnonzero(order_row >= 0)
    owners = owners[_equal(rows.texts("account_entity").take(order_row[owners]), GUEST.encode())]
    if not len(owners):
        return no_contributions()
    stored_values = folded.values
    sizes = stored_values.cuts[owners + 1] - stored_values.cuts[owners]
    cuts = np.zeros(len(owners) + 1, dtype=np.int64)
    np.cumsum(sizes, out=cuts[1:])
    body = np.concatenate(
        [stored_values.body[stored_values.cuts[one] : stored_values.cuts[one + 1]] for one in owners.tolist()]
    )
    columns = ("part", *_ACCOUNT[1:2], "account_entity", "account_key", *_SPOKEN)
    whole = Rows(ORDER_RECORDS, ORDER_RECORDS.locate(body, cuts, columns), columns)
    at = np.flatnonzero(whole.number("part") == _ORDER)
    count = len(owners)
    child = order_ids[owners]
    numbers = {"part": np.full(count, _ORDER, dtype=np.int64), "stamp": np.full(count, stamp, dtype=np.int64)}
    texts = {"child": _id_texts(child)}
    present: dict[str, Bools] = {}
    for name in _SPOKEN:
        present[name] = whole.present(name)[at]
        if ACCOUNT_RECORDS.is_text[ACCOUNT_RECORDS.index[name]]:
            texts[name] = whole.texts(name).take(at)
        else:
            numbers[name] = whole.number(name)[at]
    if people is not None:
        guests = np.zeros(len(order_row), dtype=np.bool_)
        guests[owners] = True
        identifiers, found = identifiers_of_guests(people, guests)
        texts["identifiers"], present["identifiers"] = identifiers.take(owners), found[owners] > 0
    return Contributions(
        whole.ids("account", at).byteswap(),
        child,
        numbers["stamp"],
        numbers["part"],
        np.zeros(count, dtype=np.bool_),
        pack_columns(ACCOUNT_RECORDS, numbers, texts, present),
        whole.texts("system").take(at),
        whole.texts("account_entity").take(at),
        whole.texts("account_key").take(at),
        no_ids(count),
    )


def _equal(texts: Texts, one: bytes) -> Bools:
    """Return which texts equal this one."""
    same = texts.stops - texts.starts == len(one)
    for i, letter in enumerate(one):
        some = np.flatnonzero(same)
        same[some] = texts.body[texts.starts[some] + i] == letter
    return same


def _id_texts(ids: Words) -> Texts:
    body = np.ascontiguousarray(ids).view(np.uint8).reshape(-1)
    starts = np.arange(len(ids), dtype=np.int64) * 16
    return Texts(starts, starts + 16, body)
