"""Simulate a database with a Debezium connector: row operations in, change messages of genuine form out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nurt.model.raw import Headers
from nurt.ports.registry import SchemaRegistry
from nurt.simulate.connector.columns import TEXT, Column, Key, Row, Table, encode_long, encode_text
from nurt.simulate.connector.database import Change, Committed, Transaction
from nurt.simulate.connector.envelope import (
    NULL,
    ConnectorKind,
    Place,
    TableEnvelopes,
    transaction_block,
    transaction_marker,
    wire_header,
)
from nurt.simulate.connector.messages import Message, MessageWriter, partition_of
from nurt.simulate.connector.schemas import HEARTBEAT_KEY, HEARTBEAT_VALUE, TRANSACTION_KEY, TRANSACTION_VALUE

SIGNALS = Table("dbz_signal", ("id",), (Column("id", TEXT, null=False), Column("type", TEXT), Column("data", TEXT)))
"""The signal table, for the watermarks of incremental snapshots."""

_LATENCY_US = 250_137  # from a commit to the connector
_TRANSPORT_MS = 412  # from a commit to the topic


class Connector:
    """Connector and its database; it keeps the committed rows, so an update needs only the changed columns.

    PostgreSQL takes a log position when a change is made and sends the change when its transaction commits; MariaDB
    writes a transaction to its log at its commit. So in both, positions grow in commit order.
    """

    def __init__(
        self,
        kind: ConnectorKind,
        prefix: str,
        tables: Sequence[Table],
        writer: MessageWriter,
        registry: SchemaRegistry,
        *,
        database: str,
        schema: str = "public",
        partitions: int = 1,
        start_us: int = 1_767_225_600_000_000,  # 2026-01-01
        replica_identity_full: bool = False,
        toast_bytes_min: int = 2000,
        context_headers: bool = True,
        transaction_topic: bool = True,
        binlog_number: int = 1,
        binlog_bytes_max: int = 1 << 30,
        replay_messages_max: int = 10_000,
    ) -> None:
        """Begin with empty tables.

        `schema` is for PostgreSQL; MariaDB has only a database. `partitions`: of every table's topic.
        `toast_bytes_min`: updates leave out an unchanged `toast` column of at least this length.
        `binlog_number`, `binlog_bytes_max`: the first file's number, and its size at which the next begins.
        """
        self.kind = kind
        self.prefix = prefix
        self.now_us = start_us
        self._writer = writer
        self._registry = registry
        self._database = database
        self._schema = database if kind == "mariadb" else schema
        self._partitions = partitions
        self._full_images = kind == "mariadb" or replica_identity_full
        self._toast_bytes_min = toast_bytes_min
        self._transaction_topic = transaction_topic
        self._binlog_bytes_max = binlog_bytes_max
        self._file_number, self._pos, self._gtid = binlog_number, 21295, 49
        self.servers: tuple[int, ...] = (101,)  # those that write to this log, in turn
        self._lsn, self._tx_id = 116_032_456, 922
        self._commit_lsn: int | None = None  # end of the last transaction that the connector saw
        self._last_place = Place()  # of the last change
        self._sent: deque[Message] = deque(maxlen=replay_messages_max)
        self._context: Headers = _context(kind, prefix) if context_headers else []
        subjects = (
            (f"__debezium-heartbeat.{prefix}-key", HEARTBEAT_KEY),
            (f"__debezium-heartbeat.{prefix}-value", HEARTBEAT_VALUE),
            (f"{prefix}.transaction-key", TRANSACTION_KEY),
            (f"{prefix}.transaction-value", TRANSACTION_VALUE),
        )
        self._markers = [wire_header(registry.register(subject, avro)) for subject, avro in subjects]
        self._tables: dict[str, Committed] = {}
        for table in tables:
            self.alter(table)

    # State

    def rows(self, table: str) -> dict[Key, Row]:
        """Return the committed rows of a table; not to be changed."""
        return self._tables[table].rows

    def topic(self, table: str) -> str:
        """Return the topic of a table's changes."""
        return self._tables[table].envelopes.topic

    def topics(self) -> dict[str, int]:
        """Return every written topic and its number of partitions, topics without rows included."""
        tables = {committed.envelopes.topic: self._partitions for committed in self._tables.values()}
        return {**tables, f"{self.prefix}.transaction": 1, f"__debezium-heartbeat.{self.prefix}": 1}

    def alter(self, table: Table) -> None:
        """Create a table, or give one other columns (its rows get the defaults) and so a new schema version."""
        envelopes = TableEnvelopes(self.kind, self.prefix, self._database, self._schema, table, self._registry)
        altered = Committed(envelopes)
        names = {column.name for column in table.columns}
        if table.name in self._tables:
            for row in self._tables[table.name].rows.values():
                altered.put({name: value for name, value in row.items() if name in names})
        self._tables[table.name] = altered

    def load(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Load rows without messages, as they were before the connector started; a snapshot sends them."""
        for values in rows:
            self._tables[table].put(values)

    # Operations

    def begin(self) -> Transaction:
        """Open a transaction; several may be open at once on different rows, as with row locks."""
        self._tx_id += 1
        return Transaction(self._tx_id, self._tables, self._take_lsn, self._full_images, self._toast_bytes_min)

    @contextmanager
    def transaction(self, at_us: int | None = None) -> Iterator[Transaction]:
        """Open a transaction that commits at the end of the block, unless the block raises."""
        opened = self.begin()
        yield opened
        self.commit(opened, at_us)

    def insert(self, table: str, values: Mapping[str, Any], at_us: int | None = None) -> Key:
        """Insert one row in its own transaction; return its key."""
        with self.transaction(at_us) as transaction:
            return transaction.insert(table, values)

    def update(self, table: str, key: Key, changes: Mapping[str, Any], at_us: int | None = None) -> None:
        """Update one row in its own transaction; a changed key makes it another row (a re-key)."""
        with self.transaction(at_us) as transaction:
            transaction.update(table, [key], changes)

    def delete(self, table: str, key: Key, at_us: int | None = None) -> None:
        """Delete one row in its own transaction."""
        with self.transaction(at_us) as transaction:
            transaction.delete(table, [key])

    def commit(self, transaction: Transaction, at_us: int | None = None) -> None:
        """Commit a transaction: its changes are stored and sent, between BEGIN and END."""
        self._advance(at_us)
        if not transaction.changes:
            return
        first = transaction.changes[0]
        if self.kind == "mariadb":
            self._gtid += 1
            begin_id = end_id = self._begin_gtid()
        else:
            self._lsn += 56
            begin_id, end_id = f"{transaction.tx_id}:{first.lsn}", f"{transaction.tx_id}:{self._lsn}"
        self._transaction_marker("BEGIN", begin_id, None)
        counts: Counter[str] = Counter()
        statement = 0
        for order, change in enumerate(transaction.changes, 1):
            if change.statement != statement:
                statement = change.statement
                self._move_log(120 + len(change.after or b"") + len(change.before or b""))
            collection = change.committed.envelopes.collection
            counts[collection] += 1
            block_id = begin_id if self.kind == "mariadb" else f"{transaction.tx_id}:{change.lsn}"
            place = self._place(change.lsn, change.row_number, transaction.tx_id)
            self._write_change(change, place, transaction_block(block_id, order, counts[collection]))
            change.apply()
            self._last_place = place
        if self.kind == "postgresql":
            self._commit_lsn = self._lsn
        self._move_log(31)
        self._transaction_marker("END", end_id, counts)

    def move(self, lower: bool) -> None:
        """Leave for another server, with a log of its own; a snapshot must follow.

        `lower`: positions of the new log are lower than those of the old one.
        """
        self.servers = tuple(server + 10 for server in self.servers)
        if self.kind == "mariadb":
            self._file_number, self._pos = (1, 4) if lower else (self._file_number + 5, 4)
        else:
            self._lsn += -200_000 if lower else 10_000_000

    def fail_over(self, at_us: int) -> None:
        """Go on with a standby whose log is a little shorter, without a snapshot and without a lost row."""
        self._advance(at_us)
        self._sent.clear()
        self.servers = tuple(server + 10 for server in self.servers)
        if self.kind == "mariadb":
            self._pos = max(4, self._pos - 5_000)
        else:
            self._lsn -= 5_000
            self._commit_lsn = self._lsn

    def snapshot(self, at_us: int | None = None, rows_max: int | None = None) -> None:
        """Read all tables like a connector without offsets; the order begins again here (a source epoch).

        `rows_max`: the snapshot is interrupted behind so many rows.
        """
        self._advance(at_us)
        self._sent.clear()
        self._commit_lsn = None
        self._lsn += 56
        place = replace(self._place(self._lsn, 0, self._tx_id), server_id=0, gtid=None)
        filled = [committed for committed in self._tables.values() if committed.rows]
        left = rows_max
        for number, committed in enumerate(filled):
            for index, (key, image) in enumerate(committed.images.items()):
                first, last = index == 0, index == len(committed.images) - 1
                if first and number == 0:
                    word = "first"
                elif last:
                    word = "last" if number == len(filled) - 1 else "last_in_data_collection"
                else:
                    word = "first_in_data_collection" if first else "true"
                if left is not None:
                    if left == 0:
                        return
                    left -= 1
                self._write_read(committed.envelopes, key, image, place, word)
        self._sent.clear()  # a finished snapshot is not sent again

    def incremental_snapshot(
        self, table: str, at_us: int | None = None, during: Callable[[], None] | None = None
    ) -> None:
        """Read one table between two watermarks while the stream goes on.

        `during` may commit changes inside the window; rows of these changes are left out, because the stream has sent
        them.
        Source: Debezium, ad hoc incremental snapshots; corpus, point 3.
        """
        if SIGNALS.name not in self._tables:
            self.alter(SIGNALS)
        chunk = f"{self._gtid:08d}-{self._lsn:012d}"
        self.insert(SIGNALS.name, {"id": f"{chunk}-open", "type": "snapshot-window-open"}, at_us)
        read = dict(self._tables[table].images)
        if during is not None:
            during()
        committed = self._tables[table]
        self.insert(SIGNALS.name, {"id": f"{chunk}-close", "type": "snapshot-window-close"})
        place = replace(self._last_place, lsn=None, tx_id=None)
        for key, image in read.items():
            if committed.images.get(key) is image:
                self._write_read(committed.envelopes, key, image, place, "incremental")

    def heartbeat(self, at_us: int | None = None) -> None:
        """Send a heartbeat of the connector."""
        self._advance(at_us)
        key = self._markers[0] + encode_text(self.prefix)
        value = self._markers[1] + encode_long(self.now_us // 1000)
        self._write(f"__debezium-heartbeat.{self.prefix}", 0, key, value, [])

    def redeliver(self, messages: int) -> None:
        """Write the last messages again, like a worker that died before it committed its offsets."""
        for message in list(self._sent)[len(self._sent) - min(messages, len(self._sent)) :]:
            self._send(message)

    def stray(self, back: int) -> bool:
        """Write the message of `back` messages ago again, alone; False when it must not come alone.

        Sources do not do this, but a second mirror of a topic and a requeue do.
        """
        if back >= len(self._sent) or not self._sent[-1 - back].positioned:
            return False
        self._send(self._sent[-1 - back])
        return True

    # Messages

    def _write_change(self, change: Change, place: Place, block: bytes) -> None:
        envelopes = change.committed.envelopes
        at_us = self.now_us + _LATENCY_US
        value = envelopes.envelope(change.op, change.before, change.after, place, block, self._source_us(), at_us)
        key = None if change.key is None else envelopes.key(change.key)
        if change.partition is None:
            partition = partition_of(key, self._partitions)
        else:
            partition = change.partition % self._partitions
        headers = change.headers + self._context
        positioned = self.kind == "mariadb" or place.commit_lsn is not None
        self._write(envelopes.topic, partition, key, value, headers, positioned)
        if change.op == "d":
            self._write(envelopes.topic, partition, key, None, headers)  # a tombstone says nothing but its key

    def _write_read(self, envelopes: TableEnvelopes, key: Key, image: bytes, place: Place, snapshot: str) -> None:
        source_us = self.now_us if snapshot == "incremental" else self._source_us()
        at_us = self.now_us + _LATENCY_US
        value = envelopes.envelope("r", None, image, place, NULL, source_us, at_us, snapshot)
        wire_key = envelopes.key(key)
        partition = partition_of(wire_key, self._partitions)
        self._write(envelopes.topic, partition, wire_key, value, self._context, snapshot == "incremental")

    def _transaction_marker(self, status: str, transaction_id: str, counts: Mapping[str, int] | None) -> None:
        if self._transaction_topic:
            key = self._markers[2] + encode_text(transaction_id)
            value = self._markers[3] + transaction_marker(status, transaction_id, counts, self._source_us() // 1000)
            self._write(f"{self.prefix}.transaction", 0, key, value, [])

    def _write(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        positioned: bool = False,
    ) -> None:
        sent_ms = self.now_us // 1000 + _TRANSPORT_MS
        self._send(Message(topic, partition, key, value, headers, sent_ms, positioned))

    def _send(self, message: Message) -> None:
        self._sent.append(message)
        self._writer.write(
            message.topic, message.partition, message.key, message.value, message.headers, message.timestamp_ms
        )

    def _place(self, lsn: int, row_number: int, tx_id: int | None) -> Place:
        if self.kind == "mariadb":
            file = f"binlog.{self._file_number:06d}"
            return Place(file=file, pos=self._pos, row=row_number, gtid=self._begin_gtid(), server_id=self._server())
        return Place(commit_lsn=self._commit_lsn, change_lsn=lsn, lsn=lsn, tx_id=tx_id)

    def _server(self) -> int:
        return self.servers[self._gtid % len(self.servers)]

    def _begin_gtid(self) -> str:
        return f"0-{self._server()}-{self._gtid}"

    def _take_lsn(self, size: int) -> int:
        lsn = self._lsn
        self._lsn += size
        return lsn

    def _move_log(self, size: int) -> None:
        self._pos += size
        if self._pos >= self._binlog_bytes_max:
            self._file_number, self._pos = self._file_number + 1, 4 + size

    def _advance(self, at_us: int | None) -> None:
        """Set the time; it never goes back, and a millisecond passes when none is given."""
        self.now_us = self.now_us + 1000 if at_us is None else max(at_us, self.now_us)

    def _source_us(self) -> int:
        """Return the commit's time in the source's log: MariaDB's log has whole seconds."""
        return self.now_us - self.now_us % 1_000_000 if self.kind == "mariadb" else self.now_us


def _context(kind: ConnectorKind, prefix: str) -> Headers:
    """Return the headers that Debezium 3 puts on every change. Source: corpus."""
    return [
        ("__debezium.context.connectorLogicalName", prefix.encode()),
        ("__debezium.context.taskId", b"0"),
        ("__debezium.context.connectorName", kind.encode()),
        ("__debezium.context.runId", b"01a200a5-51fa-7f0b-ac83-9d2a54cdc308"),
    ]
