"""The code of today goes on from what commit f00477a stored, with later messages, and ends where the oracles do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import orjson
import pytest

from nurt.adapters.files.requeue import requeue_to_archive
from nurt.app.delivery import open_store
from nurt.app.delivery_config import destination_named
from nurt.app.delivery_tools import retry_refusals
from nurt.app.stock import open_shop
from nurt.cli.opening import opened_state
from nurt.columnar.ids import Ids
from nurt.contracts.profile_tables import TABLES, newest, tables_of
from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook
from nurt.inspect.counters import OUTCOMES
from nurt.inspect.quarantine import RefusedFilter
from nurt.mapping.load import Mapping, read_mapping
from nurt.model.entities import STOCK_KINDS
from nurt.model.published import PublishedBatch
from nurt.model.stock.plan import UNIT
from nurt.rows.children.renormalising import NORMALISED
from nurt_client import Line
from nurt_client.ledger import read_held
from tests.chaos.naive_rows import Archive, read_archive
from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles
from tests.oracle.engine import normalise_really
from tests.oracle.stock_batch import StockRow, expected_stock
from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.redis_server import running_redis
from tests.upgrade.old_state import NOW_MS, TODAY, OldState, facts

UNKNOWN = "unknown_schema_id"
pytestmark = [pytest.mark.timeout(300), pytest.mark.services]


@dataclass
class GoneOn:
    """The deployment after today's code has read the rest.

    Attributes:
        requeued: how many messages left the quarantine.
        rows: what the receiver held before.
        writes: how often each row was written since.
    """

    old: OldState
    fake: FakeWebhook
    requeued: int
    rows: dict[tuple[str, str], dict[str, Any]]
    writes: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def mapping(self) -> Mapping:
        return read_mapping(self.old.settings.mapping_files)

    def read_archive(self, mapping: Mapping) -> Archive:
        return read_archive(self.old.archive, mapping, Ids(self.old.settings.ids_secret()))


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoneOn]:
    try:
        with running_redis("valkey") as server, running(FakeWebhook()) as fake:
            old = OldState.load(tmp_path_factory.mktemp("home"), server)
            old.webhook_url = fake.url
            old.configure()
            old.receive_later_messages(tmp_path_factory.mktemp("later"))
            requeued = requeue(old)
            old.run("profiles")
            old.run("stock")
            fake.rows = {(object_, key): row for object_, key, row in facts()["delivered"]["rows"]}
            gone_on = GoneOn(old, fake, requeued, dict(fake.rows))
            old.deliver()
            gone_on.writes = dict(fake.writes)
            yield gone_on
    except ServiceAbsent as absent:
        skip_or_fail(absent)


def requeue(old: OldState) -> int:
    """Give messages another chance whose schema is there now."""
    with opened_state(old.config) as state:
        wanted = list(state.quarantine.newest(RefusedFilter(UNKNOWN)))[::-1]
        return state.quarantine.requeue(wanted, lambda batch: requeue_to_archive(old.settings.archives, batch))


def test_profiles_are_what_a_batch_over_all_messages_says(gone_on: GoneOn) -> None:
    mapping, ids = gone_on.mapping, Ids(gone_on.old.settings.ids_secret())
    contents = {name: content for name, (_, content) in gone_on.old.kept().items() if content is not None}
    rows = gone_on.read_archive(mapping).rows
    assert rows["consent"], "those behind the truncate, and those that were requeued"
    expected = expected_profiles(rows, mapping.systems, mapping.rules, TODAY, ids, normalise_really)
    assert len(expected) > 30
    for profile in (*expected.values(), *contents.values()):
        for line in profile["orders"]:  # an order of before has them when one of its rows is told again
            del line["paid"], line["open_amount"]
    assert not differences(expected, contents)


def test_every_shard_is_read_by_the_rules_of_today(gone_on: GoneOn) -> None:
    with gone_on.old.client() as client:
        marks = [client.hget(f"nurt{{{shard:02x}}}n", NORMALISED) for shard in range(gone_on.old.settings.shards)]
        assert orjson.loads(client.get("nurt:normalisation"))["number"] == 1  # type: ignore[arg-type]
    assert set(marks) == {b"1"}


def test_nothing_that_was_published_is_forgotten(gone_on: GoneOn) -> None:
    kept = gone_on.old.kept()
    for name, (revision, _, _) in facts()["kept"].items():
        assert kept[name][0].revision >= revision, name
    assert {name for name, (_, _, state) in facts()["kept"].items() if state == "erased"} <= {
        name for name, (_, content) in kept.items() if content is None
    }
    with gone_on.old.client() as client:
        assert not list(client.scan_iter(match="nurt{??}x")), "what was published before the rewind is made up for"


def test_tables_of_duckdb_and_parquet_are_those_of_the_profiles(gone_on: GoneOn) -> None:
    kept = {name: one for name, (one, content) in gone_on.old.kept().items() if content is not None}
    batch = PublishedBatch(
        [bytes.fromhex(name) for name in kept],
        [one.revision for one in kept.values()],
        [one.body for one in kept.values()],
    )
    expected = tables_of(newest(batch))
    home = gone_on.old.home
    with duckdb.connect(str(home / "profiles.duckdb"), read_only=True) as connection:
        for name, columns in TABLES.items():
            listed = ", ".join(f'"{column}"' for column in columns)
            files = f"read_parquet('{home}/profiles/{name}/*.parquet', union_by_name = true)"
            told = sorted(map(repr, expected[name].rows()))
            assert sorted(map(repr, connection.execute(f"SELECT {listed} FROM {name}").fetchall())) == told, name
            assert sorted(map(repr, connection.execute(f"SELECT {listed} FROM {files}").fetchall())) == told, name
        erased = connection.execute("SELECT count(*) FROM profile_erased").fetchone()
    assert erased == (sum(content is None for _, content in gone_on.old.kept().values()),)


def test_what_can_be_sold_is_what_a_batch_says_less_what_is_reserved(gone_on: GoneOn) -> None:
    mapping = gone_on.mapping.narrowed(STOCK_KINDS)
    rows = [
        StockRow(row.system, kind, row.key, dict(row.fields), row.parent_key, (None,) * 4, row.ts_ms)
        for kind, some in gone_on.read_archive(mapping).rows.items()
        for row in some
    ]
    plan, systems = mapping.stock, mapping.systems.values()
    assert plan is not None
    priority, markets = {one.name: one.priority for one in systems}, {one.name: one.market or "" for one in systems}
    expected = expected_stock(rows, plan, priority, markets, NOW_MS).available
    sku = facts()["reserved"]["sku"]
    found = {}
    with gone_on.old.client() as client:
        for key in client.scan_iter(match="nurt-stock{r:default}v*"):
            for place, pieces in orjson.loads(client.get(key)).items():  # type: ignore[arg-type]
                channel, market = place.split("/")
                found[key.decode().partition("}v")[2], channel, market] = round(pieces * UNIT)
    differ = {place: (value, found.get(place)) for place, value in expected.items() if found.get(place) != value}
    assert ("shop_pl", "PL") in {place[1:] for place in differ}
    assert all(place[0] == sku and now == value - UNIT for place, (value, now) in differ.items())
    assert len(expected) > 20


def test_a_reservation_ends_with_its_order_and_no_other_does(gone_on: GoneOn) -> None:
    told = facts()["reserved"]
    with gone_on.old.client() as client, open_shop(gone_on.old.settings) as stock:
        names = list(client.scan_iter(match="nurt-stock{r:default}m*"))
        held = [read_held(client.get(name)) for name in names]  # type: ignore[arg-type]
        assert held == [{"shop_pl/PL": UNIT}]
        client.set("nurt-stock{r:default}o", 2**45)
        coming = stock.reserve(told["coming"], [Line(told["coming_line"], told["sku"], 1)], "shop_pl", "PL")
        assert coming.status in ("known", "accepted")
        assert [read_held(client.get(name)) for name in names] == held  # type: ignore[arg-type]


def test_figures_and_orders_that_are_kept_are_those_of_the_history(gone_on: GoneOn) -> None:
    with duckdb.connect(str(gone_on.old.home / "stock.duckdb"), read_only=True) as connection:
        shown = connection.execute("SELECT sku, channel, market, available FROM stock_now").fetchall()
    told = {
        (row["sku"], row["channel"], row["market"]): row["available"]
        for (object_, _), row in gone_on.fake.rows.items()
        if object_ == "stock"
    }
    assert told == {tuple(place): float(available) for *place, available in shown}


def replayed() -> int:
    """Count messages that were refused and not committed: they are read again, and now they end otherwise, too."""
    committed = {(topic, partition): at for topic, partition, at, _ in facts()["kafka"]["offsets"]}
    return sum(
        reason == UNKNOWN and offset >= committed.get((topic, partition), 0)
        for topic, partition, offset, reason, _ in facts()["profiles"]["quarantined"]
    )


@pytest.mark.parametrize("flow", ["profiles", "stock"])
def test_every_message_is_counted_once(gone_on: GoneOn, flow: str) -> None:
    mapping = gone_on.mapping if flow == "profiles" else gone_on.mapping.narrowed(STOCK_KINDS)
    messages = gone_on.read_archive(mapping).messages
    with opened_state(gone_on.old.config, flow) as state:
        counts = state.tally.counts()
        left = len(state.quarantine)
    requeued = gone_on.requeued if flow == "profiles" else 0
    twice = replayed() if flow == "profiles" else 0
    by: dict[str, int] = {}
    for one in counts:
        kind = "truncates" if one.reason == "truncate" else one.outcome
        by[kind] = by.get(kind, 0) + one.messages
    assert by.get("requeued", 0) == requeued
    assert by["folded"] + by["old_news"] == messages["rows"] - requeued + twice
    assert by.get("truncates", 0) == messages.get("truncates", 0)
    assert by["not_ours"] == messages["not_ours"]
    assert by.get("quarantined", 0) == messages.get("refused", 0) + requeued
    assert left == messages.get("refused", 0)
    assert sum(by.get(outcome, 0) for outcome in (*OUTCOMES, "truncates")) == gone_on.old.messages() + twice


def test_a_delivery_goes_on_from_its_records(gone_on: GoneOn) -> None:
    unsettled = {tuple(one) for one in facts()["delivered"]["unsettled"]}
    again = {key for key in gone_on.writes if key in gone_on.rows and gone_on.rows[key] == gone_on.fake.rows.get(key)}
    assert again <= unsettled, "unchanged rows are not told again, but what was not settled when it was killed"
    assert len(gone_on.rows) - len(gone_on.writes.keys() & gone_on.rows.keys()) > 20
    parked = {code: subject for subject, code, _ in facts()["delivery"]["parked"]}
    assert not open_store(gone_on.old.settings, "crm").parked([parked["http_503"]])
    assert ("contact", parked["http_503"]) in gone_on.writes


def test_what_was_refused_is_told_when_its_mapping_is_mended(gone_on: GoneOn) -> None:
    old, fake = gone_on.old, gone_on.fake
    refused = {refusal.subject for refusal in open_store(old.settings, "crm").refusals()}
    assert refused & {subject for subject, *_ in facts()["delivery"]["refused"]}
    text = (old.home / "delivery.yaml").read_text()
    mended = "".join(line for line in text.splitlines(keepends=True) if "refuse_me" not in line)
    (old.home / "delivery.yaml").write_text(mended)
    try:
        assert retry_refusals(old.settings, destination_named(old.settings, "crm")) == len(refused)
        old.deliver()
    finally:
        (old.home / "delivery.yaml").write_text(text)
    assert not open_store(old.settings, "crm").refusals()
    waited = [subject for subject, code, _ in facts()["delivery"]["parked"] if code == "parent_not_there_yet"]
    assert not open_store(old.settings, "crm").parked(waited)
    assert all(fake.rows["order", one]["person"] for one in waited)
    with duckdb.connect(str(old.home / "profiles.duckdb"), read_only=True) as connection:
        live = dict(connection.execute("SELECT id, email FROM profiles WHERE state = 'live'").fetchall())
    assert {key: row["email"] for (object_, key), row in fake.rows.items() if object_ == "contact"} == live


def test_the_next_run_is_one_more_and_begins_where_the_last_one_was(gone_on: GoneOn) -> None:
    lines = (gone_on.old.home / "data" / "control.jsonl").read_bytes().splitlines()
    begun = [record for line in lines if (record := orjson.loads(line)["record"])["kind"] == "begin"]
    assert [record["run"] for record in begun] == [1, 2, 3, 4, 5]
    assert [record["rewound"] for record in begun] == [False, False, False, True, False]
    assert begun[-1]["after"] == [facts()["kafka"]["run"], facts()["kafka"]["epoch"]]
