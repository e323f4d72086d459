"""Write what an order tells its account of its addresses, consents and interactions, as rows of AGGREGATES.

They go up in the order's partial, so they move, change and vanish with it. Equal addresses of an account add up,
however many orders bring them. Runs only for batches with such rows.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.text_codes import few_texts
from nurt.columnar.texts import Texts, coded_texts, join_texts
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import Values
from nurt.model.entities import ENTITIES
from nurt.normalise.context import LINK_END
from nurt.profiles.people.join_fields import join_fields
from nurt.rows.children.contributions import compact
from nurt.rows.children.tables import ADDRESS, AGGREGATES, CODE, CONSENT, DAY_US, INTERACTION, ORDER_RECORDS
from nurt.rows.children.write import join_with
from nurt.state.column_major import Rows
from nurt.state.write_rows import pack_columns

PARTS = tuple(CODE[kind] for kind in ("address", "consent", "interaction"))
_ADDRESS_PART, _CONSENT_PART, _INTERACTION_PART = PARTS
FIELDS = tuple(ENTITIES["address"].fields)
_COLUMNS = ("part", "child", "system", *FIELDS, "purpose", "granted", "at", "identifiers")
BILLING = "billing"
"""The `kind` of those addresses of a guest's order that identify the guest."""
_ANSWERS = ("0", "1", "-")


def people_of(values: Values) -> Rows:
    """Read the columns of orders' values that addresses, consents and interactions have."""
    return Rows(ORDER_RECORDS, ORDER_RECORDS.locate(values.body, values.cuts, _COLUMNS), _COLUMNS)


def add_people(partials: Texts, people: Rows, order_row: Int64s, owners: Int64s) -> Texts:
    """Return the orders' partial aggregates with the rows of their addresses, consents and interactions behind them.

    Args:
        partials: by place in `owners`.
        people: of `people_of`.
        order_row: by order: its own row.
        owners: orders with an own row, ascending.
    """
    part, owner = people.number("part"), people.raw.owner
    has_row = order_row[owner] >= 0
    system = people.texts("system")
    groups, bodies = [owners], [partials]
    for code, rows_of in ((_ADDRESS_PART, _addresses), (_CONSENT_PART, _consents), (_INTERACTION_PART, _interactions)):
        at = np.flatnonzero((part == code) & has_row)
        if len(at):
            at, packed = rows_of(people, at, system.take(order_row[owner]))
            groups.append(owner[at])
            bodies.append(packed)
    group = np.concatenate(groups)
    joined = compact(join_texts(bodies).take(np.argsort(group, kind="stable")))
    group = np.sort(group, kind="stable")
    return Texts(
        joined.starts[np.searchsorted(group, owners)],
        joined.stops[np.searchsorted(group, owners, side="right") - 1],
        joined.body,
    )


def _addresses(people: Rows, at: Int64s, system: Texts) -> tuple[Int64s, Texts]:
    texts = [people.texts(name).take(at) for name in FIELDS]
    present = np.stack([people.present(name)[at] for name in FIELDS])
    starts, stops = (np.stack([getattr(one, side) for one in texts]) for side in ("starts", "stops"))
    out = np.empty(int((stops - starts).sum()) + 2 * present.size, dtype=np.uint8)
    ends = np.zeros(len(at) + 1, dtype=np.int64)
    join_fields(present, starts, stops, texts[0].body, out, ends)
    k1 = Texts(ends[:-1], ends[1:], out)
    return at, _packed(ADDRESS, len(at), {"k1": k1, "k2": system.take(at)})


def _consents(people: Rows, at: Int64s, system: Texts) -> tuple[Int64s, Texts]:
    """Pack the latest consent of each order and purpose: by time, an unknown time first, then by row."""
    at = at[people.present("purpose")[at]]
    purpose = few_texts(people.texts("purpose").take(at))[0]
    known, when = people.present("at")[at], people.number("at")[at]
    child = people.ids("child", at)
    order = np.lexsort((child[:, 1], child[:, 0], when, known, purpose, people.raw.owner[at]))
    at, purpose = at[order], purpose[order]
    owner = people.raw.owner[at]
    is_last = np.ones(len(at), dtype=np.bool_)
    is_last[:-1] = (owner[1:] != owner[:-1]) | (purpose[1:] != purpose[:-1])
    at = at[is_last]
    granted = np.where(people.present("granted")[at], people.number("granted")[at], 2)
    told = join_with([system.take(at), _hex(people.ids("child", at)), coded_texts(granted, _ANSWERS)], b"\x1f")[1]
    return at, _packed(
        CONSENT,
        len(at),
        {"k1": people.texts("purpose").take(at), "k2": told},
        people.number("at")[at],
        people.present("at")[at],
    )


def _interactions(people: Rows, at: Int64s, _system: Texts) -> tuple[Int64s, Texts]:
    return at, _packed(INTERACTION, len(at), {}, people.number("at")[at] // DAY_US, people.present("at")[at])


def _packed(
    metric: int, rows: int, texts: dict[str, Texts], day: Int64s | None = None, has_day: Bools | None = None
) -> Texts:
    numbers = {"metric": np.full(rows, metric, dtype=np.int64), "count": np.ones(rows, dtype=np.int64)}
    present = {name: text.stops > text.starts for name, text in texts.items()}
    if day is not None and has_day is not None:
        numbers["day"], present["day"] = day, has_day
    return pack_columns(AGGREGATES, numbers, texts, present)


def _hex(ids: np.ndarray) -> Texts:
    """Write ids of `Rows.ids` as hex digits."""
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    whole = np.ascontiguousarray(ids.byteswap()).view(np.uint8).reshape(-1)
    body = np.stack((digits[whole >> 4], digits[whole & 15]), axis=1).reshape(-1)
    starts = np.arange(len(ids), dtype=np.int64) * 32
    return Texts(starts, starts + 32, body)


def identifiers_of_guests(people: Rows, guests: Bools) -> tuple[Texts, Int64s]:
    """Join the identifiers that rows of guests' orders bring, by order; and say how many texts each order has.

    An address counts when it is a billing address. An order for somebody else has the other's shipping address.

    Args:
        people: of `people_of`.
        guests: by order: a guest's.
    """
    owner = people.raw.owner
    counts = guests[owner] & people.present("identifiers") & np.isin(people.number("part"), PARTS)
    at = np.flatnonzero(counts)
    is_address = people.number("part")[at] == _ADDRESS_PART
    if is_address.any():
        kinds, names = few_texts(people.texts("kind").take(at))
        at = at[~is_address | (kinds == (names.index(BILLING) if BILLING in names else -1))]
    texts, found = people.texts("identifiers").take(at), np.bincount(owner[at], minlength=len(guests))
    ends = np.zeros(len(guests) + 1, dtype=np.int64)
    out = np.empty(int((texts.stops - texts.starts).sum()) + len(at), dtype=np.uint8)
    _chain(texts.starts, texts.stops, texts.body, owner[at], ord(LINK_END), out, ends)
    return Texts(ends[:-1], ends[1:], out), found


@numba.njit(nogil=True, cache=True)
def _chain(starts: Int64s, stops: Int64s, body: Bytes, owner: Int64s, between: int, out: Bytes, ends: Int64s) -> None:
    """Join the texts of each owner.

    starts, stops  (n,)    int64  text i is body[starts[i]:stops[i]]
    body           (b,)    uint8  texts
    owner          (n,)    int64  of each text, ascending
    between        scalar  int64  the byte between two texts
    out            (m,)    uint8  written; room for the texts and one byte each
    ends           (o+1,)  int64  written: the text of owner i is out[ends[i]:ends[i+1]]
    """
    row, to = 0, 0
    for one in range(len(ends) - 1):
        begin = to
        while row < len(owner) and owner[row] == one:
            if to > begin:
                out[to] = between
                to += 1
            for i in range(starts[row], stops[row]):
                out[to] = body[i]
                to += 1
            row += 1
        ends[one + 1] = to
