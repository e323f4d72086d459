"""Deliveries of stock figures and orders, read by their contracts.

Every field of a contract is a column; a list of records is what `each` may name. A message is alive, a tombstone
erases.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import fastavro
import polars as pl

from nurt.contracts import schemas
from nurt.contracts.avro_columns import NotOfContract
from nurt.contracts.stock_messages import value_contract
from nurt.delivery.journal import MappedBatch, Message
from nurt.delivery.mapping import DestinationMapping, Schemas, map_rows
from nurt.delivery.order_links import linked_kinds
from nurt.delivery.ports import DesiredStateReader
from nurt.delivery.read.bodies import NO_KEY, WIRE_BYTES, BodyConverter, WriterSchemas, foreign, id_of
from nurt.model.delivery import DesiredState, Lifecycle
from nurt.model.raw import RawBatch

CONTRACTS: Mapping[str, str] = {of: value_contract(f"nurt.{of}") for of in ("stock", "orders")}
"""By the word of `of`."""

ID = "id"
ORDERS = "orders"
FAILED_DELIVERIES = "failed_deliveries"
FAILED = frozenset({"failed", "delivery_failed", "undelivered"})
"""Statuses of shipments that reached nobody; a column of an order counts these shipments."""

KINDS: Mapping[str, pl.DataType] = {
    "string": pl.String(),
    "long": pl.Int64(),
    "int": pl.Int64(),
    "boolean": pl.Boolean(),
    "double": pl.Float64(),
    "decimal": pl.Decimal(18, 4),
    "timestamp-millis": pl.Datetime("us", "UTC"),
    "timestamp-micros": pl.Datetime("us", "UTC"),
    "date": pl.Date(),
}


def columns_of(of: str) -> Schemas:
    """Return what expressions may name: fields of the record, and by `each` also the fields of its lists.

    `id` is there always: an order's own, or one made of a figure's key.
    """
    fields = {field["name"]: field["type"] for field in schemas.load(CONTRACTS[of])["fields"]}
    flat: dict[str, pl.DataType] = {ID: pl.String()}
    if of == ORDERS:
        flat[FAILED_DELIVERIES] = pl.Int64()
    lists: dict[str | None, dict[str, pl.DataType]] = {}
    for name, written in fields.items():
        item = written.get("items") if isinstance(written, dict) else None
        if isinstance(item, dict) and item.get("type") == "record":
            lists[name] = {one["name"]: kind for one in item["fields"] if (kind := kind_of(one["type"])) is not None}
        elif (kind := kind_of(written)) is not None:
            flat[name] = kind
    return {None: flat, **{name: {**flat, **columns} for name, columns in lists.items()}}


def kind_of(written: Any) -> pl.DataType | None:
    """Return the column type of a contract's field; None: a list or a record."""
    if isinstance(written, list):
        return next((kind_of(branch) for branch in written if branch != "null"), None)
    word = written.get("logicalType") or written.get("type") if isinstance(written, dict) else written
    return KINDS.get(word) if isinstance(word, str) else None


class ContractMessageReader:
    """Reader of messages of one contract; a body stays in its wire format."""

    def __init__(self, of: str) -> None:
        self._of = of

    def messages(self, batch: RawBatch) -> list[Message]:
        """Read a batch; a figure without id is named by the hash of its key."""
        rows = zip(batch.partitions, batch.offsets, batch.keys, batch.values, strict=True)
        return [
            self._message((int(partition), int(offset)), key, value or None)
            for partition, offset, key, value in rows
            if key is not None
        ]

    def _message(self, place: tuple[int, int], key: bytes, value: bytes | None) -> Message:
        is_order = self._of == ORDERS
        subject = id_of(key) if is_order else blake2b(key[WIRE_BYTES:], digest_size=16).hexdigest()
        if subject is None:
            return foreign(self._of, place, NO_KEY)
        return Message(subject, place, None, value, self._of)


class BundledSchemas:
    """Schemas of one contract by version; messages in Redis name the version."""

    def __init__(self, contract: str) -> None:
        self._contract = contract

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """See ports.registry.SchemaRegistry."""
        return schemas.load(f"{self._contract}-value.v{schema_id}")


class ContractStateReader:
    """Reader of a contract's messages as desired states; implements delivery.ports.DesiredStateReader."""

    def __init__(self, mapping: DestinationMapping, of: str, writers: WriterSchemas | None) -> None:
        self._mapping = mapping
        self._columns = columns_of(of)
        self._bodies = BodyConverter(CONTRACTS[of], writers)
        self._schema = fastavro.parse_schema(schemas.load(CONTRACTS[of]))
        self._of = of
        self._lists = {one.each for one in mapping.objects if one.each and one.plan.of == of}
        self._is_linked = of in linked_kinds([one.plan for one in mapping.objects])

    def read(self, messages: Sequence[Message]) -> MappedBatch:
        """See delivery.ports.DesiredStateReader."""
        newest = list({message.subject: message for message in messages}.values())
        upserts = [message for message in newest if message.body is not None]
        tombstones = [one for one in newest if one.body is None]
        desired_states = [
            DesiredState(one.subject, one.revision, one.place, Lifecycle.ERASED, of=self._of) for one in tombstones
        ]
        records = [{**self._read(one.body or b""), ID: one.subject} for one in upserts]
        if self._of == ORDERS:
            for record in records:
                record[FAILED_DELIVERIES] = sum(one["status"] in FAILED for one in record["shipments"])
        flat = pl.DataFrame(records, schema=dict(self._columns[None]), strict=False).with_row_index("index")
        frames: dict[str | None, pl.DataFrame] = {None: flat.with_columns(pl.col("index").cast(pl.Int64))}
        for name in self._lists:
            assert name is not None
            item_columns = {
                column: kind for column, kind in self._columns[name].items() if column not in self._columns[None]
            }
            items = [{**item, "index": at} for at, record in enumerate(records) for item in record[name]]
            child = pl.DataFrame(items, schema={**item_columns, "index": pl.Int64}, strict=False)
            frames[name] = child.join(frames[None], on="index", how="inner", maintain_order="left")
        rows, failed = map_rows(self._mapping, frames, len(upserts), of=self._of)
        skipped = {one.index for one in failed}
        for at, (message, record) in enumerate(zip(upserts, records, strict=True)):
            if at not in skipped:
                accounts = (record["account"],) if self._is_linked and record.get("account") else ()
                origin = (message.subject, record["revision"], message.place, Lifecycle.LIVE)
                desired_states.append(DesiredState(*origin, tuple(rows[at]), of=self._of, accounts=accounts))
        return MappedBatch(
            desired_states, [(upserts[one.index].subject, records[one.index]["revision"], one) for one in failed]
        )

    def _read(self, value: bytes) -> dict[str, Any]:
        body = self._bodies.body(value)
        try:
            record: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(body), self._schema)
        except Exception as failed:  # fastavro raises anything for damaged bytes
            raise NotOfContract(
                f"reading a message: {type(failed).__name__} (a body of {CONTRACTS[self._of]}); look who writes it"
            ) from None
        return record


class MixedStateReader:
    """Reader of messages of several kinds as desired states; implements delivery.ports.DesiredStateReader."""

    def __init__(self, readers: Mapping[str, DesiredStateReader]) -> None:
        self._readers = readers

    def read(self, messages: Sequence[Message]) -> MappedBatch:
        """See delivery.ports.DesiredStateReader."""
        mapped = MappedBatch([], [])
        for kind, reader in self._readers.items():
            some = reader.read([message for message in messages if message.of == kind])
            mapped.desired_states.extend(some.desired_states)
            mapped.failed.extend(some.failed)
        return mapped
