"""From published messages to what a destination should hold: decode profiles, map them, make desired states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from nurt.contracts import schemas
from nurt.contracts.avro_columns import NotOfContract
from nurt.contracts.profile_tables import TABLES, decode, tables_from
from nurt.delivery.journal import MappedBatch, Message
from nurt.delivery.mapping import DestinationMapping, map_rows
from nurt.delivery.order_links import linked_kinds
from nurt.delivery.read.bodies import NO_BODY, NO_KEY, OTHER_BODY, BodyConverter, foreign, id_of, is_body_of, is_id
from nurt.model.delivery import PROFILES, DesiredState, Lifecycle
from nurt.model.raw import RawBatch
from nurt.ports.registry import SchemaRegistry

PREFIXES: Mapping[str, pl.DataType] = {"consent_": pl.Boolean(), "address_": pl.String()}
"""Columns beside those of the table `profiles`: the consent for a purpose, and fields of the first address."""

LISTS = ("identifiers", "addresses", "accounts", "orders", "products", "categories", "invoices", "consents")
SCHEMAS: Mapping[str | None, Mapping[str, pl.DataType]] = {
    None: TABLES["profiles"],
    **{name: {**TABLES["profiles"], **TABLES[f"profile_{name}"]} for name in LISTS},
}
"""What expressions may name, by `each`."""


class ProfileMessageReader:
    """Reader of the topic's values as bodies of the contract that this nurt knows."""

    def __init__(self, registry: SchemaRegistry | None) -> None:
        self._converter = BodyConverter(schemas.PROFILE_VALUE, registry)

    def messages(self, batch: RawBatch) -> list[Message]:
        """Read a batch; keys and values are in Confluent's wire format."""
        rows = zip(batch.partitions, batch.offsets, batch.keys, batch.values, strict=True)
        return [
            self._message((int(partition), int(offset)), key, value)
            for partition, offset, key, value in rows
            if key is not None
        ]

    def _message(self, place: tuple[int, int], key: bytes, value: bytes | None) -> Message:
        subject = id_of(key)
        if subject is None:
            return foreign(PROFILES, place, NO_KEY)
        try:
            body = None if not value else self._converter.body(value)
        except NotOfContract:
            return foreign(PROFILES, place, NO_BODY)
        if body is not None and not is_body_of(body, subject):
            return foreign(PROFILES, place, OTHER_BODY)
        return Message(subject, place, None, body)


class ProfileStateReader:
    """Reader of profiles as desired states; implements delivery.ports.DesiredStateReader."""

    def __init__(self, mapping: DestinationMapping) -> None:
        self._mapping = mapping
        self._extra = sorted(name for name in mapping.columns() if name.startswith(tuple(PREFIXES)))
        self._lists = {one.each for one in mapping.objects if one.each and one.plan.of == PROFILES}
        self._linked_kinds = linked_kinds([one.plan for one in mapping.objects])

    def read(self, messages: Sequence[Message]) -> MappedBatch:
        """Map messages; of one profile the last message counts. A tombstone asks for erasure."""
        messages = list({message.subject: message for message in messages}.values())
        upserts = [message for message in messages if message.body is not None]
        tombstones = [message for message in messages if message.body is None]
        desired_states = [DesiredState(one.subject, one.revision, one.place, Lifecycle.ERASED) for one in tombstones]
        if not upserts:
            return MappedBatch(desired_states, [])
        nested = decode([message.body for message in upserts if message.body is not None])
        tables = tables_from(nested)
        whole = tables["profiles"].join(self._extras(upserts, nested), on="id", how="left").sort("index")
        live = whole.filter(pl.col("state") == "live")
        merged = whole.filter(pl.col("state") == "redirect")
        frames: dict[str | None, pl.DataFrame] = {None: live}
        for name in self._lists:
            child = tables[f"profile_{name}"]
            same = [column for column in child.columns if column != "id" and column in live.columns]
            frames[name] = child.join(live.drop(same), on="id", how="inner", maintain_order="left")
        rows, failed = map_rows(self._mapping, frames, len(upserts))
        archived, failed_too = map_rows(self._mapping, {None: merged}, len(upserts), archived=True)
        facts = whole.select("revision", "state", "redirect_to").rows()
        skipped = {one.index for one in (*failed, *failed_too)}
        for at, (message, (revision, state, survivor)) in enumerate(zip(upserts, facts, strict=True)):
            if at in skipped:
                continue
            if state == "live":
                desired_states.append(
                    DesiredState(message.subject, revision, message.place, Lifecycle.LIVE, tuple(rows[at]))
                )
            else:
                survivor = survivor if is_id(survivor) else None
                desired_states.append(
                    DesiredState(
                        message.subject, revision, message.place, Lifecycle.REDIRECT, tuple(archived[at]), survivor
                    )
                )
        if self._linked_kinds:
            accounts = dict(zip(nested["id"].to_list(), nested["accounts"].to_list(), strict=True))
            desired_states = [
                replace(desired, accounts=tuple(sorted(one["account"] for one in accounts.get(desired.subject) or ())))
                for desired in desired_states
            ]
        both = [*failed, *failed_too]
        return MappedBatch(desired_states, [(upserts[one.index].subject, facts[one.index][0], one) for one in both])

    def _extras(self, upserts: Sequence[Message], nested: pl.DataFrame) -> pl.DataFrame:
        """Make the columns beside those of the table, and the place of each message."""
        columns = [nested["id"], pl.Series("index", range(len(upserts)), dtype=pl.Int64)]
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
