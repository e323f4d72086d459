"""Report rows with a missing value: the source did not send it again, and the state does not know it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from nurt.columnar.types import Bools, Int64s
from nurt.model.entity_frame import UNAVAILABLE_PARENT_BIT, EntityFrame
from nurt.rows.layouts import OFFSET, PARTITION, field_names
from nurt.rows.read_frames import Incoming

_logger = logging.getLogger(__name__)


def report_missing(
    kind: str, parts: Sequence[EntityFrame], events: Incoming, missing: Int64s, owner: Int64s, kept: Bools
) -> Iterator[str]:
    """Name each row with a missing value in the log, with the remedy; return the topic of each.

    PostgreSQL does not send an unchanged large value again, so the value is missing when the row's key changed, or when
    the mapping's `where` had left the row out before.

    Args:
        parts: what the events were read from, one after another.
        events: events of all parts.
        missing: by owner: bits of columns, as in `unavailable`.
        owner: of each event that was folded.
        kept: which events were folded.
    Source: Debezium PostgreSQL connector, "Toasted values".
    """
    assert events.unavailable is not None, "who lacks a value was asked to keep it"
    mine = (missing[owner] & events.unavailable[kept]) != 0
    last = dict(zip(owner[mine].tolist(), np.flatnonzero(kept)[mine].tolist(), strict=True))
    ends = np.cumsum([part.frame.height for part in parts])
    for one, place in last.items():
        topic = parts[int(np.searchsorted(ends, place, side="right"))].topic
        _logger.warning(
            "folding %s, partition %d, offset %d: row %s has no %s: a large value that its source did not send again; "
            "set REPLICA IDENTITY FULL on the table, then update the row",
            topic,
            int(events.rows.numbers[place, PARTITION]),
            int(events.rows.numbers[place, OFFSET]),
            events.ids[place].tobytes().hex(),
            ", ".join(names_of(kind, int(missing[one]))),
        )
        yield topic


def names_of(kind: str, bits: int) -> list[str]:
    """Name the columns of bits as in `unavailable`."""
    names = [name for bit, name in enumerate(field_names(kind)) if bits >> bit & 1]
    return [*names, "parent"] if bits >> UNAVAILABLE_PARENT_BIT & 1 else names
