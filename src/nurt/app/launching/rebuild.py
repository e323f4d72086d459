"""Rebuild: say what the logs still hold, read everything again, then let go what was not read again.

`nurt run --rebuild` begins another generation of all source epochs, so every row that is read again beats what is
stored. The run ends at the ends that were there at its start. Only then is it known which rows no log holds any more.
They go, as if deleted, when they are few or the operator has said `--yes`; else they stay until the operator's word.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import closing
from dataclasses import replace

import numpy as np

from nurt.adapters.redis.client import Redis, open_redis
from nurt.adapters.redis.joins import read_numbers
from nurt.app.launching.logs import first_changes, open_look
from nurt.app.opening import commits_of, open_control_log
from nurt.columnar.text_codes import codes_of
from nurt.control.generations import first_epoch
from nurt.inspect.row_scan import stored_rows
from nurt.limits import REBUILD_UNREAD_MAX
from nurt.mapping.load import Mapping
from nurt.model.entity_frame import DELETE
from nurt.model.keys import Keys
from nurt.model.log import Offsets
from nurt.model.table_kinds import TABLE, table_kind
from nurt.rows.layouts import EPOCH, OFFSET, OP, PART, PARTITION, ROW, ROW_LAYOUTS
from nurt.rows.sweeps import rebuilt_record, unfinished_rebuild
from nurt.settings import Settings

_logger = logging.getLogger(__name__)


def until_the_ends(settings: Settings) -> Settings:
    """Let a run end when everything that was there at its start is done."""
    if settings.kafka_input is not None:
        return replace(settings, kafka_input=replace(settings.kafka_input, stop_at_end=True))
    return replace(settings, follow=False)


def tell_what_logs_hold(settings: Settings, mapping: Mapping) -> None:
    """Say of each topic whether its log still has its beginning, and how many rows are older than the log."""
    commits = commits_of(settings)
    look = open_look(settings, commits)
    starts = {place: first for place, first in look.starts().items() if first > 0}
    topics = {topic for topic, _ in starts if mapping.for_topic(topic) is not None}
    if not topics:
        _logger.info("rebuilding: every log that is there begins at offset 0")
        return
    whole = {
        topic
        for topic, changes in first_changes(settings, mapping, look, topics).items()
        if changes and all(one.is_full for one in changes)
    }
    with closing(open_redis(settings.redis_url)) as client:
        older = _older_rows(client, settings, mapping, {one: at for one, at in starts.items() if one[0] in topics})
    for topic in sorted(topics - whole):
        begin = ", ".join(f"{number}: {at}" for (of, number), at in sorted(starts.items()) if of == topic)
        _logger.warning(
            "rebuilding: topic %s begins neither with offset 0 nor with a full snapshot (partition: offset %s); %d "
            "stored rows stand before, and end unless they are read again",
            topic,
            begin,
            older.get(topic, 0),
        )


def _older_rows(client: Redis, settings: Settings, mapping: Mapping, starts: Offsets) -> dict[str, int]:
    """Count the stored rows whose newest message is before the start of its log."""
    keys = Keys(settings.prefix, settings.shards)
    found: dict[str, int] = defaultdict(int)
    by_kind: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for topic in sorted({topic for topic, _ in starts}):
        entry = mapping.for_topic(topic)
        for item in () if entry is None else entry.items:
            by_kind[item.kind].append((topic, item.system.name, item.name))
    for kind, tables in by_kind.items():
        layout = ROW_LAYOUTS[kind]
        for rows in stored_rows(client, keys, kind):
            every = np.arange(len(rows))
            alive = (rows.numbers[:, PART] == ROW) & (rows.numbers[:, OP] != DELETE)
            for topic, system, entity in tables:
                mine = alive & (codes_of(rows.text(layout.place("system"), every), [system]) == 0)
                mine &= codes_of(rows.text(layout.place("entity"), every), [entity]) == 0
                for number in {number for of, number in starts if of == topic}:
                    before = rows.numbers[:, OFFSET] < starts[topic, number]
                    found[topic] += int((mine & before & (rows.numbers[:, PARTITION] == number)).sum())
    return found


def finish_rebuild(settings: Settings, kinds: frozenset[str]) -> None:
    """Say what the rebuild did not read again, and whether it goes.

    Args:
        kinds: of the flow's rows.
    """
    control_log = open_control_log(settings)
    rebuild = unfinished_rebuild(control_log.records())
    if rebuild is None:
        return
    unread, every = _unread_rows(settings, kinds, first_epoch(rebuild["generation"]))
    shares = {kind: unread[kind] / every[kind] for kind in (*kinds, TABLE) if unread.get(kind)}
    erases = bool(rebuild["confirmed"]) or all(share <= REBUILD_UNREAD_MAX for share in shares.values())
    shown = ", ".join(f"{unread[kind]} of {every[kind]} rows of kind {kind}" for kind in sorted(shares)) or "no row"
    if erases:
        _logger.warning("rebuilt: %s were not read again and end", shown)
    else:
        _logger.warning(
            "rebuilt: %s were not read again; this is more than %.1f %%, so nothing is erased; `nurt source sweep` "
            "counts these rows, and `nurt source sweep --yes` lets them go",
            shown,
            REBUILD_UNREAD_MAX * 100,
        )
    control_log.append(rebuilt_record(rebuild["generation"], shares, erases))


def _unread_rows(settings: Settings, kinds: frozenset[str], since: int) -> tuple[dict[str, int], dict[str, int]]:
    """Count by kind the rows that are of before the rebuild, and all."""
    keys = Keys(settings.prefix, settings.shards)
    unread: dict[str, int] = defaultdict(int)
    every: dict[str, int] = defaultdict(int)
    with closing(open_redis(settings.redis_url)) as client:
        tables = {table_kind(number): TABLE for number in read_numbers(client, keys).columns}
        for stored, kind in (dict(zip(kinds, kinds, strict=True)) | tables).items():
            for rows in stored_rows(client, keys, stored):
                alive = (rows.numbers[:, PART] == ROW) & (rows.numbers[:, OP] != DELETE)
                unread[kind] += int((alive & (rows.numbers[:, EPOCH] < since)).sum())
                every[kind] += int(alive.sum())
    return unread, every
