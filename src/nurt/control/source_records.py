"""Records of sources in the control log: epochs, how far they were watched, which are halted, the operator's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nurt.control.generations import generation_of
from nurt.control.logs import known_logs
from nurt.control.source_epochs import Begin, SourceEpochs
from nurt.control.source_watch import Notice, NoticeKind, Sight, SourceWatch
from nurt.errors import SourceHalted

Records = Sequence[tuple[int, Mapping[str, Any]]]

_SHOWN = {
    NoticeKind.SERVER_CHANGED: "another database server wrote it",
    NoticeKind.FELL_BACK: "its log position fell back far",
}


def epoch_record(begin: Begin, word: int) -> dict[str, Any]:
    """Make the record that a source epoch begins, and by which word of the operator (0: by none)."""
    topic, partition, offset, epoch = begin
    record = {"kind": "source_epoch", "topic": topic, "partition": partition, "offset": offset, "epoch": epoch}
    return {**record, "word": word} if word else record


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
            notice = Notice(NoticeKind(record["why"]), record["source"], *place, record["detail"])
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


def known_epochs(records: Records) -> SourceEpochs:
    """Continue numbers of epochs and the watch from what the control log knows."""
    begins: list[Begin] = []
    newest: dict[tuple[str, int], int] = {}
    sights: dict[tuple[str, int], Sight] = {}
    used: dict[tuple[str, int], int] = {}
    words: dict[str, int] = {}
    accepted: dict[tuple[str, int], list[tuple[int, int]]] = {}
    logs = known_logs(records)
    for number, record in records:
        if record["kind"] == "source_epoch":
            place = record["topic"], record["partition"]
            if record.get("word"):
                accepted.setdefault(place, []).append((record["offset"], record["word"]))
                used[place] = max(used.get(place, 0), record["word"])
            if generation_of(record["epoch"]) != logs.generation(record["topic"]):
                continue  # of a log that is no longer there
            begins.append((*place, record["offset"], record["epoch"]))
            newest[place] = max(newest.get(place, 0), record["offset"])
        elif record["kind"] == "source_seen":
            for topic, partition, offset, highest, servers in record["seen"]:
                sights[topic, partition] = Sight(topic, partition, offset, highest, tuple(servers))
        elif record["kind"] == "source_accepted":
            words[record["source"]] = number
        elif record["kind"] == "log" and logs.of(record["topic"]).record == number:
            sights = {place: sight for place, sight in sights.items() if place[0] != record["topic"]}
            accepted = {place: some for place, some in accepted.items() if place[0] != record["topic"]}
        elif record["kind"] == "rebuild":
            sights = {}
    # what was seen before an epoch began does not bound its order
    kept = [sight for place, sight in sights.items() if sight.offset >= newest.get(place, 0)]
    again = {place: [one for one in some if one[0] > newest.get(place, -1)] for place, some in accepted.items()}
    return SourceEpochs(begins, SourceWatch(kept, words, used), logs.generation, again)
