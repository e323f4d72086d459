"""The rows that an archive's tables hold at its end, found by reading it once, an event at a time.

Messages are translated by the product (which other tests judge against a naive translator); which event of a row
prevails, what a held column holds and what a truncate takes is decided here, by the oracle's rules for places.
"""

from __future__ import annotations

from collections import abc, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.columnar.ids import Ids
from nurt.mapping.load import Mapping
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT, Truncated
from nurt.translate.translator import Translator
from tests.oracle.final_row import FinalRow
from tests.oracle.newest_event import Newest, Place, newest
from tests.oracle.places import is_truncated

_PARENT = ("parent_kind", "parent_entity", "parent_key")


@dataclass(slots=True)
class Archive:
    """What an archive comes to.

    Attributes:
        rows: by entity kind.
        messages: how many there are, by outcome: of a table's row, a truncate, not ours, refused.
    """

    rows: dict[str, list[FinalRow]]
    messages: dict[str, int]


def read_archive(folder: Path, mapping: Mapping, ids: Ids) -> Archive:
    """Read a whole archive."""
    log, translator = ArchiveLog([folder]), Translator(mapping, FolderRegistry(folder), ids)
    log.start(None)
    held: dict[bytes, tuple[str, Newest]] = {}
    floors: dict[tuple[str, str, str], list[Place]] = defaultdict(list)
    messages: dict[str, int] = defaultdict(int)
    while not log.exhausted():
        for batch in log.poll(20_000):
            translated = translator.translate(batch)
            messages["refused"] += len(translated.refused)
            messages["not_ours"] += sum(translated.not_ours.values())
            messages["truncates"] += len(translated.truncated)
            for one in translated.entities:
                messages["rows"] += one.frame.height
                for event in one.frame.iter_rows(named=True):
                    _take(one.kind, event, held)
            for truncated in translated.truncated:
                floors[truncated.kind, truncated.system, truncated.entity].append(_floor(truncated))
    log.close()
    rows: dict[str, list[FinalRow]] = defaultdict(list)
    for kind, row in held.values():
        place, event = row.place, row.columns
        taken = any(is_truncated(place, floor) for floor in floors[kind, event["system"], event["entity"]])
        if event["op"] != DELETE and not taken:
            rows[kind].append(_final(kind, place, event))
    return Archive(dict(rows), dict(messages))


def _take(kind: str, event: dict[str, Any], held: dict[bytes, tuple[str, Newest]]) -> None:
    position = (event["p0"], event["p1"], event["p2"], event["p3"])
    place = Place(event["source_epoch"], position, event["partition"], event["offset"])
    says_nothing_of = [name for bit, name in enumerate(ENTITIES[kind].fields) if event["unavailable"] >> bit & 1]
    says_nothing_of += _PARENT if event["unavailable"] >> UNAVAILABLE_PARENT_BIT & 1 else ()
    before = held.get(event["row"])
    after = newest(before and before[1], place, event, says_nothing_of)
    if after is not None:
        held[event["row"]] = (kind, after)


def _floor(truncated: Truncated) -> Place:
    return Place(truncated.source_epoch, truncated.position, truncated.partition, truncated.offset)


def _final(kind: str, place: Place, event: abc.Mapping[str, Any]) -> FinalRow:
    return FinalRow(
        kind=kind,
        row=event["row"],
        system=event["system"],
        entity=event["entity"],
        key=event["key"],
        fields={name: event[name] for name in ENTITIES[kind].fields},
        position=place.position,
        offset=place.offset,
        ts_ms=event["ts_ms"],
        identifiers=event.get("identifiers"),
        **{name: event[name] for name in _PARENT},
    )
