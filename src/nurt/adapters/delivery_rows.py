"""From published messages to what a destination should hold: decode profiles, map them, say wishes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import fastavro
import polars as pl

from nurt import schemas
from nurt.adapters.profile_tables import RENAMED, TABLES, decode, tables_from
from nurt.core.delivery_kin import kinds_of_kin
from nurt.core.delivery_mapping import DestinationMapping, map_rows
from nurt.core.delivery_notes import Mapped, Message
from nurt.core.delivery_tables import TableBatch
from nurt.model.delivery import PROFILES, Life, Wish
from nurt.model.raw import RawBatch
from nurt.ports import SchemaRegistry

PREFIXES: Mapping[str, pl.DataType] = {"consent_": pl.Boolean(), "address_": pl.String()}
"""Columns beside those of the table `profiles`: the word on a purpose, and fields of the first address."""

LISTS = ("identifiers", "addresses", "accounts", "orders", "products", "categories", "invoices", "consents")
SCHEMAS: Mapping[str | None, Mapping[str, pl.DataType]] = {
    None: TABLES["profiles"],
    **{name: {**TABLES["profiles"], **TABLES[f"profile_{name}"]} for name in LISTS},
}
"""What expressions may name, by `each`."""

WIRE_BYTES = 5


class Bodies:
    """Turns values of the topic into bodies of the contract that this nurt knows."""

    def __init__(self, registry: SchemaRegistry | None) -> None:
        self._registry = registry
        self._own = schemas.load(schemas.PROFILE_VALUE)
        self._writers: dict[int, Any] = {}

    def messages(self, batch: RawBatch) -> list[Message]:
        """Read a batch; keys and values are in Confluent's wire format."""
        rows = zip(batch.partitions, batch.offsets, batch.keys, batch.values, strict=True)
        return [
            Message(
                key[WIRE_BYTES + 1 :].decode(),
                (int(partition), int(offset)),
                None,
                None if not value else self._body(value),
            )
            for partition, offset, key, value in rows
            if key is not None
        ]

    def _body(self, value: bytes) -> bytes:
        schema_id = int.from_bytes(value[1:WIRE_BYTES])
        if schema_id not in self._writers:
            written = self._registry.schema(schema_id) if self._registry else None
            is_ours = written is None or _shape(written) == _shape(self._own)
            self._writers[schema_id] = None if is_ours else fastavro.parse_schema(dict(written or {}))
        writer = self._writers[schema_id]
        if writer is None:
            return value[WIRE_BYTES:]
        profile = fastavro.schemaless_reader(io.BytesIO(value[WIRE_BYTES:]), writer, fastavro.parse_schema(self._own))
        body = io.BytesIO()
        fastavro.schemaless_writer(body, fastavro.parse_schema(self._own), profile)
        return body.getvalue()


def _shape(schema: Any) -> Any:
    """Leave out of a schema what does not change bytes."""
    if isinstance(schema, dict):
        return {
            key: _shape(value) for key, value in schema.items() if key not in ("doc", "default", "aliases", "order")
        }
    return [_shape(one) for one in schema] if isinstance(schema, list) else schema


def tables_of(said: Sequence[Message], erased: Sequence[tuple[str, int]]) -> TableBatch:
    """Decode profiles into what analytics stores keep: flat tables, and a nested one under the same names."""
    nested = decode([message.body for message in said if message.body is not None])
    flat = tables_from(nested)
    lists = nested.select("id", *(_renamed(nested, name).alias(name) for name in LISTS))
    return TableBatch(flat, flat["profiles"].join(lists, on="id", how="left"), list(erased))


def _renamed(nested: pl.DataFrame, name: str) -> pl.Expr:
    """Give the structs of a list the names and types of its table."""
    columns = {key: kind for key, kind in TABLES[f"profile_{name}"].items() if key not in ("id", "revision", "rank")}
    names = {new: old for old, new in RENAMED.get(f"profile_{name}", {}).items()}
    times = [column for column, kind in columns.items() if kind == pl.Datetime("us")]
    fields = [
        pl.element().struct.field(names.get(column, column)).dt.replace_time_zone(None).alias(column)
        if column in times
        else pl.element().struct.field(names.get(column, column)).cast(kind, strict=False).alias(column)
        for column, kind in columns.items()
    ]
    return pl.col(name).list.eval(pl.struct(fields))


class Wishes:
    """Says what messages ask of one destination; implements ports.WishReader."""

    def __init__(self, mapping: DestinationMapping) -> None:
        self._mapping = mapping
        self._extra = sorted(name for name in mapping.columns() if name.startswith(tuple(PREFIXES)))
        self._lists = {one.each for one in mapping.objects if one.each and one.plan.of == PROFILES}
        self._kin = kinds_of_kin([one.plan for one in mapping.objects])

    def of(self, messages: Sequence[Message]) -> Mapped:
        """Map messages; of one profile the last counts. A tombstone asks for erasure."""
        messages = list({message.subject: message for message in messages}.values())
        said = [message for message in messages if message.body is not None]
        gone = [message for message in messages if message.body is None]
        wishes = [Wish(one.subject, one.revision, one.place, Life.ERASED) for one in gone]
        if not said:
            return Mapped(wishes, [])
        nested = decode([message.body for message in said if message.body is not None])
        tables = tables_from(nested)
        whole = tables["profiles"].join(self._extras(said, nested), on="id", how="left").sort("index")
        live = whole.filter(pl.col("state") == "live")
        merged = whole.filter(pl.col("state") == "redirect")
        frames: dict[str | None, pl.DataFrame] = {None: live}
        for name in self._lists:
            child = tables[f"profile_{name}"]
            same = [column for column in child.columns if column != "id" and column in live.columns]
            frames[name] = child.join(live.drop(same), on="id", how="inner", maintain_order="left")
        rows, failed = map_rows(self._mapping, frames, len(said))
        archived, failed_too = map_rows(self._mapping, {None: merged}, len(said), archived=True)
        facts = whole.select("revision", "state", "redirect_to").rows()
        skipped = {one.index for one in (*failed, *failed_too)}
        for at, (message, (revision, state, heir)) in enumerate(zip(said, facts, strict=True)):
            if at in skipped:
                continue
            if state == "live":
                wishes.append(Wish(message.subject, revision, message.place, Life.LIVE, tuple(rows[at])))
            else:
                wishes.append(Wish(message.subject, revision, message.place, Life.REDIRECT, tuple(archived[at]), heir))
        if self._kin:
            accounts = dict(zip(nested["id"].to_list(), nested["accounts"].to_list(), strict=True))
            wishes = [
                replace(wish, accounts=tuple(sorted(one["account"] for one in accounts.get(wish.subject) or ())))
                for wish in wishes
            ]
        both = [*failed, *failed_too]
        return Mapped(wishes, [(said[one.index].subject, facts[one.index][0], one) for one in both])

    def _extras(self, said: Sequence[Message], nested: pl.DataFrame) -> pl.DataFrame:
        """Make the columns beside those of the table, and the place of each message."""
        columns = [nested["id"], pl.Series("index", range(len(said)), dtype=pl.Int64)]
        for name in self._extra:
            if name.startswith("consent_"):
                purpose = name.removeprefix("consent_")
                granted = [_granted(consents, purpose) for consents in nested["consents"].to_list()]
                columns.append(pl.Series(name, granted, dtype=pl.Boolean))
            else:
                part = name.removeprefix("address_")
                firsts = [
                    (addresses[0].get(part) if addresses else None) for addresses in nested["addresses"].to_list()
                ]
                columns.append(pl.Series(name, firsts, dtype=pl.String))
        return pl.DataFrame(columns)


def _granted(consents: Sequence[Mapping[str, Any]], purpose: str) -> bool | None:
    return next((one["granted"] for one in consents if one["purpose"] == purpose), None)
