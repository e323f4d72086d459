"""Records of sources in the control log: epochs, how far they were watched, which are halted, the operator's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nurt.control.generations import generation_of
from nurt.control.logs import known_logs
from nurt.control.source_epochs import Begin, Cause, SourceEpochs
from nurt.control.source_watch import (
    Facts,
    Notice,
    NoticeKind,
    Place,
    Restart,
    Sight,
    SourceWatch,
    offset_of,
)
from nurt.errors import SourceHalted

Records = Sequence[tuple[int, Mapping[str, Any]]]

_SHOWN = {
    NoticeKind.SERVER_CHANGED: "another database server wrote it",
    NoticeKind.FELL_BACK: "its log position fell back",
}


def epoch_record(begin: Begin, cause: Cause) -> dict[str, Any]:
    """Make the record that a source epoch begins, and why; what is not known is left out."""
    topic, partition, offset, epoch = begin
    record = {"kind": "source_epoch", "topic": topic, "partition": partition, "offset": offset, "epoch": epoch}
    said = {
        "source": cause.source,
        "written_ms": cause.written_ms,
        "snapshot": None if cause.identity is None else list(cause.identity),
        "partial": cause.is_partial,
        "word": cause.word,
    }
    return record | {name: value for name, value in said.items() if value}


def sights_record(sights: Sequence[Sight]) -> dict[str, Any]:
    """Make the record of how far partitions were watched."""
    listed = [[one.topic, one.partition, one.offset, one.highest, list(one.servers)] for one in sights]
    return {"kind": "source_seen", "seen": listed}


def halted_record(notice: Notice) -> dict[str, Any]:
    """Make the record that a source is halted until the operator's word."""
    return {
        "kind": "source_halted",
        "source": notice.source,
        "topic": notice.topic,
        "partition": notice.partition,
        "offset": notice.offset,
        "why": str(notice.kind),
        "detail": notice.detail,
        "written_ms": notice.written_ms,
    }


def accepted_record(source: str) -> dict[str, Any]:
    """Make the record of the operator's word that a source's order has started again."""
    return {"kind": "source_accepted", "source": source}


def halts(records: Records) -> dict[str, Notice]:
    """List the sources that wait for the operator's word, with the first message that showed a new order."""
    waiting: dict[str, Notice] = {}
    for _, record in records:
        if record["kind"] == "source_halted":
            place = record["topic"], record["partition"], record["offset"]
            written_ms = record.get("written_ms", 0)
            notice = Notice(NoticeKind(record["why"]), record["source"], *place, record["detail"], written_ms)
            waiting.setdefault(record["source"], notice)
        elif record["kind"] == "source_accepted":
            waiting.pop(record["source"], None)
    return waiting


def check_halts(records: Records) -> None:
    """Refuse to begin a run while a source is halted. Raises SourceHalted with the remedy."""
    for notice in halts(records).values():
        raise halted_by(notice)


def halted_by(notice: Notice) -> SourceHalted:
    """Say why a source is halted, and which command starts it again."""
    return SourceHalted(
        f"reading topic {notice.topic}, partition {notice.partition}, offset {notice.offset}: {_SHOWN[notice.kind]} "
        f"({notice.detail}), and no snapshot came before it; its changes would pass for old news. Nothing of it was "
        f"folded. If the database was restored or failed over, say so with `nurt source accept {notice.source}` and "
        "start again; if not, find out what writes to this topic"
    )


def known_epochs(
    records: Records,
    heights: Mapping[Place, int] | None = None,
    learn: Callable[[], Iterable[Restart]] = tuple,
) -> SourceEpochs:
    """Continue numbers of epochs and the watch.

    Args:
        records: of the control log.
        heights: how far partitions went, as the state keeps it.
        learn: see SourceWatch.
    """
    begins: list[Begin] = []
    newest: dict[Place, int] = {}
    sights: dict[Place, Sight] = {}
    accepted: dict[Place, list[tuple[int, int]]] = {}
    cuts: dict[Place, int] = {}
    logs = known_logs(records)
    facts = Facts(restarts=restarts_of(records))
    for number, record in records:
        if record["kind"] == "source_epoch":
            place = record["topic"], record["partition"]
            if record.get("word"):
                accepted.setdefault(place, []).append((record["offset"], record["word"]))
                facts.used[place] = max(facts.used.get(place, 0), record["word"])
            if generation_of(record["epoch"]) != logs.generation(record["topic"]):
                continue  # of a log that is no longer there
            begins.append((*place, record["offset"], record["epoch"]))
            if record["offset"] >= newest.get(place, 0):
                newest[place] = record["offset"]
                facts.begun_ms[place] = record.get("written_ms", -1)
                snapshot = record.get("snapshot")
                if record["epoch"] % 2 == 1 or not snapshot:  # a version without identities leaves it open
                    facts.snapshots.pop(place, None)
                else:
                    facts.snapshots.setdefault(place, []).append((snapshot[0], snapshot[1]))
        elif record["kind"] == "source_seen":
            for topic, partition, offset, highest, servers in record["seen"]:
                sights[topic, partition] = Sight(topic, partition, offset, highest, tuple(servers))
        elif record["kind"] == "source_accepted":
            facts.words[record["source"]] = number
        elif record["kind"] == "log" and (cut := _cut_now(record, cuts)):
            begins = [(*one[:2], min(one[2], cut.get((one[0], one[1]), one[2])), one[3]) for one in begins]
            newest |= {place: min(newest.get(place, 0), at) for place, at in cut.items()}
            accepted |= {place: [one for one in accepted.get(place, []) if one[0] < at] for place, at in cut.items()}
        elif record["kind"] == "log" and logs.of(record["topic"]).record == number:
            sights = {place: sight for place, sight in sights.items() if place[0] != record["topic"]}
            accepted = {place: some for place, some in accepted.items() if place[0] != record["topic"]}
        elif record["kind"] == "rebuild":
            sights = {}
    # what was seen before an epoch began does not bound its order; the servers are known for ever
    for place, sight in sights.items():
        facts.sights.append(sight if sight.offset >= newest.get(place, 0) else replace(sight, highest=-1))
    facts.heights = {
        place: height for place, height in (heights or {}).items() if offset_of(height) >= newest.get(place, 0)
    }
    facts.cut = {(topic, partition) for topic, log in logs.topics.items() for partition in log.cut}
    again = {place: [one for one in some if one[0] > newest.get(place, -1)] for place, some in accepted.items()}
    return SourceEpochs(begins, SourceWatch(facts, learn), logs.generation, again)


def _cut_now(record: Mapping[str, Any], known: dict[Place, int]) -> dict[Place, int]:
    """Return from which offset on the messages of partitions are others, of those that this record says are cut.

    Epochs that lost messages began hold from there on: what was written instead of them came later. Else it would have
    an earlier epoch than rows of the lost messages, and be old news.
    """
    at = dict(record.get("cut_at", ()))
    new = {(record["topic"], number): run for number, run in record["cut"] if number in at}
    found = {place: at[place[1]] for place, run in new.items() if known.get(place) != run}
    known |= new
    return found


def restarts_of(records: Records) -> list[Restart]:
    """List from when on the order of each source is a new one: by full snapshots, and by the operator's words."""
    found: list[Restart] = []
    halted: dict[str, int] = {}
    for number, record in records:
        if record["kind"] == "source_epoch" and "snapshot" in record and not record.get("partial"):
            first, second = record["snapshot"]
            found.append(Restart(record.get("source", ""), record.get("written_ms", 0), identity=(first, second)))
        elif record["kind"] == "source_halted":
            halted.setdefault(record["source"], record.get("written_ms", 0))
        elif record["kind"] == "source_accepted" and (written_ms := halted.pop(record["source"], 0)):
            found.append(Restart(record["source"], written_ms, word=number))
    return found
