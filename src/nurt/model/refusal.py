"""What is kept of a message that could not be folded, and why; and what it is when it is read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nurt.errors import ConfigurationError
from nurt.model.raw import DAMAGED_TOPIC, REQUEUED_HEADER, Headers
from nurt.model.units import Millis


class Reason(StrEnum):
    """Why a message is in quarantine. The text is stable: dashboards and scripts read it."""

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
    MAPPING_FAILED = "mapping_expression_failed"


@dataclass(frozen=True, slots=True)
class Refused:
    """One message in quarantine, with its original bytes and where it came from.

    `detail` names columns and types, never values: it may be shown and logged.
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


def marked(refused: Refused) -> Headers:
    """Return the headers of a message that is put on the input again: they name where it was."""
    place = f"{refused.topic}:{refused.partition}:{refused.offset}".encode()
    return [*(header for header in refused.headers or [] if header[0] != REQUEUED_HEADER), (REQUEUED_HEADER, place)]


def can_requeue(refused: Refused) -> bool:
    """Say whether it is a message; a damaged place of an archive is none."""
    return refused.topic != DAMAGED_TOPIC


def check_requeue(batch: Sequence[Refused]) -> None:
    """Raise ConfigurationError when one of these cannot be put on the input again."""
    for refused in batch:
        if not can_requeue(refused):
            raise ConfigurationError(
                f"requeuing {refused.topic}:{refused.partition}:{refused.offset}: it is no message but a damaged place "
                "of an archive (its header nurt-file names it); mend the file, and rebuild with `nurt run --rebuild`"
            )
