"""Recompute profiles from their accounts: nothing is kept but the result, so a split is as easy as a merge.

Hot path: one kernel goes from the packed values of accounts to Avro bodies, a profile at a time, through a few cells
that stay in the processor's cache. The kernel writes `schemas/nurt.profiles-value`, field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa

from nurt.avro.primitives import put_id, put_nothing, put_optional_long, put_string
from nurt.columnar.sorting import entries_of, sort_entries
from nurt.columnar.types import Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES, Values, ValueTuple
from nurt.columnar.varint import poke_zigzag
from nurt.model.units import Day
from nurt.normalise.context import FoldContext
from nurt.profiles.golden_record.addresses import put_addresses
from nurt.profiles.golden_record.aggregates import (
    AGGREGATE_TEXTS,
    LINE_WIDTH,
    LONG_AGO,
    find_last_interaction,
    list_aggregates,
    list_most_bought,
    next_change,
    part_end,
    sum_invoices,
    sum_orders,
)
from nurt.profiles.golden_record.consents_of_orders import add_consents
from nurt.profiles.golden_record.speakers import IDENTIFIERS, note_speakers
from nurt.profiles.golden_record.survivorship import FIELDS, compile_survivorship
from nurt.profiles.golden_record.write_aggregates import put_invoices, put_most_bought, put_orders
from nurt.profiles.golden_record.write_fields import (
    list_identifiers,
    put_accounts,
    put_chosen,
    put_consents,
    put_identifiers,
)
from nurt.rows.children.tables import ACCOUNT_RECORDS, AGGREGATES, CATEGORY, INVOICE, ORDERS, PRODUCT
from nurt.state.cells import NO_ROOM, cells_of, id_mask, read_rows, text_mask
from nurt.state.packing import unreadable
from nurt.state.table import VERSION

__all__ = ["FIELDS", "IDENTIFIERS", "Live", "Profiles"]

_DAY_MAX = 2**31 - 1
_ORDERS, _PRODUCT, _CATEGORY, _INVOICE = (np.int64(metric) for metric in (ORDERS, PRODUCT, CATEGORY, INVOICE))
_RECORDS = len(ACCOUNT_RECORDS.columns), text_mask(ACCOUNT_RECORDS), id_mask(ACCOUNT_RECORDS)
_AGGREGATES = len(AGGREGATES.columns), AGGREGATE_TEXTS, 0


@dataclass(frozen=True, slots=True)
class Live:
    """Profiles after their computation.

    Attributes:
        joined: bodies of the profiles, written with revision 0.
        places: where each body begins (n + 1).
        due: the next day on which the clock alone changes the profile; -1: none.
    """

    joined: Bytes
    places: Int64s
    due: Int64s


class Who(NamedTuple):
    """The profiles to write, as a kernel takes them."""

    firsts: Int64s
    ids: Bytes
    realms: Int64s


class AddressedRules(NamedTuple):
    """Rules as kernels take them: as in SurvivorshipRules, with addresses of texts instead of places."""

    kinds: Int64s
    steps: Int64s
    names: Int64s
    columns: Int64s
    systems: Int64s


class Profiles:
    """A writer that computes profiles under a mapping's rules."""

    def __init__(self, context: FoldContext) -> None:
        kinds = "".join(IDENTIFIERS).encode()
        ends = np.cumsum([0, *map(len, IDENTIFIERS)], dtype=np.int64)
        self._kinds = np.column_stack((ends[:-1], np.diff(ends)))
        self._rules = compile_survivorship(context, kinds)

    def live(
        self,
        profile_ids: Sequence[bytes],
        realms: Sequence[str],
        firsts: Int64s,
        records: Values,
        aggregates: Values,
        as_of: Day,
    ) -> Live:
        """Compute profiles from the values of their accounts.

        Args:
            profile_ids: ids of the profiles.
            realms: of the profiles.
            firsts: where the accounts of each profile begin among all accounts (n + 1).
            records, aggregates: of ACCOUNT_RECORDS and of AGGREGATES, by account.
            as_of: the last day of windows.

        Raises:
            StateTooNew: a value was written by a later version.
        """
        assert 0 <= as_of <= _DAY_MAX, "a day is an int of the schema"
        rules = self._rules
        constants, realm_texts = _add_realms(rules.texts, realms)
        texts = np.frombuffer(bytearray(constants) + bytes(PADDING_BYTES), dtype=np.uint8)
        ids = np.frombuffer(b"".join(profile_ids), dtype=np.uint8)
        places = np.empty(len(profile_ids) + 1, dtype=np.int64)
        due = np.empty(len(profile_ids), dtype=np.int64)
        room_bytes = records.size_bytes + aggregates.size_bytes + _PROFILE_BYTES * (len(profile_ids) + _SPARE_PROFILES)
        out: Any = np.frombuffer(pa.allocate_buffer(room_bytes), dtype=np.uint8)  # Arrow's pool keeps its pages
        who = Who(firsts, ids, _at_addresses(realm_texts, texts))
        addressed = AddressedRules(
            _at_addresses(self._kinds, texts),
            rules.steps,
            _at_addresses(rules.names, texts),
            rules.columns,
            _at_addresses(rules.systems, texts),
        )
        code, joined = _write_live(
            records.as_tuple(), aggregates.as_tuple(), who, as_of, _RECORDS, _AGGREGATES, addressed, out, places, due
        )
        if code < 0:
            raise unreadable(code, "accounts")
        return Live(joined[: places[-1]], places, due)


def write_redirects(
    profile_ids: Sequence[bytes], realms: Sequence[str], survivors: Sequence[bytes]
) -> tuple[Bytes, Int64s]:
    """Write redirects: a merged profile names its survivor and nothing else. Returns bodies and places (n + 1)."""
    constants, realm_texts = _add_realms(b"", realms)
    texts = np.frombuffer(bytearray(constants) + bytes(PADDING_BYTES), dtype=np.uint8)
    ids, targets = (np.frombuffer(b"".join(some), dtype=np.uint8) for some in (profile_ids, survivors))
    places = np.empty(len(profile_ids) + 1, dtype=np.int64)
    out = np.empty(len(profile_ids) * (_REDIRECT_BYTES + len(constants)), dtype=np.uint8)
    _write_redirects(ids, targets, _at_addresses(realm_texts, texts), out, places)
    return out[: places[-1]], places


def _add_realms(texts: bytes, realms: Sequence[str]) -> tuple[bytes, Int64s]:
    """Add the names of realms to some texts; returns the texts, and by profile the start and size of its realm."""
    names = {name: name.encode() for name in dict.fromkeys(realms)}
    place: dict[str, tuple[int, int]] = {}
    for name, encoded in names.items():
        place[name] = len(texts), len(encoded)
        texts += encoded
    if len(names) == 1:
        return texts, np.full((len(realms), 2), next(iter(place.values())), dtype=np.int64)
    return texts, np.array([place[name] for name in realms], dtype=np.int64).reshape(len(realms), 2)


def _at_addresses(places: Int64s, body: Bytes) -> Int64s:
    """Turn places of texts in a body, the first of each last axis, into addresses."""
    found = places.copy()
    found[..., 0] += body.ctypes.data
    return found


_PROFILE_BYTES = 1024
"""A profile has about so many bytes besides its texts."""
_SPARE_PROFILES = 64
_REDIRECT_BYTES = 128
_FIXED_BYTES, _ROW_BYTES = 4096, 512
"""At most so many bytes besides texts: of a profile, of a row."""
_SHOWN = len(FIELDS) + 4
"""At most so many times a text appears in a profile."""
_CELLS_ROWS = 64
_LISTS = 8
_NULL_FIELDS = len(FIELDS) + _LISTS + 1


@numba.njit(nogil=True, cache=True)
def _write_redirects(ids: Bytes, survivors: Bytes, realms: Int64s, out: Bytes, places: Int64s) -> None:
    """Write Avro bodies of redirects.

    ids, survivors  (16n,)  uint8  ids of the profiles and of their survivors, end to end
    realms      (n, 2)  int64  address and bytes of each realm's name
    out         (m,)    uint8  written
    places      (n+1,)  int64  written: body i is out[places[i]:places[i+1]]
    """
    begin = np.int64(out.ctypes.data)
    to = begin
    for profile in range(len(places) - 1):
        places[profile] = to - begin
        to = put_id(to, np.int64(ids.ctypes.data) + 16 * profile)
        to = poke_zigzag(poke_zigzag(to, 0), 1)
        to = put_id(poke_zigzag(to, 1), np.int64(survivors.ctypes.data) + 16 * profile)
        to = put_string(to, realms[profile, 0], realms[profile, 1])
        to = put_nothing(to, 1 + _NULL_FIELDS)  # a redirect does not change with the day
    places[len(places) - 1] = to - begin


@numba.njit(nogil=True, cache=True)
def _read_accounts(
    base: int, cuts: Int64s, first: int, end: int, columns: int, texts: int, ids: int, cells: Int64s
) -> tuple[int, Int64s]:
    """Read the rows of some accounts' values into cells.

    base        scalar  int64  address of the values
    cuts        (a+1,)  int64  value i lies from base + cuts[i] to base + cuts[i+1]
    first, end  scalar  int64  which values
    columns     scalar  int64  how many columns the table has
    texts, ids  scalar  int64  bits of its text columns, and of its ids
    cells       (r, .)  int64  written, see `read_rows`
    Returns how many rows there are, and the cells, more if needed. A negative count is an error of `read_rows`.
    """
    row = 0
    value = first
    while value < end:
        read = read_rows(base + cuts[value], base + cuts[value + 1], VERSION, columns, texts, ids, cells, row)
        if read == NO_ROOM:
            wider = cells_of(2 * len(cells), columns)
            wider[:row] = cells[:row]
            cells = wider
            continue
        if read < 0:
            return read, cells
        row = read
        value += 1
    return row, cells


@numba.njit(nogil=True, cache=True)
def _put_aggregates(
    to: int, aggregates: Int64s, count: int, columns: int, as_of: int, entries: Int64s, lines: Int64s
) -> int:
    """Write orders, products, categories and invoices.

    to          scalar  int64  address to write at
    aggregates  (r, .)  int64  cells of rows of AGGREGATES
    count       scalar  int64  how many rows there are
    columns     scalar  int64  how many columns AGGREGATES has
    as_of       scalar  int64  the last day of windows: days since 1970-01-01
    entries     (e, 8)  int64  scratch; room for `count`
    lines       (l, .)  int64  scratch; room for `count`
    Returns the address behind the written bytes.
    """
    listed = list_aggregates(aggregates, count, columns, entries)
    sort_entries(entries, listed)
    low = part_end(entries, np.int64(0), listed, _ORDERS)
    to = put_orders(to, lines, sum_orders(aggregates, columns, entries, 0, low, as_of, lines))
    high = part_end(entries, low, listed, _PRODUCT)
    to = put_most_bought(to, lines, list_most_bought(aggregates, entries, low, high, lines))
    low = part_end(entries, high, listed, _CATEGORY)
    to = put_most_bought(to, lines, list_most_bought(aggregates, entries, high, low, lines))
    high = part_end(entries, low, listed, _INVOICE)
    return put_invoices(to, lines, sum_invoices(aggregates, columns, entries, low, high, as_of, lines))


@numba.njit(nogil=True, cache=True)
def _write_live(
    listed: ValueTuple,
    held_sums: ValueTuple,
    who: Who,
    as_of: int,
    records: tuple[int, int, int],
    sold: tuple[int, int, int],
    rules: AddressedRules,
    out: Bytes,
    places: Int64s,
    due: Int64s,
) -> tuple[int, Bytes]:
    """Write the Avro bodies of profiles, one after another.

    listed           (a,)    ValueTuple  child records (ACCOUNT_RECORDS) of accounts, sorted by profile
    held_sums        (a,)    ValueTuple  aggregates (AGGREGATES) of the same accounts
    who.firsts       (n+1,)  int64   accounts of profile i are firsts[i] to firsts[i+1]
    who.ids          (16n,)  uint8   ids of the profiles, end to end
    who.realms       (n, 2)  int64   address and bytes of each realm's name
    as_of            scalar  int64   the last day of windows: days since 1970-01-01
    records, sold    (3,)    tuple   of ACCOUNT_RECORDS and of AGGREGATES: how many columns, bits of texts and of ids
    rules.kinds      (k, 2)  int64   address and bytes of each kind of identifier
    rules.steps, names, columns, systems  int64  see AddressedRules
    out              (m,)    uint8   written
    places           (n+1,)  int64   written: body i begins at places[i]
    due              (n,)    int64   written: the next day on which the clock alone changes profile i; -1: none
    Returns 0 and `out`, or a larger array in its place; or a negative number of `read_rows`.
    """
    body, cuts = listed
    aggregates_body, aggregates_cuts = held_sums
    firsts, ids, realms = who
    kinds, steps, names, fields, systems = rules
    base, aggregates_base, begin = (
        np.int64(body.ctypes.data),
        np.int64(aggregates_body.ctypes.data),
        np.int64(out.ctypes.data),
    )
    (columns, texts, id_bits), (aggregates_columns, aggregates_texts, no_ids) = records, sold
    cells, aggregates = cells_of(_CELLS_ROWS, columns), cells_of(_CELLS_ROWS, aggregates_columns)
    entries = entries_of(4 * _CELLS_ROWS)
    lines = np.empty((_CELLS_ROWS, LINE_WIDTH), np.int64)
    to = begin
    for profile in range(len(due)):
        first, end = firsts[profile], firsts[profile + 1]
        rows, cells = _read_accounts(base, cuts, first, end, columns, texts, id_bits, cells)
        count, aggregates = _read_accounts(
            aggregates_base, aggregates_cuts, first, end, aggregates_columns, aggregates_texts, no_ids, aggregates
        )
        if rows < 0 or count < 0:
            return min(rows, count), out
        if count > len(lines):
            lines = np.empty((len(aggregates), LINE_WIDTH), np.int64)
        if rows + count > len(entries):
            entries = entries_of(2 * (rows + count))
        sizes = cuts[end] - cuts[first], aggregates_cuts[end] - aggregates_cuts[first]
        room = _FIXED_BYTES + _ROW_BYTES * (rows + count) + _SHOWN * sizes[0] + sizes[1] + realms[profile, 1]
        if to - begin + room > len(out):
            more = np.empty(2 * (to - begin + room), np.uint8)
            more[: to - begin] = out[: to - begin]
            to += np.int64(more.ctypes.data) - begin
            out, begin = more, np.int64(more.ctypes.data)
        rows, cells, ids_of_consents = add_consents(cells, rows, columns, aggregates, count, aggregates_columns)
        people, cells, entries = note_speakers(cells, rows, columns, systems, kinds, entries)
        if people > len(entries):
            entries = entries_of(2 * people)
        places[profile] = to - begin
        to = put_id(to, np.int64(ids.ctypes.data) + 16 * profile)
        to = put_nothing(to, 3)  # revision, live, no redirect
        to = put_string(to, realms[profile, 0], realms[profile, 1])
        to = poke_zigzag(to, as_of)
        to = put_chosen(to, cells, columns, people, steps, names, fields, entries)
        found = list_identifiers(cells, columns, people, kinds, entries)
        while found == NO_ROOM:
            entries = entries_of(2 * len(entries))
            found = list_identifiers(cells, columns, people, kinds, entries)
        to = put_identifiers(to, entries, found)
        to = put_addresses(to, cells, columns, rows, aggregates, aggregates_columns, count, entries)
        to = put_accounts(to, cells, columns, rows, entries)
        to = _put_aggregates(to, aggregates, count, aggregates_columns, as_of, entries, lines)
        to = put_consents(to, cells, columns, rows, entries) + 0 * len(ids_of_consents)  # (these live until here)
        last = find_last_interaction(aggregates, count, aggregates_columns)
        to = put_optional_long(to, last != LONG_AGO, last)
        due[profile] = next_change(aggregates, count, aggregates_columns, as_of)
    places[len(due)] = to - begin
    return 0, out
