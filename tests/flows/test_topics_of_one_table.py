"""Several topics hold one table: a renamed prefix, the partitions of a partitioned table, shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.app.running import run_here
from nurt.flows.profiles import profiles
from nurt.rows import fold
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic, _raw
from tests.flows.test_halted_source import emails

COLUMNS = {"id": "int", "email": "string"}


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


def topic_of(name: str, kind: str = "postgresql") -> Topic:
    return Topic(COLUMNS, kind=kind, name=name)


def at(lsn: int, snapshot: bool = False) -> dict[str, Any]:
    """Return PostgreSQL's place of an event."""
    before = "null" if snapshot else f'"{lsn - 5}"'
    return {"sequence": f'[{before},"{lsn}"]', "lsn": lsn, "snapshot": "true" if snapshot else "false"}


def row(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "email": f"{name}@example.com"}


def write(home: Path, topics: Sequence[Topic]) -> None:
    """Write what the topics have in addition, topic by topic."""
    folder = home / "archive"
    folder.mkdir(exist_ok=True)
    schemas = {str(one): _raw(schema) for topic in topics for one, schema in topic.schemas.items()}
    (folder / "schemas.json").write_text(json.dumps(schemas))
    with ArchiveWriter(folder) as writer:
        done = writer.next_offsets()
        for topic in topics:
            some = topic.batch
            for one in range(done.get((topic.name, 0), 0), len(some)):
                writer.write(
                    topic.name, 0, some.keys[one], some.values[one], some.headers[one], some.timestamps_ms[one]
                )


def deploy(home: Path, redis_url: str, match: str, order: Sequence[str] = ()) -> Path:
    lines = [
        "systems:",
        "  s: {}",
        "topics:",
        f"  - match: {json.dumps(match)}",
        "    system: s",
        "    entity: customer",
    ]
    lines += ["    key: id", "    fields: {email: email}", *([f"    order: {json.dumps(order)}"] if order else [])]
    (home / "mapping.yaml").write_text("\n".join(lines) + "\n")
    config = home / "nurt.yaml"
    config.write_text(
        f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
        f"state: {{url: '{redis_url}', prefix: {home.name}}}\n"
        "input: {archives: [archive], rows_max: 2}\noutput: {duckdb: profiles.duckdb}\n"
    )
    return config


def said(home: Path) -> set[str]:
    """Return the names of the live customers."""
    return {email.partition("@")[0] for email in emails(home)}


def run(config: Path, *, rebuild: bool = False) -> set[str]:
    run_here(profiles, load_settings(config), rebuild=rebuild)
    return said(config.parent)


def renamed() -> tuple[Topic, Topic]:
    """Return topics of a connector whose prefix was renamed: it read the table again, at a higher position."""
    old, new = topic_of("shop.customers"), topic_of("shop2026.customers")
    for number in (1, 2, 3):
        old.upsert(op="r", row=row(number, f"old{number}"), **at(1000, snapshot=True))
    for number in range(9):
        old.upsert(op="u", row=row(3, f"mid3-{number}"), **at(2000 + 10 * number))
    for number in (1, 2, 3):
        new.upsert(op="r", row=row(number, f"new{number}"), **at(9000, snapshot=True))
    new.upsert(op="u", row=row(2, "newest2"), **at(9500))
    return old, new


RENAMED = {"new1", "newest2", "new3"}


@pytest.mark.parametrize("turned", [False, True], ids=["old_first", "new_first"])
def test_a_renamed_prefix_goes_on_with_its_new_topics(tmp_path: Path, redis_url: str, turned: bool) -> None:
    old, new = renamed()
    config = deploy(tmp_path, redis_url, r"shop(2026)?\.customers")
    write(tmp_path, [new, old] if turned else [old, new])
    assert run(config) == RENAMED
    assert run(config, rebuild=True) == RENAMED, "a replay agrees"


@pytest.mark.parametrize("apart", [True, False], ids=["instances", "rule_off"])
def test_a_delete_reaches_the_instance_in_its_own_topic(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    if not apart:
        monkeypatch.setattr(fold, "find_instances", lambda *_: None)
    one, two = topic_of("tenant1.customers"), topic_of("tenant2.customers")  # two schemas of one server
    one.upsert(row=row(1, "before"), **at(100))
    two.upsert(row=row(1, "copied"), **at(200))
    one.delete(row=row(1, "before"), **at(300))
    config = deploy(tmp_path, redis_url, r"tenant[0-9]\.customers")
    write(tmp_path, [one, two])
    assert run(config) == ({"copied"} if apart else set())


@pytest.mark.parametrize("order", [(), ("shop.*", "shop2026.*")], ids=["undeclared", "declared"])
def test_a_delete_under_the_new_name_ends_the_row_where_the_mapping_says_the_order(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran], order: Sequence[str]
) -> None:
    old, new = renamed()
    new.delete(row=row(1, "new1"), **at(9600))
    config = deploy(tmp_path, redis_url, r"shop(2026)?\.customers", order)
    write(tmp_path, [old, new])
    gone = {"newest2", "new3"}
    assert run(config) == (gone if order else gone | {"old1"})
    counts = json.loads(nurt_command("stats", "--json", "--config", str(config)).out)["counts"]
    found = [(one["topic"], one["reason"], one["messages"]) for one in counts if one["outcome"] == "instances"]
    assert found == ([] if order else [("shop2026.customers", "outlived", 1)]), "what stays is named"


def parts() -> tuple[Topic, Topic]:
    """Return topics of two partitions; a row moves from the first to the second, which its snapshot did not see."""
    one, two = topic_of("shop.orders_p1"), topic_of("shop.orders_p2")
    one.upsert(op="r", row=row(5, "first"), **at(1000, snapshot=True))
    one.upsert(op="u", row=row(5, "second"), **at(3000))
    one.upsert(op="r", row=row(5, "second"), **at(5000, snapshot=True))
    one.upsert(op="u", row=row(5, "third"), **at(6000))
    one.delete(row=row(5, "third"), **at(7000))
    two.upsert(op="c", row=row(5, "moved"), **at(7010))
    return one, two


@pytest.mark.parametrize("turned", [False, True], ids=["delete_first", "insert_first"])
def test_a_row_that_moves_between_partitions_of_its_table_stays(tmp_path: Path, redis_url: str, turned: bool) -> None:
    one, two = parts()
    config = deploy(tmp_path, redis_url, r"shop\.orders_p[0-9]+")
    write(tmp_path, [two, one] if turned else [one, two])
    assert run(config) == {"moved"}
    one.upsert(op="c", row=row(5, "back"), **at(8010))
    two.delete(row=row(5, "moved"), **at(8000))
    write(tmp_path, [one, two])
    assert run(config) == {"back"}


@pytest.mark.parametrize("kind", ["postgresql", "oracle"])
def test_a_truncate_takes_the_rows_of_its_own_topic(tmp_path: Path, redis_url: str, kind: str) -> None:
    one, two = topic_of("shop.orders_p1", kind), topic_of("shop.orders_p2", kind)

    def place(lsn: int) -> dict[str, Any]:
        return at(lsn) if kind == "postgresql" else {}

    for number in (1, 2, 3):
        one.upsert(row=row(number, f"p1-{number}"), **place(1000 + number))
        two.upsert(row=row(10 + number, f"p2-{number}"), **place(1010 + number))
    one.raw(None, one.envelope("t", None, None, **place(2000)))
    one.upsert(row=row(4, "p1-4"), **place(2100))
    config = deploy(tmp_path, redis_url, r"shop\.orders_p[0-9]+")
    write(tmp_path, [one, two])
    left = {"p1-4", "p2-1", "p2-2", "p2-3"}
    assert run(config) == left
    assert run(config, rebuild=True) == left, "events of the other topic are no old news below it"


def two_servers() -> tuple[Topic, Topic]:
    """Return topics of two MySQL servers that both hold a row."""
    one, two = topic_of("shard1.customers", "mysql"), topic_of("shard2.customers", "mysql")
    one.upsert(row=row(1, "one"), server_id=1, file="binlog.000900", pos=5)
    two.upsert(row=row(1, "two"), server_id=2, file="binlog.000003", pos=5)
    return one, two


@pytest.mark.parametrize("turned", [False, True])
def test_positions_of_two_servers_do_not_choose_but_the_mappings_order_does(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran], turned: bool
) -> None:
    topics = two_servers()[:: -1 if turned else 1]
    config = deploy(tmp_path, redis_url, r"shard[0-9]\.customers")
    write(tmp_path, topics)
    undecided = run(config)
    counts = json.loads(nurt_command("stats", "--json", "--config", str(config)).out)["counts"]
    assert [one["messages"] for one in counts if one["outcome"] == "instances"] == [1]
    checked = nurt_command("check", "--json", "--config", str(config))
    (asked,) = json.loads(checked.out)["tables_of_several_topics"]
    assert (asked["table"], asked["compared"]) == ("s/customer", False)
    for order, name in ((["shard2.*", "shard1.*"], "one"), (["shard1.*", "shard2.*"], "two")):
        deploy(tmp_path, redis_url, r"shard[0-9]\.customers", order)
        assert run(config, rebuild=True) == {name}
    assert len(undecided) == 1
    assert json.loads(nurt_command("check", "--json", "--config", str(config)).out)["tables_of_several_topics"] == []


def test_each_topic_is_swept_by_itself(tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]) -> None:
    one, two = topic_of("shop.orders_p1"), topic_of("shop.orders_p2")
    for number in (1, 2):
        one.upsert(row=row(number, f"p1-{number}"), **at(1000 + number))
        two.upsert(row=row(10 + number, f"p2-{number}"), **at(1010 + number))
    one.upsert(op="r", row=row(1, "p1-1"), **at(5000, snapshot=True))  # row 2 went while the connector was down
    one.upsert(row=row(3, "p1-3"), **at(6000))
    config = deploy(tmp_path, redis_url, r"shop\.orders_p[0-9]+")
    write(tmp_path, [one, two])
    run(config)
    found = json.loads(nurt_command("source", "sweep", "--json", "--config", str(config)).out)["tables"]
    assert [(table["topic"], table["go"], table["stay"]) for table in found] == [("shop.orders_p1", 1, 2)]
    nurt_command("source", "sweep", "s", "--yes", "--config", str(config))
    left = {"p1-1", "p1-3", "p2-1", "p2-2"}
    assert run(config) == left
    assert run(config, rebuild=True) == left


def test_shards_that_a_pattern_joins_keep_their_own_rows(tmp_path: Path, redis_url: str) -> None:
    one, two = topic_of("shard1.customers"), topic_of("shard2.customers")
    one.upsert(row=row(1, "one"), **at(9000))
    two.upsert(row=row(2, "two"), **at(10))
    two.upsert(row=row(3, "three"), **at(20))
    two.delete(row=row(3, "three"), **at(30))
    config = deploy(tmp_path, redis_url, r"shard[0-9]\.customers")
    write(tmp_path, [one, two])
    assert run(config) == {"one", "two"}


def test_one_topic_under_a_pattern_needs_no_instances(tmp_path: Path, redis_url: str) -> None:
    old, _ = renamed()
    config = deploy(tmp_path, redis_url, r"shop(2026)?\.customers")
    write(tmp_path, [old])
    assert run(config) == {"old1", "old2", "mid3-8"}


def test_a_large_value_that_the_new_topic_did_not_send_is_that_of_the_old_one(tmp_path: Path, redis_url: str) -> None:
    old, new = topic_of("shop.customers"), topic_of("shop2026.customers")
    old.upsert(row=row(1, "large"), **at(1000))
    new.upsert(
        op="u", row={"id": 1, "email": "__debezium_unavailable_value"}, **at(2000)
    )  # it began without a snapshot
    config = deploy(tmp_path, redis_url, r"shop(2026)?\.customers")
    write(tmp_path, [old, new])
    assert run(config) == {"large"}
