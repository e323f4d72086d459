"""A row whose key changed: which row it was, and that the old one goes, also where no message says so."""

from __future__ import annotations

from typing import Any

import pytest

from nurt.control.source_epochs import SourceEpochs
from nurt.model.entity_frame import DELETE, IMPLIED, UPSERT
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.profiles.from_rows import ProfileEmitter
from nurt.rows.stage import RowsStage
from nurt.testing.memory_store import Memory, MemoryStore
from tests.corpus_messages import accounted
from tests.envelopes import IDS, Topic, entry

KEYS = Keys("t", 4)
MAPPING = entry(email="email")
DELETED = ({"name": "__deleted", "type": ["null", "string"]},)
OLD = [("__debezium.oldkey", b'{"id": 1}')]


def row_id(key: str) -> bytes:
    return IDS.one(f"s\x1fcustomer\x1f{key}")


def rekeyed(topic: Topic, form: str) -> None:
    """Write a row, then the insert of its new key, and nothing else."""
    for number, headers in ((1, None), (2, OLD)):
        row: dict[str, Any] = {"id": number, "email": "ann@example.com"}
        value = topic.envelope("c", None, row) if form == "envelope" else topic.write(3, row)
        topic.raw(topic.key_of(row), value, partition=number, headers=headers)


def test_an_insert_that_is_half_of_a_rekey_names_its_old_row() -> None:
    topic = Topic({"id": "int", "email": "string"})
    rekeyed(topic, "envelope")
    frame = topic.translator(MAPPING).translate(topic.batch).entities[0].frame
    assert frame["op"].to_list() == [UPSERT, UPSERT], "an envelope's delete is a message of its own"
    assert frame["moved_from"].to_list() == [None, row_id("1")]


def test_where_deletes_are_dropped_the_old_row_goes_with_the_new_ones_message() -> None:
    topic = Topic({"id": "int", "email": "string"})
    rekeyed(topic, "flattened")
    translated = topic.translator(MAPPING).translate(topic.batch)
    frame = translated.entities[0].frame
    assert frame.select("op", "key", "offset").rows() == [(UPSERT, "1", 0), (IMPLIED, "1", 0), (UPSERT, "2", 0)]
    assert frame["moved_to"].to_list() == [None, row_id("2"), None]
    assert frame["email"].to_list() == ["ann@example.com", None, "ann@example.com"]


def test_flattened_rows_with_a_deletion_mark_have_deletes_of_their_own() -> None:
    topic = Topic({"id": "int", "email": "string"}, added=DELETED)
    rekeyed(topic, "flattened")
    frame = topic.translator(MAPPING).translate(topic.batch).entities[0].frame
    assert frame["op"].to_list() == [UPSERT, UPSERT]


@pytest.mark.parametrize("header", [b'{"id": 2}', b"{}", b"?", None])
def test_a_header_that_names_no_other_row_deletes_none(header: bytes | None) -> None:
    topic = Topic({"id": "int", "email": "string"})
    row = {"id": 2, "email": "ann@example.com"}
    topic.raw(topic.key_of(row), topic.write(3, row), headers=[("__debezium.oldkey", header)])
    frame = topic.translator(MAPPING).translate(topic.batch).entities[0].frame
    assert frame["op"].to_list() == [UPSERT]


def test_a_dropped_delete_is_no_message_and_takes_the_row() -> None:
    topic, memory = Topic({"id": "int", "email": "string"}), Memory()
    rekeyed(topic, "flattened")
    memory.claim(1, [KEYS.shard_place(shard) for shard in range(4)])
    store = MemoryStore(memory, 1, [KEYS.shard_place(shard) for shard in range(4)])
    context = FoldContext(IDS, {"s": "eu"}, {"s": 1}, {}, {}, {}, {})
    stage = RowsStage(store, KEYS, ProfileEmitter(context))
    said = stage.fold([topic.translator(MAPPING, epochs=SourceEpochs()).translate(topic.batch)])
    assert memory.counts == {("s.t", "folded", ""): 2}
    by_row = {to.tobytes(): bool(gone) for to, gone in zip(said.records.to, said.records.gone, strict=True)}
    assert by_row == {row_id("1"): True, row_id("2"): False}


def test_deletes_say_where_they_went_as_before() -> None:
    topic = Topic({"id": "int", "email": "string"})
    topic.delete({"id": 1, "email": ""}, headers=[("__debezium.newkey", b'{"id": 2}')])
    frame = topic.translator(MAPPING).translate(topic.batch).entities[0].frame
    assert (frame["op"].to_list(), frame["moved_to"].to_list()) == ([DELETE], [row_id("2")])
    assert accounted(topic.translator(MAPPING).translate(topic.batch)) == 1
