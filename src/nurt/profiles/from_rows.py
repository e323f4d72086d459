"""Contributions of rows to orders and accounts: by kind, columns of a child record or partial.

Hot path: child records and partials are packed from the arrays of the folded rows, without a frame. Only identifiers
pass through polars, which normalises them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts, coded_texts, join_texts
from nurt.columnar.types import Bools, Int64s, Words
from nurt.model.entities import ENTITIES, IDENTIFIED_KINDS
from nurt.model.entity_frame import DELETE
from nurt.normalise.already_normal import plain_emails, plain_phones
from nurt.normalise.context import FoldContext, unread
from nurt.profiles.references.speak import with_references
from nurt.rows.children.contributions import (
    Contributions,
    ContributionSet,
    empty_contribution_set,
    join_contribution_sets,
    join_contributions,
    no_contributions,
    no_ids,
    no_texts,
)
from nurt.rows.children.given_back import UNCOUNTED, pack_given_back
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE, DAY_US, INTERACTION, INVOICE, NO_CURRENCY, ORDER_RECORDS
from nurt.rows.children.write import ExtraColumn, RecordPlan, Windows, pack_partials, pack_records, position_texts
from nurt.rows.counting import NOBODYS
from nurt.rows.fold import RowsFolded
from nurt.rows.guests import bringing_identifiers, guest_entities, guest_ids, guest_keys
from nurt.rows.layouts import PARENT_BIT, ROW_LAYOUTS
from nurt.rows.read_frames import read_columns
from nurt.rows.tokens import Tokens
from nurt.state.row_major import Layout, RowArrays
from nurt.state.table import Table


def contributions_of_rows(
    kind: str,
    folded: RowsFolded,
    ids: Words,
    stamp: int,
    context: FoldContext,
    not_read: dict[str, Int64s] | None = None,
) -> ContributionSet:
    """Emit every row's stored contribution to its parent, and "gone" to the parents that the row left.

    Args:
        kind: the entity kind.
        folded: rows of that kind.
        ids: of each owner.
        stamp: of all contributions; larger than any before.
        context: the mapping's facts about systems and identifiers.
        not_read: written, by field: owners of the rows whose text there is no identifier; by NOBODYS: of rows that
            belong to nobody.
    """
    if kind not in _BY_KIND or not len(folded.at):
        return empty_contribution_set()
    rows, at, owner, gone = folded.rows, folded.at, folded.owner, folded.left
    told = {} if not_read is None else not_read
    if kind in _OWN:
        if gone.any():  # former tokens of an order
            at, owner = at[~gone], owner[~gone]
        gone = rows.numbers[at, ROW_LAYOUTS[kind].place("op")] == DELETE
    else:
        has_parent = rows.has(PARENT_BIT, at)
        if not has_parent.all():
            _note_nobodys(kind, folded, ~has_parent, told)
            at, owner, gone = at[has_parent], owner[has_parent], gone[has_parent]
    child = ids[owner]
    to = child if kind in _OWN else rows.ids(ROW_LAYOUTS[kind].place("parent"), at)
    children = _FoldedRows(kind, rows, at, gone, owner, child, to, stamp, told)
    if kind not in _STANDING:
        return _BY_KIND[kind](children, context)
    return _of_people(children, folded, ids, context)


def _note_nobodys(kind: str, folded: RowsFolded, lone: Bools, told: dict[str, Int64s]) -> None:
    """Note rows that exist and belong to nobody: they need a parent, have none, and stand for nobody."""
    if not ENTITIES[kind].parent_required:
        return
    layout, at = ROW_LAYOUTS[kind], folded.at
    lone = lone & ~folded.left & (folded.rows.numbers[at, layout.place("op")] != DELETE)
    if kind in _STANDING:
        lone &= ~folded.rows.has(layout.column("identifiers"), at)
    if lone.any():
        told[NOBODYS] = folded.owner[lone]


_OWN = frozenset({"customer", "order"})
"""Kinds whose parent has the row's own id: a deleted row is gone. Rows of other kinds are gone when they left."""


@dataclass(frozen=True, slots=True)
class _FoldedRows:
    """Rows of a kind that contribute to their parents, or each to an account of its own.

    Attributes:
        rows, at: all rows, and which of them.
        gone: the row was deleted, or has left the parent.
        owner: of each row.
        child, to: ids of each row and of its parent.
        unread: written, by field: owners of the rows whose text there is no identifier.
        brings: the row's table brings identifiers; None: no row has one.
        account: entity and key of each row's account, where the row does not name them.
    """

    kind: str
    rows: RowArrays
    at: Int64s
    gone: Bools
    owner: Int64s
    child: Words
    to: Words
    stamp: int
    unread: dict[str, Int64s]
    brings: Bools | None = None
    account: tuple[Texts, Texts] | None = None

    def __len__(self) -> int:
        return len(self.at)

    def take(self, chosen: Bools) -> _FoldedRows:
        """Choose rows."""
        return replace(
            self,
            at=self.at[chosen],
            gone=self.gone[chosen],
            owner=self.owner[chosen],
            child=self.child[chosen],
            to=self.to[chosen],
            brings=None if self.brings is None else self.brings[chosen],
            account=None if self.account is None else (self.account[0].take(chosen), self.account[1].take(chosen)),
        )

    def text(self, name: str) -> Texts:
        """Give a column of texts; empty where absent."""
        return self.rows.text(ROW_LAYOUTS[self.kind].place(name), self.at)

    def number(self, name: str) -> Int64s:
        """Give a column of numbers; 0 where absent."""
        found: Int64s = self.rows.numbers[self.at, ROW_LAYOUTS[self.kind].place(name)]
        return found

    def has(self, name: str) -> Bools:
        """Return where a column is not null."""
        return self.rows.has(ROW_LAYOUTS[self.kind].column(name), self.at)

    def records(self, plan: RecordPlan, extra: Sequence[ExtraColumn] = ()) -> Texts:
        """Pack the rows into child records."""
        return pack_records(plan, self.rows, self.at, self.gone, self.child, CODE[self.kind], self.stamp, extra)

    def to_order(self, body: Texts) -> Contributions:
        """Make contributions to orders from bodies."""
        none, nowhere = no_texts(len(self)), no_ids(len(self))
        return Contributions(self.to, self.child, *self._stamps(), body, none, none, none, nowhere)

    def to_account(self, body: Texts) -> Contributions:
        """Make contributions to accounts from bodies; of a former account only its id and system are known."""
        moved_to = no_ids(len(self))
        if self.kind in _OWN:
            entity, key = self.text("entity"), self.text("key")
            moved_to = self.rows.ids(ROW_LAYOUTS[self.kind].place("moved_to"), self.at)
        else:
            names = self.account or (self.text("parent_entity"), self.text("parent_key"))
            entity, key = map(self._but_gone, names)
        return Contributions(self.to, self.child, *self._stamps(), body, self.text("system"), entity, key, moved_to)

    def _stamps(self) -> tuple[Int64s, Int64s, Bools]:
        return np.full(len(self), self.stamp), np.full(len(self), CODE[self.kind]), self.gone

    def _but_gone(self, texts: Texts) -> Texts:
        return replace(texts, stops=np.where(self.gone, texts.starts, texts.stops)) if self.gone.any() else texts


# -- contributions of each kind

_NOTHING = no_contributions()
_ORDERS, _ACCOUNTS = Layout(ORDER_RECORDS), Layout(ACCOUNT_RECORDS)
_CUSTOMER_IDENTIFIERS = ("email", "phone", "tax_id", "loyalty_card", "identifiers")
_CUSTOMERS = RecordPlan(_ACCOUNTS, ROW_LAYOUTS["customer"], extra=("position", *_CUSTOMER_IDENTIFIERS))


def _customers(folded: _FoldedRows, context: FoldContext) -> ContributionSet:
    extra = [_positions(folded), *_normalised(folded, _CUSTOMER_IDENTIFIERS, context)]
    return _only(records=folded.to_account(folded.records(_CUSTOMERS, extra)))


_PERSON = ("entity", "key", "email", "phone", "first_name", "last_name", "country", "ts_ms")
_KNOWN_ORDERS = RecordPlan(
    _ORDERS,
    ROW_LAYOUTS["order"],
    {**dict.fromkeys(_PERSON), "account": "parent", "account_entity": "parent_entity", "account_key": "parent_key"},
)
_GUEST_IDENTIFIERS = ("email", "phone")
_GUEST_ORDERS = RecordPlan(
    _ORDERS,
    ROW_LAYOUTS["order"],
    extra=("position", "account", "account_entity", "account_key", *_GUEST_IDENTIFIERS),
)


def _orders(folded: _FoldedRows, context: FoldContext) -> ContributionSet:
    """Contribute each order's row to the order, with its account; only a guest's order has fields of a person."""
    guest = ~folded.has("parent") & ~folded.gone
    if not guest.any():
        return _only(to_orders=folded.to_order(folded.records(_KNOWN_ORDERS)))
    known, guests = folded.take(~guest), folded.take(guest)
    return _only(
        to_orders=join_contributions(
            [
                known.to_order(known.records(_KNOWN_ORDERS)),
                guests.to_order(
                    guests.records(
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


def _guest_accounts(guests: _FoldedRows, context: FoldContext) -> list[ExtraColumn]:
    """Name the accounts of guests' orders: id, entity and key."""
    everywhere = np.ones(len(guests), dtype=np.bool_)
    system, entity, key = (guests.text(name) for name in ("system", "entity", "key"))
    ids = guest_ids(system, entity, key, context.ids)
    named = (ids, guest_entities(len(guests)), guest_keys(entity, key))
    return [ExtraColumn(texts, everywhere) for texts in named]


_CHILDREN_OF_ORDERS: Mapping[str, RecordPlan] = {
    kind: RecordPlan(_ORDERS, ROW_LAYOUTS[kind], dict.fromkeys(("system", "entity", "key", "ts_ms", "name")))
    for kind in ("order_line", "payment", "shipment")
}


def _children_of_orders(folded: _FoldedRows, _context: FoldContext) -> ContributionSet:
    return _only(to_orders=folded.to_order(folded.records(_CHILDREN_OF_ORDERS[folded.kind])))


_STANDING = IDENTIFIED_KINDS - {"customer"}
_UNNAMED = ("entity", "key")
_CHILDREN_OF_ACCOUNTS: Mapping[str, RecordPlan] = {
    kind: RecordPlan(_ACCOUNTS, ROW_LAYOUTS[kind], dict.fromkeys((*_UNNAMED, "ts_ms", "identifiers")))
    for kind in ("address", "consent")
}
_IDENTIFIED: Mapping[str, RecordPlan] = {
    kind: RecordPlan(_ACCOUNTS, ROW_LAYOUTS[kind], dict.fromkeys(unsaid), extra=("position", "identifiers"))
    for kind, unsaid in {
        "address": _UNNAMED,
        "consent": _UNNAMED,
        "interaction": (*_UNNAMED, "kind", "channel", "at"),
    }.items()
}


_PEOPLE_OF_ORDERS: Mapping[str, RecordPlan] = {
    kind: RecordPlan(
        _ORDERS,
        ROW_LAYOUTS[kind],
        dict.fromkeys(("system", *_UNNAMED, "ts_ms", *(("kind", "channel") if kind == "interaction" else ()))),
        extra=("identifiers",),
    )
    for kind in _STANDING
}


def _of_people(children: _FoldedRows, folded: RowsFolded, ids: Words, context: FoldContext) -> ContributionSet:
    """Contribute addresses, consents and interactions to orders, to accounts, or each to an account of its own."""
    kind = children.kind
    brings = bringing_identifiers(kind, folded, context.identified)
    many = []
    of_order = codes_of(children.text("parent_kind"), ("order",)) == 0
    if of_order.any():
        some = children.take(of_order)
        records = some.records(_PEOPLE_OF_ORDERS[kind], _normalised(some, ("identifiers",), context))
        many.append(_only(to_orders=some.to_order(records)))
        children = children.take(~of_order)
    if brings is None:
        many.append(_BY_KIND[kind](children, context))
    else:
        own = ~folded.left & brings[folded.owner]
        many.append(_BY_KIND[kind](replace(children, brings=brings[children.owner]), context))
        themselves = _for_themselves(children, folded.at[own], folded.owner[own], ids, context)
        many.append(_BY_KIND[kind](themselves, context))
    return join_contribution_sets(many)


def _for_themselves(children: _FoldedRows, at: Int64s, owner: Int64s, ids: Words, context: FoldContext) -> _FoldedRows:
    """Let rows without a parent stand for somebody, each as an account of its own; other rows are gone from theirs.

    A row tells both each time: what it was before is not asked.
    """
    kind, rows = children.kind, children.rows
    layout = ROW_LAYOUTS[kind]
    stands = ~rows.has(PARENT_BIT, at) & rows.has(layout.column("identifiers"), at)
    stands &= rows.numbers[at, layout.place("op")] != DELETE
    system, entity, key = (rows.text(layout.place(name), at) for name in ("system", "entity", "key"))
    to = guest_ids(system, entity, key, context.ids).body.view(np.uint64).reshape(-1, 2)
    return replace(
        children,
        at=at,
        gone=~stands,
        owner=owner,
        child=ids[owner],
        to=to,
        brings=np.ones(len(at), dtype=np.bool_),
        account=(guest_entities(len(at)), guest_keys(entity, key)),
    )


def _addresses_and_consents(folded: _FoldedRows, context: FoldContext) -> ContributionSet:
    if folded.brings is None or not (some := folded.has("identifiers") & ~folded.gone).any():
        return _only(records=folded.to_account(folded.records(_CHILDREN_OF_ACCOUNTS[folded.kind])))
    plain = folded.take(~some)
    records = plain.to_account(plain.records(_CHILDREN_OF_ACCOUNTS[folded.kind]))
    return _only(records=join_contributions([records, _identified(folded.take(some), context)]))


def _identified(folded: _FoldedRows, context: FoldContext) -> Contributions:
    """Contribute rows with identifiers, of which the profile tells where they come from."""
    extra = [_positions(folded), *_normalised(folded, ("identifiers",), context)]
    return folded.to_account(folded.records(_IDENTIFIED[folded.kind], extra))


_INVOICES = RecordPlan(
    _ORDERS, ROW_LAYOUTS["invoice"], dict.fromkeys(("system", "entity", "key", "ts_ms")), extra=("currency",)
)
_PAID = ("paid", "cancelled")


def _invoices(folded: _FoldedRows, context: FoldContext) -> ContributionSet:
    """Contribute invoices to their orders, or else to their accounts, which add up open invoices by due day."""
    parent = codes_of(folded.text("parent_kind"), ("order", "customer"))
    up, beside = (folded.take(parent == code) for code in range(2))
    to_orders = partials = _NOTHING
    if len(up):
        currency = ExtraColumn(_filled_currency(up, context), np.ones(len(up), dtype=np.bool_))
        to_orders = up.to_order(up.records(_INVOICES, [currency]))
    if len(beside):
        open_amount = beside.number("open_amount")
        amount = np.where(beside.has("open_amount"), open_amount, beside.number("amount"))
        is_open = (amount > 0) & (codes_of(beside.text("status"), _PAID) < 0)
        currency_texts = _filled_currency(beside, context)
        days = beside.number("due_on"), beside.has("due_on")
        windows = Windows(INVOICE, is_open, currency_texts, *days, amount)
        partials = beside.to_account(pack_partials(beside.gone, windows))
    return _only(to_orders=to_orders, partials=partials)


_REFUNDS = RecordPlan(_ORDERS, ROW_LAYOUTS["refund"], dict.fromkeys(("system", "entity", "key", "ts_ms", "number")))


def _refunds(folded: _FoldedRows, context: FoldContext) -> ContributionSet:
    """Contribute refunds to their orders, or else to their accounts, in the market of their system."""
    parent = codes_of(folded.text("parent_kind"), ("order", "customer"))
    up, beside = (folded.take(parent == code) for code in range(2))
    to_orders = partials = _NOTHING
    if len(up):
        to_orders = up.to_order(up.records(_REFUNDS))
    if len(beside):
        counts = codes_of(beside.text("status"), UNCOUNTED) < 0
        market = _of_system(beside, context.market, "")
        given_back = np.abs(beside.number("amount"))
        packed = pack_given_back(beside.gone, counts, _filled_currency(beside, context), market, given_back)
        partials = beside.to_account(packed)
    return _only(to_orders=to_orders, partials=partials)


def _interactions(folded: _FoldedRows, context: FoldContext) -> ContributionSet:
    """Contribute interactions to the windows of their accounts; one with identifiers is a child record, too."""
    rows = len(folded)
    always, nothing = np.ones(rows, dtype=np.bool_), np.zeros(rows, dtype=np.int64)
    windows = Windows(INTERACTION, always, no_texts(rows), folded.number("at") // DAY_US, folded.has("at"), nothing)
    partials = folded.to_account(pack_partials(folded.gone, windows))
    if folded.brings is None:
        return _only(partials=partials)
    known = folded.take(folded.brings)
    known = replace(known, gone=known.gone | ~known.has("identifiers"))
    return _only(records=_identified(known, context), partials=partials)


_BY_KIND: Mapping[str, Callable[[_FoldedRows, FoldContext], ContributionSet]] = {
    "customer": _customers,
    "order": _orders,
    "order_line": _children_of_orders,
    "payment": _children_of_orders,
    "shipment": _children_of_orders,
    "invoice": _invoices,
    "refund": _refunds,
    "address": _addresses_and_consents,
    "consent": _addresses_and_consents,
    "interaction": _interactions,
}


def _positions(folded: _FoldedRows) -> ExtraColumn:
    return ExtraColumn(position_texts(folded.rows, folded.at), np.ones(len(folded), dtype=np.bool_))


def _filled_currency(folded: _FoldedRows, context: FoldContext) -> Texts:
    """Fill an absent currency of a row from its system."""
    declared, has = folded.text("currency"), folded.has("currency")
    if has.all():
        return declared
    both = join_texts([declared, _of_system(folded, context.currency, NO_CURRENCY)])
    at = np.arange(len(has)) + np.where(has, 0, len(has))
    return both.take(at)


def _of_system(folded: _FoldedRows, known: Mapping[str, str], last: str) -> Texts:
    """Say what is known of each row's system, else `last`."""
    systems = list(known)
    return coded_texts(codes_of(folded.text("system"), systems), [*map(known.__getitem__, systems), last])  # -1: `last`


_IDENTIFIERS = Layout(Table(dict.fromkeys((*_CUSTOMER_IDENTIFIERS, "country", "system"), pl.String())))


_PLAIN: Mapping[str, Callable[[Texts], Bools]] = {"email": plain_emails, "phone": plain_phones}


def _normalised(folded: _FoldedRows, names: Sequence[str], context: FoldContext) -> list[ExtraColumn]:
    """Normalise identifiers; rows without identifiers, or with normal ones only, do not pass through polars."""
    texts, has = [folded.text(name) for name in names], [folded.has(name) for name in names]
    rest = np.zeros(len(folded), dtype=np.bool_)
    for name, text, there in zip(names, texts, has, strict=True):
        if there.any():
            rest |= there & ~_PLAIN[name](text) if name in _PLAIN else there
    if not rest.any():
        return [ExtraColumn(text, there) for text, there in zip(texts, has, strict=True)]
    some = folded.take(rest)
    seen = [name for name, there in zip(names, has, strict=True) if there[rest].any()]
    known = ("country", "system") if "country" in ROW_LAYOUTS[folded.kind] else ("system",)
    written = pl.DataFrame([_column(some, name) for name in (*seen, *known)])
    frame = context.normalised(written, [name for name in seen if name != "identifiers"])
    for name in seen:
        if (lost := unread(written[name], frame[name]).to_numpy() & ~some.gone).any():
            folded.unread[name] = np.concatenate((folded.unread.get(name, some.owner[:0]), some.owner[lost]))
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
        found.append(ExtraColumn(text, there))
    return found


IDENTIFIERS_OF: Mapping[str, Sequence[str]] = {"customer": _CUSTOMER_IDENTIFIERS, "order": _GUEST_IDENTIFIERS}
"""The fields of rows that lie normalised under the row's own id; those of an order count when it is a guest's."""


def normalised_identifiers(
    kind: str, folded: RowsFolded, ids: Words, context: FoldContext
) -> tuple[Int64s, list[list[bytes | None]]]:
    """Read the identifiers of stored rows as a contribution would have them; not for the hot path.

    Returns the owners of the rows that have identifiers, and by field of IDENTIFIERS_OF their values.
    """
    rows, at = folded.rows, folded.at
    speaks = (rows.numbers[at, ROW_LAYOUTS[kind].place("op")] != DELETE) & ~folded.left
    if kind == "order":
        speaks &= ~rows.has(PARENT_BIT, at)
    owner, none = folded.owner[speaks], np.zeros(int(speaks.sum()), dtype=np.bool_)
    some = _FoldedRows(kind, rows, at[speaks], none, owner, ids[owner], ids[owner], 0, {})
    columns = _normalised(some, IDENTIFIERS_OF[kind], context)
    return owner, [
        [text if there else None for text, there in zip(one.texts.plain(), one.valid.tolist(), strict=True)]
        for one in columns
    ]


def _column(folded: _FoldedRows, name: str) -> pl.Series:
    return pl.Series(name, folded.text(name).column(folded.has(name)))


def _only(
    to_orders: Contributions | None = None, records: Contributions | None = None, partials: Contributions | None = None
) -> ContributionSet:
    return ContributionSet(to_orders or _NOTHING, records or _NOTHING, partials or _NOTHING)


class ProfileEmitter:
    """An emitter of contributions from rows to orders and accounts."""

    def __init__(self, context: FoldContext) -> None:
        self._context = context
        self.tokens = Tokens(context.referred, context.ids) if context.referred else None
        self.unread: dict[str, Int64s] = {}

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """See rows.stage.RowEmitter."""
        return frame

    def emit(self, kind: str, folded: RowsFolded, ids: Words, stamp: int) -> ContributionSet:
        """See rows.stage.RowEmitter."""
        self.unread = {}
        if self.tokens is None:
            return self._speak(kind, folded, ids, stamp)
        return with_references(kind, folded, ids, stamp, self.tokens, lambda rows: self._speak(kind, rows, ids, stamp))

    def _speak(self, kind: str, folded: RowsFolded, ids: Words, stamp: int) -> ContributionSet:
        return contributions_of_rows(kind, folded, ids, stamp, self._context, self.unread)

    def join(self, many: list[ContributionSet]) -> ContributionSet:
        """See rows.stage.RowEmitter."""
        return join_contribution_sets(many)
