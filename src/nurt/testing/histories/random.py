"""Draw random histories: few keys, few identifiers, every kind of change, so that everything meets everything."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from nurt.simulate.connector.columns import Column, Key, Row, Table, moment, seconds
from nurt.testing.histories.history import SYSTEMS, History, RowOperation, Step, tables_of, widened

EMAILS = (
    "anna@example.com",
    " Anna@Example.COM ",
    "jan@example.pl",
    "biuro@example.de",
    "ola@example.com",
    "mailto:anna@example.com",
    "Jan <jan@example.pl>",
    "o\u200bla@example.com.",
    "anna@example.com; ola@example.com",
    "nobody",
    "",
)
PHONES = (
    *("+48 601 100 101", "601100101", "0048 601-100-101", "+49 30 901820", "030 901820", "12"),
    *("0 601 100 101", "48601100101", "+48 (0)601 100 101", "+49 30 901820 DW 12", "22 123 45 67 wew. 5"),
)
TAX_IDS = ("5260250274", "PL 526-025-02-74", "PL5252248481", "DE136695976", "1234567890", "NIP: PL5260250274")
CARDS = ("K-100", "k 100", "K200")
NAMES = ("Anna", "Jan", "Zażółć", "Jürgen", "Ола", "")
SKUS = ("TEA-1", "MUG-2", "LAMP-3")
CURRENCIES = ("PLN", "PLN", "EUR", "CZK")
MONEY = (Decimal("0"), Decimal("10"), Decimal("19.99"), Decimal("0.01"), Decimal("-5.50"), Decimal("12345678.01"))
COUNTS = (Decimal("0"), Decimal("1"), Decimal("2"), Decimal("3"))

_POOLS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("email", "customer_email", "subscriber_email"), EMAILS),
    **dict.fromkeys(("telephone", "customer_telephone", "phone"), PHONES),
    **dict.fromkeys(("taxvat", "nip", "vat_id"), TAX_IDS),
    **dict.fromkeys(("loyalty_card", "card_no"), CARDS),
    **dict.fromkeys(("qty_ordered", "qty_canceled", "qty_refunded", "quantity"), COUNTS),
    **dict.fromkeys(("country_id", "country"), ("PL", "DE", "AT", "XX")),
    **dict.fromkeys(("order_currency_code", "base_currency_code", "currency"), CURRENCIES),
    "state": ("new", "processing", "complete", "closed", "canceled", "holded"),
    "payment_status": ("pending", "paid", "refunded"),
    "status": ("open", "paid", "cancelled", "odd"),
    "kind": ("person", "firm", "invoice", "proforma", "billing", "login"),
    "is_active": (1, 1, 1, 0),
    "active": (True, True, True, False),
    "subscriber_status": (1, 2, 3, 4),
    "shipment_status": (1, 2, 3),
    "gender": (1, 2, 3),
    "phone_verified": (0, 1),
    "confirmation": ("c0ffee",),
    "segments": ("vip", "vip,b2b", ""),
    "channel": ("web", "app", "store", "phone"),
    "purpose": ("newsletter", "sms", "profiling"),
    "language": ("pl", "de", "uk"),
    "street": ("Długa 5", "Hauptstraße 7\nHinterhaus", "вул. Садова 1"),
    "sku": SKUS,
    "warehouse": ("main", "south"),
    "category": ("tea", "home"),
}

_KEYS_MAX = {"customer_entity": 4, "contractor": 4, "sales_order": 6, "document": 5}
_PARENTS = {
    "parent_id": 5,  # customers of addresses, orders of payments; 5 and 6 may never exist
    "customer_id": 5,
    "contractor_id": 5,
    "order_id": 6,
}


@dataclass(frozen=True, slots=True)
class Wildness:
    """Probabilities and switches of a random history. Shares are chances per step."""

    systems: tuple[str, ...] = SYSTEMS
    snapshots_again: bool = True  # a full snapshot amid the stream: a new source epoch
    truncates: bool = True
    strays: bool = True
    alters: bool = True
    moves: bool = False  # to other servers, with a snapshot or without one: the operator may be asked
    null_share: float = 0.25


@dataclass(slots=True)
class _Drawing:
    rng: random.Random
    wildness: Wildness
    now_us: int = 1_767_225_600_000_000
    tables: dict[str, dict[str, Table]] = field(default_factory=dict)
    rows: dict[tuple[str, str], dict[Key, Row]] = field(default_factory=dict)
    open_steps: dict[tuple[str, int], tuple[RowOperation, ...]] = field(default_factory=dict)
    locked: set[tuple[str, str, Key]] = field(default_factory=set)
    transactions: int = 0


def random_history(seed: int, steps: int = 40, wildness: Wildness | None = None) -> History:
    """Draw a history of about `steps` steps; the same seed draws the same history.

    The first steps load rows that exist before the connectors start, and snapshot them.
    """
    drawing = _Drawing(random.Random(seed), wildness or Wildness())
    rng = drawing.rng
    result: list[Step] = []
    for system in drawing.wildness.systems:
        drawing.tables[system] = tables_of(system)
        drawing.rows.update({(system, name): {} for name in drawing.tables[system]})
        if rng.random() < 0.7:
            loaded = [_insert(drawing, system, drawing.tables[system]) for _ in range(rng.randint(0, 12))]
            operations = tuple(operation for operation in loaded if operation is not None)
            result.append(Step(system, "load", drawing.now_us, operations))
            result.append(Step(system, "snapshot", drawing.now_us))
    for _ in range(steps):
        result.append(_step(drawing, rng.choice(drawing.wildness.systems)))
    for system, number in list(drawing.open_steps):
        result.append(_commit(drawing, system, number))
    return History(seed, tuple(result))


def _step(drawing: _Drawing, system: str) -> Step:
    """Draw one step and apply it to the generator's own rows."""
    rng, wildness = drawing.rng, drawing.wildness
    drawing.now_us += rng.choice((0, 1000, 999_999, 3_600_000_000, 86_400_000_000))
    chance = rng.random()
    mine = [number for owner, number in drawing.open_steps if owner == system]
    if chance < 0.03 and wildness.snapshots_again and not mine:
        return Step(system, "snapshot", drawing.now_us)
    if chance < 0.07:
        table = rng.choice(list(drawing.tables[system]))
        inside = tuple(_transaction(drawing, system) for _ in range(rng.randint(0, 2)))
        return Step(system, "incremental", drawing.now_us, table=table, during=inside)
    if chance < 0.11:
        return Step(system, "redeliver", drawing.now_us, messages=rng.randint(1, 40))
    if chance < 0.17 and wildness.strays:
        return Step(system, "stray", drawing.now_us, messages=rng.randint(0, 60))
    if chance < 0.19:
        return Step(system, "heartbeat", drawing.now_us)
    if chance < 0.20 and wildness.alters and not mine:
        table = rng.choice(list(drawing.tables[system]))
        drawing.tables[system][table] = widened(drawing.tables[system][table])
        table_rows = drawing.rows[system, table]
        drawing.rows[system, table] = {
            key: drawing.tables[system][table].complete(row) for key, row in table_rows.items()
        }
        return Step(system, "alter", drawing.now_us, table=table)
    if chance < 0.25 and wildness.truncates and not mine:
        table = rng.choice(list(drawing.tables[system]))
        operation = RowOperation(table, "truncate", partition=rng.randint(0, 5))
        drawing.rows[system, table].clear()
        return Step(system, "commit", drawing.now_us, (operation,))
    if chance < 0.29 and wildness.moves and not mine:
        drawing.now_us += 2_000_000  # more than the second that MariaDB's log tells
        step = _move(drawing, system) if rng.random() < 0.6 else Step(system, "fail_over", drawing.now_us)
        drawing.now_us += 1_000_000
        return step
    if mine and chance < 0.45:
        return _commit(drawing, system, rng.choice(mine))
    if chance < 0.55:
        return _begin(drawing, system)
    return _transaction(drawing, system)


def _transaction(drawing: _Drawing, system: str) -> Step:
    operations: list[RowOperation] = []
    for _ in range(drawing.rng.choice((1, 1, 2, 4))):
        operation = _operation(drawing, system)
        if operation is not None:
            operations.append(operation)
            _happen(drawing, system, operation)
    return Step(system, "commit", drawing.now_us, tuple(operations))


def _move(drawing: _Drawing, system: str) -> Step:
    """Draw what the databases change while no connector looks, and where the connector goes on."""
    rng = drawing.rng
    operations: list[RowOperation] = []
    for _ in range(rng.randint(0, 4)):
        operation = _operation(drawing, system)
        if operation is None or operation.kind != "update":
            continue
        if not any(name in operation.values for name in drawing.tables[system][operation.table].key):
            operations.append(operation)
            _happen(drawing, system, operation)
    attempt = rng.choice((0, 0, 1, 5))
    return Step(system, "move", drawing.now_us, tuple(operations), messages=attempt, lower=rng.random() < 0.7)


def _begin(drawing: _Drawing, system: str) -> Step:
    """Open a transaction of operations on different rows, and lock them until its commit."""
    operations: list[RowOperation] = []
    for _ in range(drawing.rng.randint(1, 3)):
        operation = _operation(drawing, system)
        if operation is not None:
            operations.append(operation)
            drawing.locked.update((system, operation.table, key) for key in _touched(drawing, system, operation))
    drawing.transactions += 1
    drawing.open_steps[system, drawing.transactions] = tuple(operations)
    return Step(system, "begin", drawing.now_us, tuple(operations), drawing.transactions)


def _commit(drawing: _Drawing, system: str, number: int) -> Step:
    operations = drawing.open_steps.pop((system, number))
    for operation in operations:
        touched = _touched(drawing, system, operation)
        drawing.locked.difference_update((system, operation.table, key) for key in touched)
        _happen(drawing, system, operation)
    return Step(system, "commit", drawing.now_us, (), number)


def _operation(drawing: _Drawing, system: str) -> RowOperation | None:
    rng = drawing.rng
    table = rng.choice(list(drawing.tables[system].values()))
    free = [key for key in drawing.rows[system, table.name] if (system, table.name, key) not in drawing.locked]
    chance = rng.random()
    if not free or chance < 0.35:
        return _insert(drawing, system, table, happen=False)
    if chance < 0.5:
        return RowOperation(table.name, "delete", tuple(rng.sample(free, min(len(free), rng.choice((1, 1, 3))))))
    if chance < 0.6:
        return _rekey(drawing, system, table, rng.choice(free))
    keys = tuple(rng.sample(free, min(len(free), rng.choice((1, 1, 1, 3)))))
    columns = [column for column in table.columns if column.name not in table.key]
    changed = rng.sample(columns, rng.randint(1, min(4, len(columns))))
    return RowOperation(table.name, "update", keys, {column.name: _value(drawing, table, column) for column in changed})


def _insert(drawing: _Drawing, system: str, table: Any, happen: bool = True) -> RowOperation | None:
    chosen = drawing.rng.choice(list(table.values())) if isinstance(table, dict) else table
    values = {column.name: _value(drawing, chosen, column) for column in chosen.columns}
    if drawing.rng.random() < 0.1:
        values.update({column.name: None for column in chosen.columns if column.null})
    key = chosen.key_of(values)
    if key in drawing.rows[system, chosen.name] or (system, chosen.name, key) in drawing.locked:
        return None
    operation = RowOperation(chosen.name, "insert", (), values)
    if happen:
        _happen(drawing, system, operation)
    return operation


def _rekey(drawing: _Drawing, system: str, table: Table, key: Key) -> RowOperation | None:
    """Change a row's key; values stored apart are written too, because the new row would lack them."""
    values = {column.name: _value(drawing, table, column) for column in table.columns if column.name in table.key}
    new = table.key_of(values)
    if new in drawing.rows[system, table.name] or (system, table.name, new) in drawing.locked:
        return None
    for column in table.columns:
        if column.toast:
            values[column.name] = _value(drawing, table, column)
    return RowOperation(table.name, "update", (key,), values)


def _touched(drawing: _Drawing, system: str, operation: RowOperation) -> list[Key]:
    """Return the keys that an operation reads or writes."""
    table = drawing.tables[system][operation.table]
    if operation.kind == "insert":
        return [table.key_of(operation.values)]
    if operation.kind == "update" and any(name in operation.values for name in table.key):
        return [
            *operation.keys,
            table.key_of({**dict(zip(table.key, operation.keys[0], strict=True)), **operation.values}),
        ]
    return list(operation.keys)


def _happen(drawing: _Drawing, system: str, operation: RowOperation) -> None:
    table, table_rows = drawing.tables[system][operation.table], drawing.rows[system, operation.table]
    if operation.kind == "insert":
        row = table.complete(operation.values)
        table_rows[table.key_of(row)] = row
    for key in operation.keys:
        row = table_rows.pop(key)
        if operation.kind == "update":
            row = {**row, **operation.values}
            table_rows[table.key_of(row)] = row


def _value(drawing: _Drawing, table: Table, column: Column) -> Any:
    """Draw a value for a column: a key or a reference from few, else from the column's pool, else by its type."""
    rng = drawing.rng
    if column.name in table.key and column.name not in _POOLS:
        return rng.randint(1, _KEYS_MAX.get(table.name, 7))
    if column.null and rng.random() < drawing.wildness.null_share:
        return None
    if column.name in _PARENTS:
        return rng.randint(0 if column.name == "customer_id" and not column.null else 1, _PARENTS[column.name])
    if column.name in _POOLS:
        return rng.choice(_POOLS[column.name])
    return _draw_by_type(drawing)[_type_name(column)]()


def _type_name(column: Column) -> str:
    avro = column.type.avro
    return avro if isinstance(avro, str) else str(avro.get("connect.name", avro["type"]))


def _draw_by_type(drawing: _Drawing) -> dict[str, Callable[[], Any]]:
    rng, now_us = drawing.rng, drawing.now_us

    def earlier_us() -> int:
        return now_us - rng.choice((0, 1, 60, 400)) * 86_400_000_000

    def naive() -> datetime:
        return moment(earlier_us() // 1000 * 1000).replace(tzinfo=None)  # datetime(3)

    return {
        "int": lambda: rng.randint(0, 9),
        "long": lambda: rng.choice((0, 1, 2**40)),
        "string": lambda: rng.choice(NAMES),
        "boolean": lambda: rng.random() < 0.5,
        "io.debezium.time.Date": lambda: date(2026, 1, 1) + timedelta(days=rng.choice((-20_000, -40, -1, 0, 1, 40))),
        "io.debezium.time.Timestamp": naive,
        "io.debezium.time.MicroTimestamp": naive,
        "io.debezium.time.ZonedTimestamp": lambda: seconds(earlier_us()),
        "org.apache.kafka.connect.data.Decimal": lambda: rng.choice(MONEY),
        "io.debezium.data.VariableScaleDecimal": lambda: rng.choice(MONEY),
    }
