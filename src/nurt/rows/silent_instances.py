"""Report rows that several topics hold where nothing says which topic is right: they are counted and named."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from nurt.columnar.types import Bools, Int64s
from nurt.model.entity_frame import EntityFrame
from nurt.rows.fold import RowsFolded

UNDECIDED = "undecided"
"""Reason: a row lives in two topics, and neither positions of one server nor the mapping's order choose."""
OUTLIVED = "outlived"
"""Reason: a row was deleted in one topic and lives on in another, by an older event of it."""

_REMEDIES = {
    UNDECIDED: "two topics hold it and no position compares them",
    OUTLIVED: "it was deleted in one topic, and an older event of another topic still holds it",
}
_told: set[tuple[str, str]] = set()

_logger = logging.getLogger(__name__)


def tell_untold(topic: str) -> None:
    """Name a topic in the log once, of which messages without position meet rows of other partitions."""
    if (topic, "untold") not in _told:
        _told.add((topic, "untold"))
        _logger.warning(
            "folding %s: a message without position (a lone tombstone, a row of a connector whose order is unknown) "
            "met a row of another partition, and its key does not tell which is newer; such deletes are not believed. "
            "Read the table again by a snapshot, or keep deletes on the topic longer (delete.retention.ms)",
            topic,
        )


def report_instances(
    parts: Sequence[EntityFrame], folded: RowsFolded, owner: Int64s, kept: Bools
) -> Iterator[tuple[str, str, int]]:
    """Return (topic, reason, rows) of rows that changed, and name each topic in the log once.

    Args:
        parts: what the events were read from, one after another.
        owner: of each event that was folded.
        kept: which events were folded.
    """
    assert folded.speakers is not None, "the caller has asked"
    last = np.full(len(folded.changed), -1, dtype=np.int64)
    last[owner] = np.flatnonzero(kept)
    ends = np.cumsum([part.frame.height for part in parts])
    for reason, found in ((UNDECIDED, folded.speakers.undecided), (OUTLIVED, folded.speakers.outlived)):
        places = last[found & folded.changed]
        topics = Counter(parts[at].topic for at in np.searchsorted(ends, places[places >= 0], side="right").tolist())
        for topic, rows in topics.items():
            if (topic, reason) not in _told:
                _told.add((topic, reason))
                _logger.warning(
                    "folding %s: of %d rows of its table, %s; if one topic takes the place of the other, say `order:` "
                    "in the mapping's entry",
                    topic,
                    rows,
                    _REMEDIES[reason],
                )
            yield topic, reason, rows
