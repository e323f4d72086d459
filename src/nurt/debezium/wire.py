"""Split messages into wire header and body: Confluent's format, a zero byte and the schema's id before the Avro body.

Source: Confluent Schema Registry, "Wire format".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nurt.avro import JoinedMessages
from nurt.columnar.memory import load_byte
from nurt.columnar.types import Bytes, Int64s
from nurt.debezium.payloads import Payloads

HEADER_BYTES = 5
NULL, NOT_CONFLUENT = -1, -2
"""Values of `Wire.schema_ids` for a null message, and for bytes of another format."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Messages laid end to end, with the schema id of each."""

    joined: JoinedMessages
    schema_ids: Int64s  # NULL and NOT_CONFLUENT among them

    def by_schema(self) -> Iterator[tuple[int, Int64s]]:
        """Return each schema id, NULL and NOT_CONFLUENT too, with its rows, ascending."""
        ids = self.schema_ids
        if len(ids) and (ids == ids[0]).all():
            yield int(ids[0]), np.arange(len(ids))
            return
        for schema_id in np.unique(ids).tolist():
            yield schema_id, np.flatnonzero(ids == schema_id)


def split_wire(messages: Sequence[bytes | None]) -> Wire:
    """Lay messages end to end and read their wire headers; a null message has no bytes."""
    payloads = Payloads.of(messages)
    joined = payloads.joined
    ids = np.empty(len(joined), dtype=np.int64)
    _read_headers(np.frombuffer(joined.data, dtype=np.uint8), joined.starts, joined.ends, ids)
    if payloads.nulls is not None:
        ids[payloads.nulls] = NULL
    return Wire(joined, ids)


@numba.njit(nogil=True, cache=True)
def _read_headers(body: Bytes, starts: Int64s, ends: Int64s, ids: Int64s) -> None:
    """Read the schema ids of messages.

    body          (b,)  uint8  messages
    starts, ends  (n,)  int64  message i is body[starts[i]:ends[i]]
    ids           (n,)  int64  written: the schema's id; NOT_CONFLUENT: too short, or no zero byte in front
    """
    for row in range(ids.shape[0]):
        start = starts[row]
        if ends[row] - start < HEADER_BYTES or load_byte(body, start) != np.uint64(0):
            ids[row] = NOT_CONFLUENT
            continue
        schema_id = np.int64(0)
        for k in range(1, HEADER_BYTES):
            schema_id = (schema_id << 8) | np.int64(load_byte(body, start + k))
        ids[row] = schema_id
