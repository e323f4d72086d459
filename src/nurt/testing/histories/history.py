"""Random small histories of the demo's databases, adversarial on purpose, for property tests.

A history is a list of steps: what transactions did, when a connector was restarted, when a snapshot was read.
`messages` plays it through connectors, `arrivals` mixes the topics as a reader may read them, and `final_rows`
computes the final tables without connectors.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nurt.ports.registry import SchemaRegistry
from nurt.simulate.company.tables import ERP, ERP_TABLES, SHOP_TABLES, SHOPS, demo_connectors
from nurt.simulate.connector.columns import TEXT, Column, Key, Row, Table
from nurt.simulate.connector.database import Transaction
from nurt.simulate.connector.debezium import Connector
from nurt.simulate.connector.messages import MemoryWriter, Message

SYSTEMS = (*SHOPS, ERP)


@dataclass(frozen=True, slots=True)
class RowOperation:
    """One statement: `insert` (values), `update` (keys, values), `delete` (keys) or `truncate`.

    An update with a key column among its values re-keys one row.
    """

    table: str
    kind: str
    keys: tuple[Key, ...] = ()
    values: Row = field(default_factory=dict)
    partition: int = 0  # of a truncate


@dataclass(frozen=True, slots=True)
class Step:
    """An event in one system.

    `begin` does `operations` in a transaction; the `commit` of the same number ends it and may have operations,
    too. `load` (before anything else) and `snapshot` read whole databases; `incremental` reads `table` while `during`
    happens; `redeliver` repeats the last `messages`, `stray` repeats one that long ago; `alter` adds a
    nullable column to `table`; `heartbeat` is a heartbeat. `move` leaves for a server whose log is `lower` or higher:
    `operations` happen while no connector looks, then whole databases are read, after an attempt that was interrupted
    behind `messages` rows. `fail_over` goes on with a standby whose log is a little shorter.
    """

    system: str
    kind: str
    at_us: int
    operations: tuple[RowOperation, ...] = ()
    transaction: int = 0
    table: str = ""
    messages: int = 0
    during: tuple[Step, ...] = ()
    lower: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """Events of all systems, in order."""

    seed: int
    steps: tuple[Step, ...]


def tables_of(system: str) -> dict[str, Table]:
    """Return a demo system's tables by name."""
    return {table.name: table for table in (ERP_TABLES if system == ERP else SHOP_TABLES)}


def topic_of(system: str, table: str) -> str:
    """Return the topic of a demo system's table."""
    return f"{system}.{'public' if system == ERP else 'magento'}.{table}"


def widened(table: Table) -> Table:
    """Return the table as `alter` leaves it: with one more nullable column."""
    name = f"extra_{len(table.columns)}"
    return replace(table, columns=(*table.columns, Column(name, TEXT)))


def final_rows(history: History) -> dict[str, dict[Key, Row]]:
    """Return topic -> key -> row as the databases hold them at the end; every topic is included."""
    tables = {(system, name): table for system in SYSTEMS for name, table in tables_of(system).items()}
    rows: dict[tuple[str, str], dict[Key, Row]] = {place: {} for place in tables}
    open_operations: dict[tuple[str, int], tuple[RowOperation, ...]] = {}

    def operate(system: str, operation: RowOperation) -> None:
        place = (system, operation.table)
        table, table_rows = tables[place], rows[place]
        if operation.kind == "insert":
            row = table.complete(operation.values)
            table_rows[table.key_of(row)] = row
        elif operation.kind == "truncate":
            table_rows.clear()
        for key in operation.keys:
            row = table_rows.pop(key)
            if operation.kind == "update":
                row = {**row, **operation.values}
                table_rows[table.key_of(row)] = row

    def happen(step: Step) -> None:
        if step.kind == "begin":
            open_operations[step.system, step.transaction] = step.operations
        elif step.kind in ("load", "commit", "move"):
            for operation in open_operations.pop((step.system, step.transaction), ()) + step.operations:
                operate(step.system, operation)
        elif step.kind == "incremental":
            for inner in step.during:
                happen(inner)
        elif step.kind == "alter":
            place = (step.system, step.table)
            tables[place] = widened(tables[place])
            rows[place] = {key: tables[place].complete(row) for key, row in rows[place].items()}

    for step in history.steps:
        happen(step)
    return {topic_of(*place): table_rows for place, table_rows in rows.items()}


def messages(
    history: History,
    registry: SchemaRegistry,
    *,
    partitions: int = 3,
    context_headers: bool = False,
    toast_bytes_min: int = 4,
    servers: tuple[int, ...] = (101,),
) -> list[Message]:
    """Play a history through Debezium connectors; return their messages, each connector's in commit order.

    `servers` write to MariaDB's logs in turn.
    """
    writer = MemoryWriter()
    connectors = demo_connectors(
        writer,
        registry,
        partitions=partitions,
        context_headers=context_headers,
        toast_bytes_min=toast_bytes_min,
        binlog_bytes_max=30_000,
    )
    for connector in connectors.values():
        connector.servers = servers
    tables = {(system, name): table for system in SYSTEMS for name, table in tables_of(system).items()}
    transactions: dict[tuple[str, int], Transaction] = {}
    for step in history.steps:
        _play(connectors[step.system], step, transactions, tables)
    return writer.messages


def arrivals(sent: Sequence[Message], seed: int, *, doubles: float = 0.05) -> list[Message]:
    """Mix messages as a reader may read them: any order between partitions, the original order within each.

    Some partitions run far ahead of others; some messages (`doubles`: which part) come twice in a row.
    """
    rng = random.Random(seed)
    queues: dict[tuple[str, int], list[Message]] = {}
    for message in sent:
        queue = queues.setdefault((message.topic, message.partition), [])
        queue.extend([message] * (2 if rng.random() < doubles else 1))
    paces = {place: rng.choice((0.05, 1.0, 1.0, 20.0)) for place in sorted(queues)}
    waiting = {place: iter(queues[place]) for place in paces}
    result: list[Message] = []
    while waiting:
        place = rng.choices(list(waiting), [paces[place] for place in waiting])[0]
        for _ in range(rng.randint(1, 4)):
            following = next(waiting[place], None)
            if following is None:
                del waiting[place]
                break
            result.append(following)
    return result


def _play(
    connector: Connector,
    step: Step,
    transactions: dict[tuple[str, int], Transaction],
    tables: dict[tuple[str, str], Table],
) -> None:
    place = (step.system, step.transaction)
    if step.kind == "load":
        for operation in step.operations:
            connector.load(operation.table, [operation.values])
    elif step.kind == "begin":
        transactions[place] = connector.begin()
        _operate(transactions[place], step.operations)
    elif step.kind == "commit":
        transaction = transactions.pop(place, None) or connector.begin()
        _operate(transaction, step.operations)
        connector.commit(transaction, step.at_us)
    elif step.kind == "snapshot":
        connector.snapshot(step.at_us)
    elif step.kind == "move":
        for operation in step.operations:
            for key in operation.keys:
                connector.load(operation.table, [{**connector.rows(operation.table)[key], **operation.values}])
        connector.move(step.lower)
        if step.messages:
            connector.snapshot(step.at_us, step.messages)
        connector.snapshot(step.at_us)
    elif step.kind == "fail_over":
        connector.fail_over(step.at_us)
    elif step.kind == "incremental":

        def during() -> None:
            for inner in step.during:
                _play(connector, inner, transactions, tables)

        connector.incremental_snapshot(step.table, step.at_us, during)
    elif step.kind == "redeliver":
        connector.redeliver(step.messages)
    elif step.kind == "stray":
        connector.stray(step.messages)
    elif step.kind == "alter":
        tables[step.system, step.table] = widened(tables[step.system, step.table])
        connector.alter(tables[step.system, step.table])
    else:
        assert step.kind == "heartbeat", step.kind
        connector.heartbeat(step.at_us)


def _operate(transaction: Transaction, operations: Sequence[RowOperation]) -> None:
    for operation in operations:
        if operation.kind == "insert":
            transaction.insert(operation.table, operation.values)
        elif operation.kind == "update":
            transaction.update(operation.table, operation.keys, operation.values)
        elif operation.kind == "delete":
            transaction.delete(operation.table, operation.keys)
        else:
            transaction.truncate(operation.table, operation.partition)
