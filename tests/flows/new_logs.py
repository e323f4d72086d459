"""A topic before and after it was deleted and made anew under its name."""

from __future__ import annotations

import json

from tests.envelopes import Topic


def topic_of(*events: tuple[str, int, str, int], name: str = "s.t") -> Topic:
    """Make a topic of (op, id, email, lsn); `r` is a row of a full snapshot."""
    topic = Topic({"id": "int", "email": "string"}, name=name)
    for op, number, email, lsn in events:
        row = {"id": number, "email": f"{email}@example.com"}
        if op == "d":
            topic.delete(row, lsn=lsn, sequence=json.dumps([str(lsn - 5), str(lsn)]), snapshot="false")
            continue
        sequence = json.dumps([None if op == "r" else str(lsn - 5), str(lsn)])
        snapshot = "true" if op == "r" else "false"
        topic.upsert(op=op, row=row, lsn=lsn, sequence=sequence, snapshot=snapshot)
    return topic


def old_log(name: str = "s.t") -> Topic:
    """Snapshot, stream, snapshot, stream: 4 source epochs and 46 messages."""
    first = [("r", number, f"c{number}-a", 100) for number in (1, 2, 3)]
    second = [("r", number, f"c{number}-c", 300) for number in (1, 2, 3)]
    stream = [("u", 1, f"c1-d{at}", 400 + at * 10) for at in range(39)]
    return topic_of(*first, ("u", 1, "c1-b", 200), *second, *stream, name=name)


NEW = (
    *(("r", number, f"c{number}-new", 900) for number in (1, 2, 3, 4)),
    ("u", 2, "c2-newer", 910),
    ("d", 3, "c3-new", 920),
)
"""The topic made anew: a full snapshot of 4 rows, an update, a delete."""
NEWEST = {"c1-new", "c2-newer", "c4-new"}
