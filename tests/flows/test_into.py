"""A row that is several entities: folded whole or refused whole, counted once, swept and truncated with all it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nurt.app.running import run_here
from nurt.control.source_epochs import SourceEpochs
from nurt.flows.profiles import profiles
from nurt.mapping.load import load_mapping
from nurt.model.entities import PROFILE_KINDS, STOCK_KINDS
from nurt.model.entity_frame import DELETE, LEFT_OUT, UPSERT, Translated
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.profiles.from_rows import ProfileEmitter
from nurt.rows.stage import RowsStage
from nurt.runtime.routing import WorkerRoutes
from nurt.settings import load_settings
from nurt.testing.memory_store import Memory, MemoryStore
from tests.command_line import Ran, run_nurt
from tests.corpus_messages import accounted, select
from tests.envelopes import IDS, Topic, connect
from tests.flows.test_topics_of_one_table import at, write

KEYS = Keys("t", 4)
COLUMNS = {
    "id": "int",
    "email": "string",
    "letters": ["null", "int"],
    "letters_at": ["null", connect("long", "io.debezium.time.Timestamp")],
    "offers": ["null", "string"],
}
PEOPLE = """
    key: id
    into:
      - {entity: customer, fields: {email: email}}
      - entity: consent
        name: letters
        parent: {customer: id}
        where: letters IS NOT NULL
        fields: {purpose: "'newsletter'", granted: letters = 1, at: letters_at}
      - {entity: consent, name: offers, parent: {customer: id}, fields: {purpose: "'partners'", granted: offers}}
"""


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


def people(kind: str = "postgresql", name: str = "shop.people") -> Topic:
    return Topic(COLUMNS, kind=kind, name=name)


def person(number: int, letters: int | None = 1, offers: str | None = "no", email: str = "") -> dict[str, Any]:
    at_ms = None if letters is None else 1_700_000_000_000
    email = email or f"p{number}@example.com"
    return {"id": number, "email": email, "letters": letters, "letters_at": at_ms, "offers": offers}


def deploy(home: Path, redis_url: str, entry: str = PEOPLE, match: str = "shop.people") -> str:
    (home / "mapping.yaml").write_text(f"systems:\n  s: {{}}\ntopics:\n  - match: {match}\n    system: s{entry}")
    config = home / "nurt.yaml"
    config.write_text(
        f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
        f"state: {{url: '{redis_url}', prefix: {home.name}, shards: 1}}\n"
        "input: {archives: [archive], rows_max: 2}\noutput: {duckdb: profiles.duckdb}\n"
    )
    return str(config)


def told(home: Path) -> dict[str, dict[str, bool]]:
    """Return what each customer agreed to, by e-mail."""
    with duckdb.connect(str(home / "profiles.duckdb")) as file:
        rows = file.execute("SELECT email, purpose, granted FROM profiles LEFT JOIN profile_consents USING (id)")
        found: dict[str, dict[str, bool]] = {}
        for email, purpose, granted in rows.fetchall():
            found.setdefault(email, {}).update({} if purpose is None else {purpose: granted})
    return found


def run(config: str, *, rebuild: bool = False) -> dict[str, dict[str, bool]]:
    run_here(profiles, load_settings(Path(config)), rebuild=rebuild)
    return told(Path(config).parent)


def counts_of(command: Callable[..., Ran], config: str) -> dict[tuple[str, str], int]:
    counts = json.loads(command("stats", "--json", "--config", config).out)["counts"]
    return {(one["outcome"], one["reason"]): one["messages"] for one in counts}


def test_a_customers_row_is_its_consents_too(tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]) -> None:
    topic = people("mysql")
    topic.upsert(row=person(1), pos=100)
    topic.upsert(row=person(2, letters=0, offers="yes"), pos=110)
    topic.upsert(row=person(3, letters=None), pos=120)
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    first = {
        "p1@example.com": {"newsletter": True, "partners": False},
        "p2@example.com": {"newsletter": False, "partners": True},
        "p3@example.com": {"partners": False},
    }
    assert run(config) == first
    topic.upsert(op="u", row=person(1, letters=None), pos=130)
    topic.delete(row=person(2), pos=140)
    write(tmp_path, [topic])
    second = {"p1@example.com": {"partners": False}, "p3@example.com": {"partners": False}}
    assert run(config) == second
    assert counts_of(nurt_command, config) == {("folded", ""): 5}
    assert run(config, rebuild=True) == second


def test_a_message_that_one_entity_refuses_is_refused_whole_and_once() -> None:
    topic = people()
    topic.upsert(row=person(1))
    topic.upsert(row=person(2, offers="perhaps"))
    topic.upsert(row=person(3))
    topic.delete(row=person(2))
    translated = topic.translator(PEOPLE).translate(topic.batch)
    (refused,) = translated.refused
    assert refused.offset == 1
    assert refused.detail.startswith("consent offers: field granted: ") and "perhaps" not in refused.detail
    for one in translated.entities:
        assert one.frame["offset"].to_list() == [0, 2, 3]
    assert [one.counts for one in translated.entities] == [True, False, False]
    assert accounted(translated) == 4


def test_a_key_that_is_null_refuses_a_message_once() -> None:
    topic = Topic({"id": ["null", "int"], "email": "string"}, key=())
    topic.upsert(row={"id": None, "email": "a@example.com"}, key=b"")
    body = "    key: id\n    into: [{entity: customer}, {entity: product}]\n"
    translated = topic.translator(body).translate(topic.batch)
    assert [one.detail for one in translated.refused] == ["customer: key: id"]
    assert translated.entities == []


def test_a_message_is_left_out_when_every_entity_leaves_it_out() -> None:
    topic = Topic({"id": "int", "a": "boolean", "b": "boolean"})
    for a, b in ((True, True), (True, False), (False, True), (False, False)):
        topic.upsert(row={"id": 1, "a": a, "b": b})
    body = "    key: id\n    into: [{entity: customer, where: a}, {entity: product, where: b}]\n"
    first, second = topic.translator(body).translate(topic.batch).entities
    assert first.frame["op"].to_list() == [UPSERT, UPSERT, DELETE, LEFT_OUT]
    assert second.frame["op"].to_list() == [UPSERT, DELETE, UPSERT, DELETE]
    assert (first.left_out, second.left_out) == (2, 2)


def test_an_entry_with_one_item_is_as_one_without_into() -> None:
    topic = people()
    topic.upsert(row=person(1))
    topic.upsert(row=person(2, letters=None))
    topic.delete(row=person(1))
    fields = "fields: {email: email}, where: letters IS NOT NULL"
    body = f"    key: id\n    into: [{{entity: customer, {fields}}}]\n"
    (one,) = topic.translator(body).translate(topic.batch).entities
    flat = "    key: id\n    entity: customer\n    fields: {email: email}\n    where: letters IS NOT NULL\n"
    (plain,) = topic.translator(flat).translate(topic.batch).entities
    assert one.frame.equals(plain.frame)
    assert (one.counts, one.left_out) == (plain.counts, plain.left_out) == (True, None)


def test_a_flow_reads_the_items_of_its_own_kinds() -> None:
    text = (
        "systems: {s: {}}\ntopics:\n  - match: t\n    system: s\n    key: id\n"
        "    into:\n      - {entity: consent, parent: {customer: id}}\n"
        "      - {entity: supply}\n      - {entity: kit_part}\n      - {entity: customer}\n"
    )
    mapping = load_mapping(text, "m")

    def kinds(flow: frozenset[str]) -> list[str]:
        topic = mapping.narrowed(flow).for_topic("t")
        return [] if topic is None else [item.kind for item in topic.items]

    assert kinds(PROFILE_KINDS) == ["consent", "customer"]
    assert kinds(STOCK_KINDS) == ["supply", "kit_part"]
    assert kinds(frozenset({"order"})) == []


class Killed(Exception):
    """A worker died instead of writing."""


def translated_life() -> list[Translated]:
    """Translate a life of three people, a message at a time; texts that are no e-mail, a refusal, rows left out."""
    topic = Topic({**COLUMNS, "email": ["null", "string"]}, name="s.t")
    for number in range(6):
        topic.upsert(row=person(number, email="" if number % 2 else "no e-mail"))
    topic.upsert(row=person(1, letters=None))
    topic.upsert(row=person(2, offers="perhaps"))
    topic.delete(row=person(3))
    topic.upsert(row=person(4, letters=0))
    translator = topic.translator(PEOPLE, epochs=SourceEpochs())
    batch = topic.batch
    return [translator.translate(select(batch, range(at, at + 2))) for at in range(0, len(batch), 2)]


def fold(memory: Memory, run_number: int, workers: int, writes: int | None) -> None:
    """Read everything to the end, or until so many writes are done."""
    memory.claim(run_number, [KEYS.shard_place(shard) for shard in range(4)])
    left = [writes]

    def die() -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    context = FoldContext(IDS, {"s": "eu"}, {"s": 1}, {}, {}, {}, {})
    routes = WorkerRoutes(4, workers)
    stages = [
        RowsStage(MemoryStore(memory, run_number, routes.places(one, (), KEYS), die), KEYS, ProfileEmitter(context))
        for one in range(workers)
    ]
    for translated in translated_life():
        for worker, part in routes.split_translated(translated, 0):
            stages[worker].fold([part])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_kill_at_any_write_counts_no_message_twice(workers: int) -> None:
    undisturbed = Memory()
    fold(undisturbed, 1, workers, None)
    assert undisturbed.counts == {
        ("s.t", "folded", ""): 9,
        ("s.t", "quarantined", "column_cannot_become_field"): 1,
        ("s.t", "unread", "customer.email"): 3,
    }
    for writes in range(40):
        memory, again = Memory(), False
        try:
            fold(memory, 1, workers, writes)
        except Killed:
            again = True
        for run_number in (2, 3):
            fold(memory, run_number, workers % 3 + 1, None)
        assert memory.counts == undisturbed.counts, writes
        if not again:
            return
    raise AssertionError("there are more writes than were tried")


def test_a_truncate_takes_all_that_the_rows_were_and_counts_once(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]
) -> None:
    topic = people()
    topic.upsert(row=person(1), **at(1000))
    topic.upsert(row=person(2), **at(1010))
    topic.raw(None, topic.envelope("t", None, None, **at(2000)))
    topic.upsert(row=person(2, letters=None, offers=None), **at(2100))
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    left = {"p2@example.com": {"partners": None}}
    assert run(config) == left
    assert counts_of(nurt_command, config) == {("folded", ""): 3, ("folded", "truncate"): 1}
    assert run(config, rebuild=True) == left


def test_a_sweep_takes_all_that_the_rows_were(tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]) -> None:
    topic = people()
    topic.upsert(row=person(1), **at(1000))
    topic.upsert(row=person(2), **at(1010))
    topic.upsert(op="r", row=person(1), **at(5000, snapshot=True))  # row 2 went while the connector was down
    topic.upsert(row=person(3, letters=None), **at(6000))
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    assert set(run(config)) == {"p1@example.com", "p2@example.com", "p3@example.com"}
    found = json.loads(nurt_command("source", "sweep", "--json", "--config", config).out)["tables"]
    assert sorted((one["table"], one["go"]) for one in found) == [("s/customer", 1), ("s/letters", 1), ("s/offers", 1)]
    nurt_command("source", "sweep", "s", "--yes", "--config", config)
    left = {"p1@example.com": {"newsletter": True, "partners": False}, "p3@example.com": {"partners": False}}
    assert run(config) == left


def test_a_changed_key_moves_all_that_the_row_was(tmp_path: Path, redis_url: str) -> None:
    topic = people()
    topic.upsert(row=person(1), **at(1000))
    new_key = topic.write(1, {"id": 7})
    topic.delete(row=person(1), headers=[("__debezium.newkey", json.dumps({"id": 7}).encode())], **at(1100))
    moved = person(7, email="p1@example.com")
    topic.raw(new_key, topic.envelope("c", None, moved, **at(1100)), headers=[("__debezium.oldkey", b'{"id": 1}')])
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    assert run(config) == {"p1@example.com": {"newsletter": True, "partners": False}}


def test_an_item_that_is_not_the_first_may_stand_for_somebody(tmp_path: Path, redis_url: str) -> None:
    entry = """
    key: id
    into:
      - {entity: product, fields: {sku: email}}
      - {entity: consent, name: letters, fields: {purpose: "'newsletter'", granted: true}, identifiers: {email: email}}
"""
    topic = people()
    topic.upsert(row=person(1), **at(1000))
    config = deploy(tmp_path, redis_url, entry)
    write(tmp_path, [topic])
    assert run(config) == {"p1@example.com": {"newsletter": True}}


def test_check_says_what_each_entity_leaves_out(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]
) -> None:
    topic = people()
    for number in (1, 2, 3):
        topic.upsert(row=person(number, letters=None if number > 1 else 1), **at(1000 + number))
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    (sample,) = json.loads(nurt_command("check", "--json", "--config", config).out)["topics"]
    assert (sample["becomes"], sample["rows"], sample["left_out"]) == ("customer, consent, consent of s", 3, 0)
    assert sample["left_out_of"] == {"consent letters": 2}
    said = nurt_command("check", "--config", config).out
    assert "`where` of consent letters leaves out 2 of 3 rows" in said
