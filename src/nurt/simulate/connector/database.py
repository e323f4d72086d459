"""Hold the committed rows of a simulated database, and collect the changes of its open transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nurt.model.raw import Headers
from nurt.simulate.connector.columns import UNAVAILABLE, Key, Row, Table
from nurt.simulate.connector.envelope import TableEnvelopes


@dataclass(slots=True)
class Committed:
    """Committed rows of one table, and each row's record as Avro bytes."""

    envelopes: TableEnvelopes
    rows: dict[Key, Row] = field(default_factory=dict)
    images: dict[Key, bytes] = field(default_factory=dict)

    def put(self, values: Mapping[str, Any]) -> None:
        """Store a row, new or existing."""
        row = self.envelopes.table.complete(values)
        key = self.envelopes.table.key_of(row)
        self.rows[key] = row
        self.images[key] = self.envelopes.image(row)


@dataclass(frozen=True, slots=True)
class Change:
    """Change of one row inside a transaction.

    `row` and `image` are the table's row afterwards (null: deleted); `after` is the row in the message, perhaps without
    a TOAST value. Changes of one statement share `statement` and differ in `row_number`, but the two halves of a re-key
    share both. A truncate has no key, and the partition that the producer happened to choose.
    """

    committed: Committed
    op: str
    key: Key | None
    before: bytes | None
    after: bytes | None
    row: Row | None
    image: bytes | None
    statement: int
    row_number: int
    lsn: int
    headers: Headers
    partition: int | None = None

    def apply(self) -> None:
        """Apply the change to the committed rows."""
        rows, images = self.committed.rows, self.committed.images
        if self.key is None:
            rows.clear()
            images.clear()
        elif self.row is None or self.image is None:
            rows.pop(self.key, None)
            images.pop(self.key, None)
        else:
            rows[self.key] = self.row
            images[self.key] = self.image


class Transaction:
    """Transaction of row changes; nobody else sees them before `commit`.

    A statement on a missing key raises KeyError; an insert of an existing key, too.
    """

    def __init__(
        self,
        tx_id: int,
        tables: Mapping[str, Committed],
        take_lsn: Callable[[int], int],
        full_images: bool,
        toast_bytes_min: int,
    ) -> None:
        """Begin. `take_lsn(size)` returns the log position of a change and moves the log on by its size."""
        self.tx_id = tx_id
        self.changes: list[Change] = []
        self._tables = tables
        self._take_lsn = take_lsn
        self._full_images = full_images
        self._toast_bytes_min = toast_bytes_min
        self._uncommitted: dict[tuple[str, Key], tuple[Row, bytes] | None] = {}
        self._statement = 0

    def insert(self, table: str, values: Mapping[str, Any]) -> Key:
        """Insert one row; return its key."""
        committed = self._tables[table]
        row = committed.envelopes.table.complete(values)
        key = committed.envelopes.table.key_of(row)
        if self._find(table, key) is not None:
            raise KeyError(f"{table} holds this key")
        self._statement += 1
        image = committed.envelopes.image(row)
        self._note(table, "c", key, None, image, row, image, self._take(image))
        return key

    def update(self, table: str, keys: Sequence[Key], changes: Mapping[str, Any]) -> None:
        """Update some rows in one statement; a changed key makes the row another (a re-key)."""
        self._statement += 1
        for row_number, key in enumerate(keys):
            self._update_one(table, key, changes, row_number)

    def delete(self, table: str, keys: Sequence[Key]) -> None:
        """Delete some rows in one statement."""
        self._statement += 1
        for row_number, key in enumerate(keys):
            _, image = self._there(table, key)
            before = image if self._full_images else self._tables[table].envelopes.filler_image(key)
            self._note(table, "d", key, before, None, None, None, self._take(before), row_number)

    def truncate(self, table: str, partition: int = 0) -> None:
        """Remove all rows of a table, in a message without key that goes to any one partition."""
        self._statement += 1
        committed = self._tables[table]
        lsn = self._take_lsn(64)
        self.changes.append(
            Change(committed, "t", None, None, None, None, None, self._statement, 0, lsn, [], partition)
        )
        for name, key in [written for written in self._uncommitted if written[0] == table]:
            self._uncommitted[name, key] = None
        self._uncommitted.update({(table, key): None for key in committed.rows})

    def _update_one(self, table: str, key: Key, changes: Mapping[str, Any], row_number: int) -> None:
        envelopes = self._tables[table].envelopes
        old, old_image = self._there(table, key)
        row = envelopes.table.complete({**old, **changes})
        image = envelopes.image(row)
        visible = {**row, **dict.fromkeys(self._unavailable(envelopes.table, old, changes), UNAVAILABLE)}
        after = image if visible == row else envelopes.image(visible)
        new_key = envelopes.table.key_of(row)
        if new_key == key:
            before = old_image if self._full_images else None
            self._note(table, "u", key, before, after, row, image, self._take(after), row_number)
            return
        if self._find(table, new_key) is not None:
            raise KeyError(f"{table} holds this key")
        lsn = self._take(after)
        before = old_image if self._full_images else envelopes.filler_image(key)
        to_new: Headers = [("__debezium.newkey", envelopes.key_json(new_key))]
        to_old: Headers = [("__debezium.oldkey", envelopes.key_json(key))]
        self._note(table, "d", key, before, None, None, None, lsn, row_number, to_new)
        self._note(table, "c", new_key, None, after, row, image, lsn, row_number, to_old)

    def _unavailable(self, table: Table, old: Row, changes: Mapping[str, Any]) -> list[str]:
        """Name the columns whose out-of-line value an update does not change. Source: corpus, point 6."""
        if self._full_images:
            return []
        return [
            column.name
            for column in table.columns
            if column.toast
            and column.name not in changes
            and old[column.name] is not None
            and len(old[column.name].encode()) >= self._toast_bytes_min
        ]

    def _note(
        self,
        table: str,
        op: str,
        key: Key,
        before: bytes | None,
        after: bytes | None,
        row: Row | None,
        image: bytes | None,
        lsn: int,
        row_number: int = 0,
        headers: Headers | None = None,
    ) -> None:
        self.changes.append(
            Change(
                self._tables[table], op, key, before, after, row, image, self._statement, row_number, lsn, headers or []
            )
        )
        self._uncommitted[table, key] = None if row is None or image is None else (row, image)

    def _find(self, table: str, key: Key) -> tuple[Row, bytes] | None:
        if (table, key) in self._uncommitted:
            return self._uncommitted[table, key]
        committed = self._tables[table]
        return (committed.rows[key], committed.images[key]) if key in committed.rows else None

    def _there(self, table: str, key: Key) -> tuple[Row, bytes]:
        found = self._find(table, key)
        if found is None:
            raise KeyError(f"{table} does not hold this key")
        return found

    def _take(self, image: bytes) -> int:
        return self._take_lsn(96 + len(image) // 8 * 8)
