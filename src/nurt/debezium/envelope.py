"""Recognise, from a writer's schema alone, what a message is and where its parts lie.

A Debezium topic holds envelopes; behind the ExtractNewRecordState transformation it holds flattened rows. Connectors
also write heartbeats, transaction markers, schema changes, signals and logical messages: not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nurt.avro.schema import Node
from nurt.debezium.positions import POSITION_FIELDS, Family, family_of


class Form(StrEnum):
    """Form of the values of one schema. The texts of forms that are not ours are reasons that are counted."""

    ENVELOPE = "envelope"
    FLATTENED = "flattened"
    HEARTBEAT = "heartbeat"
    TRANSACTION = "transaction"
    SCHEMA_CHANGE = "schema_change"
    LOGICAL_MESSAGE = "logical_message"
    OTHER = "other"


NOT_OURS = frozenset({Form.HEARTBEAT, Form.TRANSACTION, Form.SCHEMA_CHANGE, Form.LOGICAL_MESSAGE})

TOMBSTONE, UNMAPPED, SIGNAL, OUTBOX = "tombstone", "unmapped", "signal", "outbox"
"""Further reasons for which a message is not ours."""

_FORM_BY_NAME: dict[str, Form] = {
    "Heartbeat": Form.HEARTBEAT,
    "TransactionMetadataValue": Form.TRANSACTION,
    "SchemaChangeValue": Form.SCHEMA_CHANGE,
    "MessageValue": Form.LOGICAL_MESSAGE,
}
"""Last part of the record's name, in namespaces of Debezium. Source: Debezium's SchemaFactory."""

_DEBEZIUM = "io.debezium."
_HEARTBEAT_TOPICS, _OUTBOX_TOPICS = "__debezium-heartbeat.", "outbox.event."
_SIGNAL_COLUMNS = frozenset({"id", "type", "data"})
_OUTBOX_COLUMNS = frozenset({"aggregatetype", "aggregateid"})

FLATTENED_PREFIXES = ("__source_", "__")
"""What ExtractNewRecordState puts before the fields that `add.fields` names: `source.lsn` and `lsn`."""


@dataclass(frozen=True, slots=True)
class EnvelopeLayout:
    """Layout of one schema's messages: dotted paths, "" or absent for parts that the schema does not have.

    Attributes:
        form: what the messages are.
        family: the connectors whose positions the messages carry.
        row: path of the row's record; "" when the row is the message itself.
        columns: the row's columns with their types; in the flattened form with the added fields.
        op: path of the operation.
        deleted: path of the flattened form's deletion mark.
        snapshot: path of the snapshot kind.
        before: whether messages have the old row, under `before`.
        times: paths of the commit time in ms, the better first.
        position: position field -> path.
        server: path of `server_id`.
    """

    form: Form
    family: Family = Family.UNKNOWN
    row: str = ""
    columns: Mapping[str, Node] = field(default_factory=dict)
    op: str = ""
    deleted: str = ""
    snapshot: str = ""
    before: bool = False
    times: tuple[str, ...] = ()
    position: Mapping[str, str] = field(default_factory=dict)
    server: str = ""

    @property
    def source_time(self) -> str:
        """Return the path of the source's own commit time in ms."""
        first = self.times[0] if self.times else ""
        return first if first in ("source.ts_ms", "__source_ts_ms") else ""

    def path(self, column: str) -> str:
        """Return the path of one of the row's columns."""
        return f"{self.row}.{column}" if self.row else column

    @property
    def tells_no_deletes(self) -> bool:
        """Say whether a transformation may have dropped deletes: flattened rows without a deletion mark."""
        return self.form is Form.FLATTENED and not self.deleted

    @property
    def is_row(self) -> bool:
        """Say whether messages of this schema are changes of rows."""
        return self.form in (Form.ENVELOPE, Form.FLATTENED)


def layout_of(schema: Node) -> EnvelopeLayout:
    """Recognise a value's schema.

    Source: Debezium connector documentation, "Data change events"; "New Record State Extraction".
    """
    root = _record(schema)
    if root is None:
        return EnvelopeLayout(Form.OTHER)
    namespace, _, name = root.name.rpartition(".")
    if namespace.startswith(_DEBEZIUM.rstrip(".")) and name in _FORM_BY_NAME:
        return EnvelopeLayout(_FORM_BY_NAME[name])
    fields = dict(root.fields)
    after = _record(fields.get("after"))
    if {"op", "before", "after"} <= fields.keys():
        return _envelope(fields, after) if after is not None else EnvelopeLayout(Form.OTHER)
    if {"op", "message", "source"} <= fields.keys():
        return EnvelopeLayout(Form.LOGICAL_MESSAGE)
    return _flattened(fields)


def foreign_reason(topic: str, layout: EnvelopeLayout | None) -> str:
    """Return why messages of a topic without mapping are not ours.

    Args:
        topic: its name.
        layout: of the messages' schema; None when it is not known.
    """
    if topic.startswith(_HEARTBEAT_TOPICS):
        return Form.HEARTBEAT.value
    if topic.startswith(_OUTBOX_TOPICS):
        return OUTBOX
    if layout is None:
        return UNMAPPED
    if layout.form in NOT_OURS:
        return layout.form.value
    if layout.columns.keys() == _SIGNAL_COLUMNS:
        return SIGNAL
    if layout.columns.keys() >= _OUTBOX_COLUMNS:
        return OUTBOX
    return UNMAPPED


def _envelope(fields: Mapping[str, Node], after: Node) -> EnvelopeLayout:
    source = _record(fields.get("source"))
    source_fields = dict(source.fields) if source is not None else {}
    family = family_of(source_fields)
    return EnvelopeLayout(
        Form.ENVELOPE,
        family,
        row="after",
        columns=dict(after.fields),
        op="op",
        snapshot="source.snapshot" if "snapshot" in source_fields else "",
        before=_record(fields["before"]) is not None,
        times=tuple(
            path for path, there in (("source.ts_ms", "ts_ms" in source_fields), ("ts_ms", "ts_ms" in fields)) if there
        ),
        position={name: f"source.{name}" for name in POSITION_FIELDS[family] if name in source_fields},
        server="source.server_id" if "server_id" in source_fields else "",
    )


def _flattened(fields: Mapping[str, Node]) -> EnvelopeLayout:
    """Find the added fields of a flattened row; fields with another `add.fields.prefix` are ordinary columns."""
    added = {name: _stem(name) for name in fields if name.startswith("__")}
    stems = {stem: name for name, stem in reversed(added.items())}
    family = family_of(stems)
    return EnvelopeLayout(
        Form.FLATTENED,
        family,
        columns=dict(fields),
        op=stems.get("op", ""),
        deleted="__deleted" if "__deleted" in added else "",
        snapshot=stems.get("snapshot", ""),
        times=tuple(name for name in ("__source_ts_ms", "__ts_ms") if name in added),
        position={name: stems[name] for name in POSITION_FIELDS[family] if name in stems},
        server=stems.get("server_id", ""),
    )


def _stem(name: str) -> str:
    for prefix in FLATTENED_PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def _record(node: Node | None) -> Node | None:
    """Return the record of a record type or of an optional record."""
    if node is None:
        return None
    split = node.without_null()
    return split[0] if split is not None and split[0].kind == "record" else None
