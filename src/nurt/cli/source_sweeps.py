"""Find, for `nurt source`, the flows that read a source, and the rows that a sweep would remove."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nurt.adapters.redis.client import open_redis
from nurt.app.opening import numbered_mapping, open_control_log, stored_kinds
from nurt.cli.frame import refuse
from nurt.columnar.text_codes import codes_of
from nurt.inspect.row_scan import stored_rows
from nurt.mapping.load import Mapping, read_mapping
from nurt.model.entities import STOCK_KINDS
from nurt.model.entity_frame import DELETE, topic_code
from nurt.model.keys import Keys
from nurt.rows.layouts import LEFT, OP, PART, ROW_LAYOUTS, TOPIC_AT
from nurt.rows.positions import of_topic
from nurt.rows.sweeps import Sweep, SweptTable, possible_sweeps
from nurt.settings import Settings, stock_settings


def flows_of(settings: Settings) -> dict[str, Settings]:
    """Return every flow that reads this deployment's sources, each with its own control log."""
    flows = {"profiles": settings}
    if read_mapping(settings.mapping_files).stock is not None:
        flows["stock"] = stock_settings(settings)
    return flows


@dataclass(frozen=True, slots=True)
class Swept:
    """Effect of a sweep on one table; where several topics hold it, on its rows in one topic.

    Attributes:
        go: rows that the snapshot did not see.
        stay: rows that the snapshot saw, or that came later.
        unreached: rows of partitions without messages of the snapshot; nobody knows whether these rows are gone, so
            they stay.
    """

    flow: str
    topic: str
    table: str
    go: int
    stay: int
    unreached: int


def sweeps_of(settings: Settings, source: str | None, flow: str) -> list[Sweep]:
    """List the possible sweeps of one flow, of one source or of all sources.

    Raises ConfigurationError when there is no such source.
    """
    mapping = _mapping_of(settings, flow)
    if source is not None and source not in mapping.systems:
        raise refuse(
            f"sweeping {source}", "the mapping has no such system", f"name one of {', '.join(mapping.systems)}"
        )

    def tables_of(topic: str) -> list[SweptTable]:
        entry = mapping.for_topic(topic)
        items = () if entry is None else entry.items
        return [SweptTable(item.kind, item.system.name, item.name, topic) for item in items]

    records = open_control_log(settings).records()
    return [one for one in possible_sweeps(records, tables_of) if source in (None, one.table.system)]


def _mapping_of(settings: Settings, flow: str) -> Mapping:
    mapping = read_mapping(settings.mapping_files)
    return mapping.narrowed(STOCK_KINDS) if flow == "stock" else mapping


def counted(settings: Settings, sweep: Sweep, flow: str) -> Swept:
    """Count what a sweep would do to its table."""
    client, keys, table = open_redis(settings.redis_url), Keys(settings.prefix, settings.shards), sweep.table
    mapping = numbered_mapping(_mapping_of(settings, flow), settings, keys)
    go = stay = unreached = 0
    kinds = stored_kinds(mapping, table)
    for kind, rows in ((one, rows) for one in kinds for rows in stored_rows(client, keys, one)):
        layout, stored = ROW_LAYOUTS[kind], replace(sweep, table=replace(table, kind=kind))
        every = np.arange(len(rows))
        alive = (rows.numbers[:, PART] != LEFT) & (rows.numbers[:, OP] != DELETE)
        if table.topic:
            alive &= of_topic(rows.numbers[:, TOPIC_AT[kind][1]], topic_code(table.topic))
        for name, wanted in (("system", table.system), ("entity", table.entity)) if table.system else ():
            alive &= codes_of(rows.text(layout.place(name), every), [wanted]) == 0
        taken = stored.takes(rows)
        reached = np.isin(rows.numbers[:, layout.place("partition")], list(sweep.fences)) | taken
        go += int((alive & taken).sum())
        stay += int((alive & ~taken).sum())
        unreached += int((alive & ~reached).sum())
    client.close()
    name = f"{table.system}/{table.entity}" if table.system else f"{table.kind}: not read by the rebuild"
    return Swept(flow, table.topic, name, go, stay, unreached)
