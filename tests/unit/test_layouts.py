"""Stored columns stay where they are: a field that is added to an entity leaves every stored value as it was read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nurt.columnar.ids import Ids
from nurt.columnar.values import Values
from nurt.columnar.varint import put_unsigned
from nurt.contracts.schemas import first_layouts
from nurt.errors import StateTooNew
from nurt.model.table_kinds import TABLES_MAX, table_kind, width_of
from nurt.normalise.context import FoldContext
from nurt.profiles.fold_aggregates import fold_aggregates
from nurt.profiles.golden_record.aggregates import order_figures
from nurt.profiles.golden_record.write import Profiles
from nurt.profiles.identity import resolve as identity
from nurt.profiles.identity.links import join_links
from nurt.profiles.identity.memberships import read_members, read_memberships
from nurt.profiles.references.fold import fold_tokens
from nurt.rows.children import tables as contributions
from nurt.rows.children.contributions import Contributions, no_ids, no_texts
from nurt.rows.children.records import RECORD_COLUMNS, fold_records
from nurt.rows.layouts import ROW_TABLES
from nurt.state import layouts
from nurt.state.column_major import Rows
from nurt.state.layout_changes import differences, digest, grown, listed, misread
from nurt.state.python_rows import unpack_rows
from nurt.state.row_major import Layout, read_values
from nurt.state.table import OWNER, VERSION, Table
from nurt.stock import from_rows as stock_rows
from nurt.stock import holds as promise
from nurt.stock import last_published
from nurt.stock.matching import documents as papers
from tests.accounts import live_profiles

SCHEMAS = Path(__file__).parents[2] / "schemas"
TABLES: dict[str, Table] = {
    **{f"row.{kind}": table for kind, table in ROW_TABLES.items()},
    **{width_of(number).layout: ROW_TABLES[table_kind(number)] for number in range(TABLES_MAX)},
    "order_slots": contributions.ORDER_RECORDS,
    "references": contributions.REFERENCES,
    "account_slots": contributions.ACCOUNT_RECORDS,
    "sums": contributions.AGGREGATES,
    "memberships": identity.MEMBERSHIPS,
    "components": identity.COMPONENTS,
    "members": identity.MEMBERS,
    "papers": stock_rows.SALES_DOCUMENTS,
    "shelves": stock_rows.POSITIONS,
    "share": papers.DOCUMENT_HOLDS,
    "holds": promise.HOLDS,
    "published": last_published.PUBLISHED,
}
FULL: dict[str, Any] = {"integer": -5, "count": 1, "boolean": True, "text": "Łódź", "bytes": bytes(16)}


# -- what is pinned


def test_layouts_are_those_of_the_snapshot() -> None:
    snapshot, now = json.loads((SCHEMAS / "state-v1.json").read_text()), listed(layouts.LAYOUTS)
    lost = "\n".join(map(str, misread(snapshot, now)))
    assert lost == "", "a stored column never moves, changes its type or goes: restore its line"
    new = "\n".join(map(str, differences(snapshot, now)))
    assert new == "", "new columns: look at them once more, for they stay for ever; then run `make layouts`"


def test_the_first_layouts_never_change_and_are_read_for_ever() -> None:
    first = first_layouts()
    assert sha256(json.dumps(first, sort_keys=True).encode()).hexdigest() == FIRST_DIGEST
    assert misread(first, listed(layouts.LAYOUTS)) == []


FIRST_DIGEST = "4bf1eb938a3e25b2fad6ec8de09937ae140ee7d69c47f9d2ee7611753eb12b2c"
"""Of the layouts that were written before layouts were recorded."""


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_a_column_is_stored_under_its_bit(name: str) -> None:
    table = TABLES[name]
    for column, bit, dtype in layouts.LAYOUTS[name]:
        frame = pl.DataFrame({OWNER: [0], column: [FULL[dtype]]}, {OWNER: pl.Int64(), column: table.columns[column]})
        (packed,) = table.pack(frame, 1)
        assert packed is not None
        assert _bitmap(packed) == 1 << bit, column


def _bitmap(value: bytes) -> int:
    assert value[0] == VERSION
    bitmap = 0
    for place, byte in enumerate(value[1:]):
        bitmap |= (byte & 127) << 7 * place
        if byte < 128:
            break
    return bitmap


@pytest.mark.parametrize("name", ["order_slots", "account_slots", "papers", "shelves"])
def test_tables_of_slots_begin_as_the_kernels_expect(name: str) -> None:
    assert tuple(TABLES[name].columns)[:3] == RECORD_COLUMNS


def test_the_snapshot_takes_new_columns_and_tables() -> None:
    snapshot = (SCHEMAS / "state-v1.json").read_text()
    assert grown(snapshot, layouts.LAYOUTS) == snapshot
    more = layouts.LAYOUTS | {
        "sums": (*layouts.LAYOUTS["sums"], ("lent", 9, layouts.COUNT)), "vouchers": (("id", 0, layouts.BYTES),)
    }  # fmt: skip
    found = json.loads(grown(snapshot, more))
    assert list(map(str, differences(json.loads(snapshot), found))) == [
        "sums.lent absent -> bit 9 count",
        "vouchers.id absent -> bit 0 bytes",
    ]


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ((("part", 0, layouts.INTEGER),), r"members\.id bit 1 bytes -> absent"),
        ((("part", 0, layouts.INTEGER), ("id", 1, layouts.TEXT)), r"members\.id bit 1 bytes -> bit 1 text"),
        ((("id", 0, layouts.BYTES), ("part", 1, layouts.INTEGER)), r"members\.part bit 0 integer -> bit 1 integer"),
    ],
)
def test_the_snapshot_refuses_columns_that_went_or_became_others(
    members: tuple[layouts.Column, ...], named: str
) -> None:
    snapshot = (SCHEMAS / "state-v1.json").read_text()
    with pytest.raises(ValueError, match=named):
        grown(snapshot, layouts.LAYOUTS | {"members": members})


def test_a_digest_tells_layouts_apart_whatever_their_order() -> None:
    some = listed({"one": (("a", 0, "text"), ("b", 1, "text")), "two": (("c", 0, "text"),)})
    other = listed({"two": (("c", 0, "text"),), "one": (("b", 1, "text"), ("a", 0, "text"))})
    assert digest(some) == digest(other) != digest(listed({"one": (("a", 1, "text"), ("b", 0, "text"))}))


# -- a field that is added to an entity

ACCOUNT = (
    "01ffa7800a0210000102030405060708090a0b0c0d0e0f0e0473686f7008637573746f6d6572013106343a3a3a4039160d61406578616d706c"
    "652e636f6d0204416e6e610a08636172641f313233878080f0050410000102030405060708090a0b0c0d0e0f0e0762696c6c696e6704416e6e"
    "610850726f737461203108576172737a6177610630302d30303187808080781410000102030405060708090a0b0c0d0e0f0e0a6e6577736c65"
    "747465720205656d61696c18"
)
"""A customer, an address and a consent, as they were written before layouts were pinned."""
ROW = (
    "01bfb89080d00f000473686f7008637573746f6d6572013100000012160d61406578616d706c652e636f6d0a08636172641f3132330a040000"
)
"""A row of a customer with the highest position that it had, as it was written then."""

NICKNAME = """
from nurt.state import layouts
from nurt.model.entities import ENTITIES, FieldType

ENTITIES["customer"].fields["nickname"] = FieldType.STR
for name in {tables}:
    columns = layouts.LAYOUTS[name]
    layouts.LAYOUTS[name] = *columns, ("nickname", len(columns), layouts.{type})
"""
READ = """
import json, sys
import numpy as np
import polars as pl
from nurt.rows.children.tables import ACCOUNT_RECORDS
from nurt.rows.read_frames import read_frames
from nurt.rows.layouts import ROW_LAYOUTS, ROW_TABLES
from nurt.rows.fold import fold_rows
from nurt.model.entity_frame import entity_columns
from nurt.columnar.values import Values

def shown(table, value):
    rows = table.unpack([value]).drop("owner", "child", strict=False).iter_rows(named=True)
    return [{name: said for name, said in row.items() if said is not None} for row in rows]

def after(value, position):
    event = {"row": bytes(16), "system": "shop", "entity": "customer", "key": "1", "op": 0, "snapshot": 0,
             "source_epoch": 0, "p0": position, "p1": 0, "p2": 0, "p3": 0, "partition": 0, "offset": 10, "ts_ms": 12,
             "unavailable": 1 << list(ENTITIES["customer"].fields).index("email"), "nickname": "Ania"}
    frame = pl.DataFrame([event], schema=entity_columns("customer"))
    incoming = read_frames(ROW_LAYOUTS["customer"], [frame]).of(np.zeros(1, dtype=np.int64))
    folded = fold_rows("customer", incoming, Values.of([value]))
    return folded.values().plain()[0]

account, row = map(bytes.fromhex, sys.argv[1:])
newer = after(row, 6)
print(json.dumps({
    "account": shown(ACCOUNT_RECORDS, account), "row": shown(ROW_TABLES["customer"], row),
    "older": after(row, 4), "newer": shown(ROW_TABLES["customer"], newer), "bytes": newer.hex(),
}))
"""


def _child(script: str, *given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *given], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def with_nickname() -> dict[str, Any]:
    """What a nurt whose customers have a nickname reads, and writes, of what was stored before."""
    done = _child(NICKNAME.format(tables=["row.customer", "account_slots"], type="TEXT") + READ, ACCOUNT, ROW)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_address_is_read_as_written_when_customers_have_a_new_field(with_nickname: dict[str, Any]) -> None:
    assert with_nickname["account"][1] == {
        "part": 2, "stamp": 7, "kind": "billing", "name": "Anna", "street": "Prosta 1", "city": "Warszawa",
        "postcode": "00-001",
    }  # fmt: skip


def test_a_customers_identifiers_are_read_as_written_when_customers_have_a_new_field(
    with_nickname: dict[str, Any],
) -> None:
    assert with_nickname["account"][0] == {
        "part": 1, "stamp": 7, "system": "shop", "entity": "customer", "key": "1", "position": "4:::@9", "ts_ms": 11,
        "email": "a@example.com", "email_verified": True, "first_name": "Anna", "created_at": 5,
        "identifiers": "card\x1f123",
    }  # fmt: skip


def test_a_consent_is_read_as_written_when_customers_have_a_new_field(with_nickname: dict[str, Any]) -> None:
    assert with_nickname["account"][2] == {
        "part": 10, "stamp": 7, "purpose": "newsletter", "granted": True, "channel": "email", "at": 12
    }  # fmt: skip


def test_a_row_is_read_as_written_when_customers_have_a_new_field(with_nickname: dict[str, Any]) -> None:
    assert with_nickname["row"] == [
        {"part": 0, "system": "shop", "entity": "customer", "key": "1", "op": 0, "source_epoch": 0, "partition": 0,
         "offset": 9, "ts_ms": 11, "email": "a@example.com", "created_at": 5, "identifiers": "card\x1f123",
         "h0": 5, "h1": 2, "h2": 0, "h3": 0}
    ]  # fmt: skip


def test_a_row_stays_behind_its_highest_position_when_customers_have_a_new_field(with_nickname: dict[str, Any]) -> None:
    assert with_nickname["older"] is None, "an event that stands before the row's highest position is old news"
    assert with_nickname["newer"] == [
        {"part": 0, "system": "shop", "entity": "customer", "key": "1", "op": 0, "source_epoch": 0,
         "p0": 6, "p1": 0, "p2": 0, "p3": 0, "partition": 0, "offset": 10, "ts_ms": 12, "email": "a@example.com",
         "nickname": "Ania"}
    ]  # fmt: skip


def test_a_row_with_a_new_field_is_refused_by_who_does_not_know_it(with_nickname: dict[str, Any]) -> None:
    with pytest.raises(StateTooNew):
        read_values(Layout(ROW_TABLES["customer"]), Values.of([bytes.fromhex(with_nickname["bytes"])]))


@pytest.mark.parametrize(
    ("tables", "asked"),
    [
        ([], 'add at the end of "row.customer" in nurt.state.layouts: ("nickname", 40, TEXT), and then run'),
        (["row.customer"], 'add at the end of "account_slots" in nurt.state.layouts: ("nickname", 35, TEXT), and'),
    ],
)
def test_a_field_without_a_column_is_refused_at_import_with_the_line_to_add(tables: list[str], asked: str) -> None:
    done = _child(NICKNAME.format(tables=tables, type="TEXT") + "import nurt.rows.layouts, nurt.rows.children.tables")
    assert done.returncode == 1
    assert asked in done.stderr.strip().splitlines()[-1]


def test_a_field_of_another_type_is_refused_at_import() -> None:
    done = _child(NICKNAME.format(tables=["row.customer"], type="INTEGER") + "import nurt.rows.layouts")
    assert "row.customer: its column nickname is integer (needed: text)" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "columns", [(("part", 0, layouts.INTEGER), ("id", 2, layouts.BYTES)), (("part", 1, layouts.INTEGER),)]
)
def test_bits_with_a_gap_are_refused(columns: tuple[layouts.Column, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(layouts.LAYOUTS, "members", columns)
    with pytest.raises(ImportError, match="stored table members: its bits are"):
        Table.stored("members")


def test_a_table_without_a_layout_is_refused() -> None:
    with pytest.raises(ImportError, match=r'add a table "vouchers" in nurt.state.layouts: \("id", 0, BYTES\),'):
        Table.stored("vouchers", {"id": pl.Binary()})
    with pytest.raises(ImportError, match="vouchers"):
        Table.stored("vouchers")


# -- values of a later version


def _contribution() -> Contributions:
    one, none = np.zeros(1, dtype=np.int64), no_texts(1)
    return Contributions(no_ids(1), no_ids(1), one, one, one == 0, none, none, none, none, no_ids(1))


OWNERS = np.zeros(1, dtype=np.int64)
PROFILES = Profiles(FoldContext(Ids(bytes(16))))
READERS: dict[str, tuple[Table, Callable[[bytes], object]]] = {
    "frames": (stock_rows.SALES_DOCUMENTS, lambda value: stock_rows.SALES_DOCUMENTS.unpack([value])),
    "frames of some columns": (
        stock_rows.SALES_DOCUMENTS,
        lambda value: stock_rows.SALES_DOCUMENTS.unpack([value], ("part",)),
    ),
    "arrays by column": (
        promise.HOLDS,
        lambda value: Rows(promise.HOLDS, promise.HOLDS.locate(Values.of([value]).body, Values.of([value]).cuts)),
    ),
    "plain rows": (identity.MEMBERSHIPS, lambda value: unpack_rows(identity.MEMBERSHIPS, [value])),
    "arrays by row": (
        stock_rows.POSITIONS,
        lambda value: read_values(Layout(stock_rows.POSITIONS), Values.of([value])),
    ),
    "slots": (
        contributions.ORDER_RECORDS,
        lambda value: fold_records(contributions.ORDER_RECORDS, Values.of([value]), OWNERS, _contribution()),
    ),
    "sums": (
        contributions.AGGREGATES,
        lambda value: fold_aggregates(OWNERS, _contribution(), Values.of([value]), Values.of([SHARE])),
    ),
    "shares": (
        contributions.AGGREGATES,
        lambda value: fold_aggregates(OWNERS, _contribution(), Values.of([None]), Values.of([value])),
    ),
    "tokens": (
        contributions.REFERENCES,
        lambda value: fold_tokens(OWNERS, _contribution(), Values.of([value]), no_ids(1), 1),
    ),
    "members": (identity.MEMBERS, lambda value: read_members(Values.of([value]))),
    "memberships": (
        identity.MEMBERSHIPS,
        lambda value: read_memberships(Values.of([value]), join_links(["email\x1fa"])),
    ),
    "figures": (contributions.AGGREGATES, lambda value: order_figures([value], 20_000)),
    "accounts of profiles": (
        contributions.ACCOUNT_RECORDS,
        lambda value: live_profiles(PROFILES, [[(value, None)]], 20_000),
    ),
    "sums of profiles": (
        contributions.AGGREGATES,
        lambda value: live_profiles(PROFILES, [[(ACCOUNT_BYTES, value)]], 20_000),
    ),
}
ACCOUNT_BYTES = bytes.fromhex(ACCOUNT)
SHARE = bytes([VERSION, 0b1, 0, 0b10001, 2, 2])
"""Its stamp, 0, and one order: what is taken away again when the order says nothing."""


def _later(columns: int, version: int, bit: int) -> bytes:
    """Write a row of a later version: it has one column, by its bit; what follows is all ones."""
    bitmap = np.empty(16, dtype=np.uint8)
    end = put_unsigned(bitmap, 0, np.uint64(1 << bit) if bit >= columns else 0)
    return bytes([version]) + bitmap[:end].tobytes() + b"\x7f" * 40


def _cases() -> Iterator[Any]:
    for name, (table, read) in READERS.items():
        columns = len(table.columns)
        yield pytest.param(read, _later(columns, VERSION, columns), id=f"{name}: the next column")
        yield pytest.param(read, _later(columns, VERSION, 63), id=f"{name}: the last bit")
        yield pytest.param(read, _later(columns, VERSION + 1, 0), id=f"{name}: another encoding")


@pytest.mark.parametrize(("read", "value"), [*_cases()])
def test_every_reader_refuses_what_a_later_version_wrote(read: Callable[[bytes], object], value: bytes) -> None:
    with pytest.raises(StateTooNew):
        read(value)
