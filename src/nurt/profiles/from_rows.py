"""What rows say to orders and accounts: per kind, which columns of a row become which columns of a slot or a share.

Hot path: slots and shares are packed from the arrays of the folded rows, without a frame. Only identifiers of customers
and of guests' orders pass through polars, which normalises them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts, coded_texts, join_texts
from nurt.columnar.types import Bools, Int64s, Words
from nurt.model.entity_frame import DELETE
from nurt.normalise.already_normal import plain_emails, plain_phones
from nurt.normalise.context import FoldContext
from nurt.rows.child_tables import ACCOUNT_SLOTS, CODE, DAY_US, INTERACTION, INVOICE, NO_CURRENCY, ORDER_SLOTS
from nurt.rows.contributions import (
    Contributions,
    Said,
    join_contributions,
    join_said,
    no_contributions,
    no_ids,
    no_texts,
    nothing_said,
)
from nurt.rows.fold import RowsFolded
from nurt.rows.guests import guest_entities, guest_ids, guest_keys
from nurt.rows.layouts import PARENT_BIT, ROW_LAYOUTS
from nurt.rows.read_frames import read_columns
from nurt.rows.write_contributions import (
    Buckets,
    Given,
    SlotPlan,
    pack_shares,
    pack_slots,
    position_texts,
)
from nurt.state.row_major import Layout, RowArrays
from nurt.state.table import Table


def said_by_rows(kind: str, folded: RowsFolded, ids: Words, stamp: int, context: FoldContext) -> Said:
    """Say every row's stored contribution to its parent, and "gone" to the parents it left.

    Args:
        kind: the entity kind.
        folded: rows of that kind.
        ids: of each owner.
        stamp: given to everything that is said; larger than any before.
        context: what the mapping says of systems and identifiers.
    """
    if kind not in _SPEAKS or not len(folded.at):
        return nothing_said()
    rows, at, owner, gone = folded.rows, folded.at, folded.owner, folded.left
    if kind in _OWN:
        gone = rows.numbers[at, ROW_LAYOUTS[kind].place("op")] == DELETE
    else:
        has_parent = rows.has(PARENT_BIT, at)
        if not has_parent.all():
            at, owner, gone = at[has_parent], owner[has_parent], gone[has_parent]
    child = ids[owner]
    to = child if kind in _OWN else rows.ids(ROW_LAYOUTS[kind].place("parent"), at)
    return _SPEAKS[kind](_Speaking(kind, rows, at, gone, child, to, stamp), context)


_OWN = frozenset({"customer", "order"})
"""Kinds that speak to the level that bears their own id; of them who is deleted is gone, of others who left."""


@dataclass(frozen=True, slots=True)
class _Speaking:
    """Rows of a kind that speak.

    Attributes:
        rows, at: which of all rows they are.
        gone: it is no more, or has left the parent.
        child, to: ids of each and of its parent.
    """

    kind: str
    rows: RowArrays
    at: Int64s
    gone: Bools
    child: Words
    to: Words
    stamp: int

    def __len__(self) -> int:
        return len(self.at)

    def take(self, chosen: Bools) -> _Speaking:
        """Choose rows."""
        return replace(self, at=self.at[chosen], gone=self.gone[chosen], child=self.child[chosen], to=self.to[chosen])

    def text(self, name: str) -> Texts:
        """Give a column of texts; empty where absent."""
        return self.rows.text(ROW_LAYOUTS[self.kind].place(name), self.at)

    def number(self, name: str) -> Int64s:
        """Give a column of numbers; 0 where absent."""
        found: Int64s = self.rows.numbers[self.at, ROW_LAYOUTS[self.kind].place(name)]
        return found

    def has(self, name: str) -> Bools:
        """Say where a column is not null."""
        return self.rows.has(ROW_LAYOUTS[self.kind].column(name), self.at)

    def slots(self, plan: SlotPlan, given: Sequence[Given] = ()) -> Texts:
        """Pack what the rows say into slots."""
        return pack_slots(plan, self.rows, self.at, self.gone, self.child, CODE[self.kind], self.stamp, given)

    def to_order(self, body: Texts) -> Contributions:
        """Say bodies to orders."""
        none, nowhere = no_texts(len(self)), no_ids(len(self))
        return Contributions(self.to, self.child, *self._marks(), body, none, none, none, nowhere)

    def to_account(self, body: Texts) -> Contributions:
        """Say bodies to accounts; of one that was left only its id and system are known."""
        moved_to = no_ids(len(self))
        if self.kind in _OWN:
            entity, key = self.text("entity"), self.text("key")
            moved_to = self.rows.ids(ROW_LAYOUTS[self.kind].place("moved_to"), self.at)
        else:
            entity, key = (self._but_gone(self.text(name)) for name in ("parent_entity", "parent_key"))
        return Contributions(self.to, self.child, *self._marks(), body, self.text("system"), entity, key, moved_to)

    def _marks(self) -> tuple[Int64s, Int64s, Bools]:
        return np.full(len(self), self.stamp), np.full(len(self), CODE[self.kind]), self.gone

    def _but_gone(self, texts: Texts) -> Texts:
        return replace(texts, stops=np.where(self.gone, texts.starts, texts.stops)) if self.gone.any() else texts


# -- what each kind says

_NOTHING = no_contributions()
_ORDERS, _ACCOUNTS = Layout(ORDER_SLOTS), Layout(ACCOUNT_SLOTS)
_CUSTOMER_IDENTIFIERS = ("email", "phone", "tax_id", "loyalty_card", "identifiers")
_CUSTOMERS = SlotPlan(_ACCOUNTS, ROW_LAYOUTS["customer"], given=("position", *_CUSTOMER_IDENTIFIERS))


def _customers(said: _Speaking, context: FoldContext) -> Said:
    given = [_positions(said), *_normalised(said, _CUSTOMER_IDENTIFIERS, context)]
    return _only(slots=said.to_account(said.slots(_CUSTOMERS, given)))


_PERSON = ("entity", "key", "email", "phone", "first_name", "last_name", "country", "ts_ms")
_KNOWN_ORDERS = SlotPlan(
    _ORDERS,
    ROW_LAYOUTS["order"],
    {**dict.fromkeys(_PERSON), "account": "parent", "account_entity": "parent_entity", "account_key": "parent_key"},
)
_GUEST_IDENTIFIERS = ("email", "phone")
_GUEST_ORDERS = SlotPlan(
    _ORDERS,
    ROW_LAYOUTS["order"],
    given=("position", "account", "account_entity", "account_key", *_GUEST_IDENTIFIERS),
)


def _orders(said: _Speaking, context: FoldContext) -> Said:
    """Say orders to themselves, each with its account; only a guest's order speaks of a person."""
    guest = ~said.has("parent") & ~said.gone
    if not guest.any():
        return _only(to_orders=said.to_order(said.slots(_KNOWN_ORDERS)))
    known, guests = said.take(~guest), said.take(guest)
    return _only(
        to_orders=join_contributions(
            [
                known.to_order(known.slots(_KNOWN_ORDERS)),
                guests.to_order(
                    guests.slots(
                        _GUEST_ORDERS,
                        [
                            _positions(guests),
                            *_guest_accounts(guests, context),
                            *_normalised(guests, _GUEST_IDENTIFIERS, context),
                        ],
                    )
                ),
            ]
        )
    )


def _guest_accounts(guests: _Speaking, context: FoldContext) -> list[Given]:
    """Name the accounts that guests' orders are: id, entity and key."""
    everywhere = np.ones(len(guests), dtype=np.bool_)
    system, entity, key = (guests.text(name) for name in ("system", "entity", "key"))
    ids = guest_ids(system, entity, key, context.ids)
    named = (ids, guest_entities(len(guests)), guest_keys(entity, key))
    return [Given(texts, everywhere) for texts in named]


_CHILDREN_OF_ORDERS: Mapping[str, SlotPlan] = {
    kind: SlotPlan(_ORDERS, ROW_LAYOUTS[kind], dict.fromkeys(("system", "entity", "key", "ts_ms")))
    for kind in ("order_line", "payment", "shipment")
}


def _children_of_orders(said: _Speaking, _context: FoldContext) -> Said:
    return _only(to_orders=said.to_order(said.slots(_CHILDREN_OF_ORDERS[said.kind])))


_CHILDREN_OF_ACCOUNTS: Mapping[str, SlotPlan] = {
    kind: SlotPlan(_ACCOUNTS, ROW_LAYOUTS[kind], dict.fromkeys(("entity", "key", "ts_ms")))
    for kind in ("address", "consent")
}


def _addresses_and_consents(said: _Speaking, _context: FoldContext) -> Said:
    return _only(slots=said.to_account(said.slots(_CHILDREN_OF_ACCOUNTS[said.kind])))


_INVOICES = SlotPlan(
    _ORDERS, ROW_LAYOUTS["invoice"], dict.fromkeys(("system", "entity", "key", "ts_ms")), given=("currency",)
)
_PAID = ("paid", "cancelled")


def _invoices(said: _Speaking, context: FoldContext) -> Said:
    """Say invoices to their orders, or else to their accounts, which add up those that are open by due day."""
    parent = codes_of(said.text("parent_kind"), ("order", "customer"))
    up, beside = (said.take(parent == code) for code in range(2))
    to_orders = shares = _NOTHING
    if len(up):
        currency = Given(_filled_currency(up, context), np.ones(len(up), dtype=np.bool_))
        to_orders = up.to_order(up.slots(_INVOICES, [currency]))
    if len(beside):
        open_amount = beside.number("open_amount")
        amount = np.where(beside.has("open_amount"), open_amount, beside.number("amount"))
        is_open = (amount > 0) & (codes_of(beside.text("status"), _PAID) < 0)
        currency_texts = _filled_currency(beside, context)
        days = beside.number("due_on"), beside.has("due_on")
        bucket = Buckets(INVOICE, is_open, currency_texts, *days, amount)
        shares = beside.to_account(pack_shares(beside.gone, bucket))
    return _only(to_orders=to_orders, shares=shares)


def _interactions(said: _Speaking, _context: FoldContext) -> Said:
    rows = len(said)
    always, nothing = np.ones(rows, dtype=np.bool_), np.zeros(rows, dtype=np.int64)
    bucket = Buckets(INTERACTION, always, no_texts(rows), said.number("at") // DAY_US, said.has("at"), nothing)
    return _only(shares=said.to_account(pack_shares(said.gone, bucket)))


_SPEAKS: Mapping[str, Callable[[_Speaking, FoldContext], Said]] = {
    "customer": _customers,
    "order": _orders,
    "order_line": _children_of_orders,
    "payment": _children_of_orders,
    "shipment": _children_of_orders,
    "invoice": _invoices,
    "address": _addresses_and_consents,
    "consent": _addresses_and_consents,
    "interaction": _interactions,
}


def _positions(said: _Speaking) -> Given:
    return Given(position_texts(said.rows, said.at), np.ones(len(said), dtype=np.bool_))


def _filled_currency(said: _Speaking, context: FoldContext) -> Texts:
    """Fill a currency that the row does not name from its system."""
    own, has = said.text("currency"), said.has("currency")
    if has.all():
        return own
    systems = list(context.currency)
    # a system that is not known has code -1: the last
    usual = coded_texts(
        codes_of(said.text("system"), systems), [*map(context.currency.__getitem__, systems), NO_CURRENCY]
    )
    both = join_texts([own, usual])
    at = np.arange(len(has)) + np.where(has, 0, len(has))
    return both.take(at)


_IDENTIFIERS = Layout(Table(dict.fromkeys((*_CUSTOMER_IDENTIFIERS, "country", "system"), pl.String())))


_PLAIN: Mapping[str, Callable[[Texts], Bools]] = {"email": plain_emails, "phone": plain_phones}


def _normalised(said: _Speaking, names: Sequence[str], context: FoldContext) -> list[Given]:
    """Normalise identifiers; rows where all are normal already, or that have none, do not pass through polars."""
    texts, has = [said.text(name) for name in names], [said.has(name) for name in names]
    rest = np.zeros(len(said), dtype=np.bool_)
    for name, text, there in zip(names, texts, has, strict=True):
        if there.any():
            rest |= there & ~_PLAIN[name](text) if name in _PLAIN else there
    if not rest.any():
        return [Given(text, there) for text, there in zip(texts, has, strict=True)]
    some = said.take(rest)
    seen = [name for name, there in zip(names, has, strict=True) if there[rest].any()]
    frame = pl.DataFrame([_column(some, name) for name in (*seen, "country", "system")])
    frame = context.normalised(frame, [name for name in seen if name != "identifiers"])
    rows = read_columns(_IDENTIFIERS, [frame.select(seen)])
    found = []
    for name, text, there in zip(names, texts, has, strict=True):
        if name in seen:
            every = np.arange(len(rows))
            both = join_texts([text, rows.text(_IDENTIFIERS.place(name), every)])
            place = np.arange(len(there))
            place[rest] = len(there) + every
            text = both.take(place)
            there[rest] = rows.has(_IDENTIFIERS.column(name), every)
        found.append(Given(text, there))
    return found


def _column(said: _Speaking, name: str) -> pl.Series:
    return pl.Series(name, said.text(name).column(said.has(name)))


def _only(
    to_orders: Contributions | None = None, slots: Contributions | None = None, shares: Contributions | None = None
) -> Said:
    return Said(to_orders or _NOTHING, slots or _NOTHING, shares or _NOTHING)


class ProfileVoice:
    """Says rows to orders and accounts."""

    def __init__(self, context: FoldContext) -> None:
        self._context = context

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """See Voice."""
        return frame

    def say(self, kind: str, folded: RowsFolded, ids: Words, stamp: int) -> Said:
        """See Voice."""
        return said_by_rows(kind, folded, ids, stamp, self._context)

    def join(self, many: list[Said]) -> Said:
        """See Voice."""
        return join_said(many)
