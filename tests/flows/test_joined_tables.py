"""Rows of a table that others are joined with: stored, counted, refused, swept and shown as any row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.joins import agree_on_numbers, read_numbers
from nurt.app.running import run_here
from nurt.flows.profiles import profiles
from nurt.inspect.row_scan import stored_rows
from nurt.mapping.load import load_mapping, read_mapping
from nurt.model.entities import PROFILE_KINDS, STOCK_KINDS
from nurt.model.entity_frame import DELETE
from nurt.model.keys import Keys
from nurt.model.table_kinds import table_kind
from nurt.rows.layouts import LEFT, OP, PART, ROW_LAYOUTS
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic
from tests.flows.test_topics_of_one_table import at, write

COLUMNS = {
    "id": "int",
    "order_id": ["null", "long"],
    "meta_key": ["null", "string"],
    "meta_value": ["null", "string"],
    "amount": ["null", "string"],
    "paid": ["null", "boolean"],
}
META = """
    entity: table
    name: order_meta
    key: id
    types: {amount: amount, paid: bool}
    fields: {order: order_id, name: LOWER(meta_key), value: meta_value, amount: amount, paid: paid}
"""


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


def meta(kind: str = "postgresql") -> Topic:
    return Topic(COLUMNS, kind=kind, name="shop.meta")


def attribute(number: int, name: str = "_Total", value: str | None = "77.00", **more: Any) -> dict[str, Any]:
    return {"id": number, "order_id": 14, "meta_key": name, "meta_value": value, "amount": None, "paid": None, **more}


def deploy(home: Path, redis_url: str, entry: str = META) -> str:
    (home / "mapping.yaml").write_text(f"systems:\n  s: {{}}\ntopics:\n  - match: shop.meta\n    system: s{entry}")
    config = home / "nurt.yaml"
    config.write_text(
        f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
        f"state: {{url: '{redis_url}', prefix: {home.name}, shards: 2}}\n"
        "input: {archives: [archive], rows_max: 2}\noutput: {duckdb: profiles.duckdb}\n"
    )
    return str(config)


def run(config: str, *, rebuild: bool = False) -> dict[str, dict[str, Any]]:
    run_here(profiles, load_settings(Path(config)), rebuild=rebuild)
    return {row.pop("key"): row for row in stored(config)}


def stored(config: str) -> Iterator[dict[str, Any]]:
    """Read the rows that live of the table, by the names of its fields."""
    settings = load_settings(Path(config))
    keys = Keys(settings.prefix, settings.shards)
    with closing(open_redis(settings.redis_url)) as client:
        numbers = read_numbers(client, keys)
        number = numbers.tables["s\x1forder_meta"]
        kind = table_kind(number)
        layout = ROW_LAYOUTS[kind]
        places = {name.partition("\x1f")[0]: column for name, column in numbers.columns[number].items()}
        for rows in stored_rows(client, keys, kind):
            for one in np.flatnonzero((rows.numbers[:, PART] != LEFT) & (rows.numbers[:, OP] != DELETE)):
                found = {}
                for name, column in {"key": "key", **places}.items():
                    at_row, place = np.array([one]), layout.place(column)
                    is_text = layout.is_text[layout.column(column)]
                    there = bool(rows.has(layout.column(column), at_row)[0])
                    value = rows.text(place, at_row).plain()[0].decode() if is_text else int(rows.numbers[one, place])
                    found[name] = value if there else None
                yield found


def counts_of(command: Callable[..., Ran], config: str) -> dict[tuple[str, str], int]:
    counts = json.loads(command("stats", "--json", "--config", config).out)["counts"]
    return {(one["outcome"], one["reason"]): one["messages"] for one in counts}


def row(name: str = "_total", value: str | None = "77.00", **more: Any) -> dict[str, Any]:
    return {"order": "14", "name": name, "value": value, "amount": None, "paid": None, **more}


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_rows_are_stored_counted_and_shown(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran], kind: str
) -> None:
    topic = meta(kind)
    topic.upsert(row=attribute(1, amount="12.5000", paid=True))
    topic.upsert(row=attribute(2, "_sku", "  ", amount="-0.01", paid=False))
    topic.upsert(row=attribute(3, amount="much"))
    topic.upsert(row=attribute(4))
    topic.delete(row=attribute(4))
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    assert run(config) == {"1": row(amount=125_000, paid=1), "2": row("_sku", None, amount=-100, paid=0)}
    assert counts_of(nurt_command, config) == {("folded", ""): 4, ("quarantined", "column_cannot_become_field"): 1}
    assert "field amount: " in nurt_command("quarantine", "list", "--config", config).out
    counted = json.loads(nurt_command("stats", "--count", "--json", "--config", config).out)["stored"]
    assert counted == {"rows of order_meta of s": 3}  # that of the deleted row, too
    (sample,) = json.loads(nurt_command("check", "--json", "--config", config).out)["topics"]
    assert (sample["becomes"], sample["rows"], sample["refused"]) == ("table of s", 4, 1)
    assert "nobody uses the table order_meta of s" in nurt_command("check", "--config", config).out


def test_columns_keep_their_meaning_whatever_the_mapping_says_later(tmp_path: Path, redis_url: str) -> None:
    topic = meta("mysql")
    topic.upsert(row=attribute(1, amount="1"), pos=100)
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    assert run(config) == {"1": row(amount=10_000)}
    other = META.replace("{order: order_id, name: LOWER(meta_key),", "{added: meta_value, name: UPPER(meta_key),")
    topic.upsert(row=attribute(2, amount="2"), pos=110)
    write(tmp_path, [topic])
    deploy(tmp_path, redis_url, other)
    assert run(config) == {
        "1": row(amount=10_000, added=None),
        "2": {**row("_TOTAL", amount=20_000), "order": None, "added": "77.00"},
    }
    deploy(tmp_path, redis_url)
    assert run(config, rebuild=True) == {"1": row(amount=10_000, added=None), "2": row(amount=20_000, added=None)}


def test_a_value_that_did_not_come_is_kept(tmp_path: Path, redis_url: str) -> None:
    topic = meta()
    topic.upsert(row=attribute(1, paid=True), **at(1000))
    topic.upsert(op="u", row=attribute(1, "_other", "__debezium_unavailable_value", paid=False), **at(1010))
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    assert run(config) == {"1": row("_other", paid=0)}


def test_a_truncate_and_a_sweep_take_rows(tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]) -> None:
    topic = meta()
    topic.upsert(row=attribute(1), **at(1000))
    topic.raw(None, topic.envelope("t", None, None, **at(2000)))
    topic.upsert(row=attribute(2), **at(2100))
    topic.upsert(row=attribute(3), **at(2200))
    topic.upsert(op="r", row=attribute(3), **at(5000, snapshot=True))  # row 2 went while the connector was down
    topic.upsert(row=attribute(4), **at(6000))
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    assert set(run(config)) == {"2", "3", "4"}
    (found,) = json.loads(nurt_command("source", "sweep", "--json", "--config", config).out)["tables"]
    assert (found["table"], found["go"], found["stay"]) == ("s/order_meta", 1, 2)
    nurt_command("source", "sweep", "s", "--yes", "--config", config)
    assert set(run(config)) == {"3", "4"}
    assert set(run(config, rebuild=True)) == {"3", "4"}


def test_rows_that_a_rebuild_does_not_read_again_end(tmp_path: Path, redis_url: str) -> None:
    topic = meta("mysql")
    for number in range(3):
        topic.upsert(row=attribute(number), pos=100 + number)
    config = deploy(tmp_path, redis_url)
    write(tmp_path, [topic])
    assert len(run(config)) == 3
    for file in (tmp_path / "archive").iterdir():
        file.unlink()
    short = meta("mysql")
    for number in range(2):
        short.upsert(row=attribute(number), pos=100 + number)
    write(tmp_path, [short])
    run_here(profiles, load_settings(Path(config)), rebuild=True, confirmed=True)
    assert set(run(config)) == {"0", "1"}


def test_a_table_beside_an_entity_of_the_same_rows(tmp_path: Path, redis_url: str) -> None:
    both = META.replace(
        "entity: table\n    name: order_meta\n    key: id\n", "key: id\n    into:\n      - entity: table\n"
    )
    lines = both.splitlines()
    body = [lines[0], *lines[1:3], "      - entity: table", "        name: order_meta"]
    body += [f"    {line}" for line in lines[4:]] + ["      - {entity: product, fields: {name: meta_key}}"]
    topic = meta("mysql")
    topic.upsert(row=attribute(1), pos=100)
    config = deploy(tmp_path, redis_url, "\n".join(body))
    write(tmp_path, [topic])
    assert run(config) == {"1": row()}


def test_starts_with_other_tables_give_a_number_one_meaning(tmp_path: Path, redis_url: str) -> None:
    keys = Keys(tmp_path.name, 2)

    def mapping(name: str) -> Any:
        entry = META.replace("order_meta", name)
        return load_mapping(f"systems:\n  s: {{}}\ntopics:\n  - match: shop.meta\n    system: s{entry}", "m")

    with closing(open_redis(redis_url)) as client:
        first, grown = agree_on_numbers(client, keys, mapping("one"))
        assert grown and first.tables == {"s\x1fone": 0}
        second, grown = agree_on_numbers(client, keys, mapping("two"))
        assert grown and second.tables == {"s\x1fone": 0, "s\x1ftwo": 1}
        third, grown = agree_on_numbers(client, keys, mapping("one"))
        assert not grown and third == second == read_numbers(client, keys)


def test_a_table_that_nobody_uses_is_read_by_the_flow_of_profiles(tmp_path: Path, redis_url: str) -> None:
    deploy(tmp_path, redis_url)
    mapping = read_mapping([tmp_path / "mapping.yaml"])
    assert mapping.narrowed(PROFILE_KINDS).for_topic("shop.meta") is not None
    assert mapping.narrowed(STOCK_KINDS).for_topic("shop.meta") is None
