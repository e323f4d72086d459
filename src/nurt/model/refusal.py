"""Messages that could not be folded, and the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nurt.model.units import Millis

if TYPE_CHECKING:
    from nurt.model.raw import Headers  # for its type only: the command line reads reasons without numpy


class Reason(StrEnum):
    """Reason why a message is in quarantine. The text is stable: dashboards and scripts read it."""

    NOT_CONFLUENT = "not_confluent_wire_format"
    UNKNOWN_SCHEMA = "unknown_schema_id"
    BAD_AVRO = "body_does_not_match_schema"
    NO_ENVELOPE = "neither_envelope_nor_flattened_row"
    UNKNOWN_OPERATION = "unknown_operation"
    NO_KEY = "row_without_key"
    NO_POSITION = "row_without_position"
    NO_PARENT = "child_without_parent"
    WRONG_TYPE = "column_cannot_become_field"
    OUT_OF_RANGE = "value_out_of_range"
    UNREAD = "time_cannot_be_read"
    MAPPING_FAILED = "mapping_expression_failed"


@dataclass(frozen=True, slots=True)
class Refused:
    """Message in quarantine, with its original bytes and its place.

    `detail` names columns and types, never values: `detail` may be shown and logged.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: Millis
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    reason: Reason
    detail: str
