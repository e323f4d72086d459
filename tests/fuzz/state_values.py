"""Stored values that a bad disk or a stranger changed: no reader reads past their end, or into what lies behind."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from nurt.columnar.values import PADDING_BYTES, Values
from nurt.errors import StateDamaged, StateTooNew
from nurt.model.stored_profile import LIVE, KeptProfile
from nurt.model.value_forms import PROFILES, STOCK
from nurt.profiles.golden_record.compare import ProfileBodies, compare_kept
from nurt.profiles.identity.links import join_links
from nurt.profiles.identity.memberships import read_members, read_memberships
from nurt.profiles.identity.resolve import MEMBERS, MEMBERSHIPS
from nurt.rows.children.records import fold_records
from nurt.rows.children.tables import ACCOUNT_RECORDS, ORDER_RECORDS
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.state.damage import what_is_wrong
from nurt.state.row_major import read_values
from nurt.state.table import Table
from nurt.state.write_rows import pack_value
from tests.fuzz.harness import guarded, mutated
from tests.unit.test_layouts import OWNERS, READERS, _contribution

COUNT = 1_000_000
ID = bytes(range(16))
Read = Callable[[Values], Any]


def prepare() -> list[tuple[str, Table | None, Read]]:
    """List readers: of values at the end of readable memory, and those that take values as bytes."""
    readers: list[tuple[str, Table | None, Read]] = [
        (f"row {kind}", layout.table, lambda values, layout=layout: _arrays(read_values(layout, values)))  # type: ignore[misc]
        for kind, layout in ROW_LAYOUTS.items()
    ]
    for table in (ORDER_RECORDS, ACCOUNT_RECORDS):
        readers.append(("records", table, lambda values, table=table: _folded(table, values)))  # type: ignore[misc]
    for form in {*PROFILES.values(), *STOCK.values()} - {"fence", "identifier", "profile"}:
        table = Table.stored(form)
        readers.append(("columns", table, lambda values, table=table: _located(table, values)))  # type: ignore[misc]
    readers += [
        ("members", MEMBERS, lambda values: [one.tolist() for one in (read_members(values).live,)]),
        ("memberships", MEMBERSHIPS, lambda values: read_memberships(values, join_links(["email\x1fa"])).is_changed),
        ("kept profile", None, _compared),
    ]
    for name, (table, read) in READERS.items():
        readers.append((name, table, lambda values, read=read: _nothing(read(values.one(0) or b""))))  # type: ignore[misc]
    for form in {*PROFILES.values(), *STOCK.values()}:
        readers.append(("check", None, lambda values, form=form: what_is_wrong(form, ID, values.one(0) or b"\0")))  # type: ignore[misc]
    return readers


def attempt(random: Random, shared: list[tuple[str, Table | None, Read]]) -> str:
    """Read a damaged value at the end of readable memory, then beside a neighbour: what is read must be the same."""
    _, table, read = random.choice(shared)
    value = _kept(random) if table is None else _rows(random, table)
    if random.random() < 0.95:
        value = mutated(random, value)
    value = value or b"\1"
    cuts = np.array([0, len(value)], dtype=np.int64)
    alone = _tried(read, Values(guarded(value, PADDING_BYTES), cuts))
    neighbour = value + b"\x02\x7f" + random.randbytes(PADDING_BYTES)
    beside = _tried(read, Values(np.frombuffer(neighbour, dtype=np.uint8), cuts))
    assert alone == beside, "what was read depends on what lies behind the value"
    return alone[0]


def _tried(read: Read, values: Values) -> tuple[str, str]:
    try:
        return "read", str(read(values))
    except StateDamaged:
        return "damaged", ""
    except StateTooNew:
        return "too new", ""


def _rows(random: Random, table: Table) -> bytes:
    rows = []
    for _ in range(random.choice((1, 1, 2, 5))):
        fields: dict[str, int | bytes] = {}
        for index, name in enumerate(table.columns):
            if index > 2 and random.random() < 0.4:
                continue
            if table.is_text[index]:
                fields[name] = random.randbytes(16) if table.is_id[index] else b"x" * random.randrange(20)
            else:
                fields[name] = random.choice((0, 1, 2, 10, 20_000, random.getrandbits(random.randrange(1, 63))))
        rows.append(pack_value(table, fields))
    return rows[0] + b"".join(row[1:] for row in rows[1:])


def _kept(random: Random) -> bytes:
    body = b"@" + ID.hex().encode() + b"\x80\x80\x01" + random.randbytes(random.randrange(20))
    return KeptProfile(random.getrandbits(40), -1, LIVE, body).encode()


def _arrays(rows: Any) -> Any:
    texts = [rows.body[a:b].tobytes() for a, b in zip(rows.starts.reshape(-1), rows.stops.reshape(-1), strict=True)]
    return rows.bits.tolist(), rows.numbers.tolist(), texts


def _located(table: Table, values: Values) -> Any:
    raw = table.locate(values.body, values.cuts)
    texts = [values.body[a:b].tobytes() for a, b in zip(raw.starts.reshape(-1), raw.stops.reshape(-1), strict=True)]
    return raw.numbers.tolist(), raw.present.tolist(), texts


def _folded(table: Table, values: Values) -> Any:
    return fold_records(table, values, OWNERS, _contribution()).values.plain()


def _compared(values: Values) -> Any:
    one = np.zeros(1, dtype=np.int64)
    body = np.frombuffer(b"@" + ID.hex().encode() + b"\0" + bytes(20), dtype=np.uint8)
    found = compare_kept(ProfileBodies(one, one - 1, one, one + len(body), body), values, 7)
    return found.changed.tolist(), found.revision.tolist(), found.due.tolist()


def _nothing(_: Any) -> None:
    """Compare no result: these readers were given bytes of their own."""
