"""Two databases that nurt has never seen, through Debezium and Kafka to profiles, compared with SQL over them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from bytewax.run import cli_main
from confluent_kafka import Consumer, TopicPartition
from redis import Redis

from nurt.adapters.kafka.settings import KafkaSettings
from nurt.app.launch import launch
from nurt.app.profiles import ProfileAssembly
from nurt.flows.profiles import profiles
from nurt.inspect.quarantine import Quarantine
from nurt.model.keys import Keys
from nurt.settings import KafkaInput, Settings
from tests.services.live import erp, shop
from tests.services.live.expected import CHOSEN, expect, rows_of_erp, rows_of_shop
from tests.services.live.published import live_profiles, read_to_end
from tests.services.stack.connect import ConnectServer
from tests.services.stack.databases import Database

MAPPING = Path(__file__).parent / "live" / "mapping.yaml"
TODAY = date(2026, 3, 31)
CENT_OF_A_CENT = Decimal("0.0001")

Whole = dict[str, Any]
"""One profile as both sides say it: parts that must be equal; `chosen` and `consents` list what is as good."""


@dataclass(frozen=True, slots=True)
class FixedDay:
    """A clock that stands still; implements ports.clock.DayClock."""

    day: date

    def today(self) -> int:
        return (self.day - date(1970, 1, 1)).days


@dataclass(frozen=True, slots=True)
class Deployment:
    """Both databases, and the nurt that reads them."""

    kafka: str
    connect: ConnectServer
    postgres: Database
    mariadb: Database
    settings: Settings

    def run(self, day: date, **changed: Any) -> None:
        """Run nurt until it has read all that is on the topics."""
        settings = replace(self.settings, **changed)
        current = ProfileAssembly(settings, launch(settings), clock=FixedDay(day), threads=settings.workers)
        cli_main(profiles(current), epoch_interval=timedelta(milliseconds=100), workers_per_process=settings.workers)

    def capture_to_end(self, number: int) -> None:
        """Wait until a row that was written last has come, and nothing more comes."""
        self.postgres.execute(f"insert into koniec values ({number})")
        self.mariadb.execute(f"insert into wp_end values ({number})")
        deadline, before = time.monotonic() + 90, -1
        while True:
            ends = self._ends()
            arrived = ends.get("firma.public.koniec", 0) >= number and ends.get("sklep.nurt.wp_end", 0) >= number
            if arrived and sum(ends.values()) == before:
                return
            assert time.monotonic() < deadline, (self.connect.status("firma"), self.connect.status("sklep"), ends)
            before = sum(ends.values())
            time.sleep(0.5)

    def _ends(self) -> dict[str, int]:
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "ends"})
        try:
            topics = [name for name in consumer.list_topics(timeout=20).topics if name.startswith(("firma.", "sklep."))]
            return {name: consumer.get_watermark_offsets(TopicPartition(name, 0), 20)[1] for name in topics}
        finally:
            consumer.close()

    def came_without_value(self, topic: str) -> int:
        """Count the messages in which a large value was left out, as it did not change."""
        return sum(b"__debezium_unavailable_value" in (body or b"") for _, body in read_to_end(self.kafka, topic))

    def assert_nothing_refused(self) -> None:
        with Redis.from_url(self.settings.redis_url) as client:
            quarantine = Quarantine(client, Keys(self.settings.prefix, self.settings.shards))
            refused = {(refused.topic, str(refused.reason), refused.detail) for refused in quarantine.newest()}
        assert refused == set()

    def assert_file_agrees(self) -> None:
        """Compare the DuckDB file's profiles and sums with the topic's."""
        assert self.settings.duckdb is not None and self.settings.topic is not None
        found = live_profiles(self.kafka, self.connect.registry.url, self.settings.topic)
        sums: dict[tuple[str, str], tuple[int, Decimal]] = {}
        for profile in found.values():
            for order in profile["orders"]:
                count, gross = sums.get(place := (order["currency"], order["market"]), (0, Decimal(0)))
                sums[place] = count + order["count"], gross + order["gross"]
        with duckdb.connect(str(self.settings.duckdb), read_only=True) as file:
            live = file.execute("select id, revision, email from profiles where state = 'live'").fetchall()
            orders = file.execute(
                "select currency, market, sum(order_count), sum(gross) from profile_orders group by all"
            ).fetchall()
        emails = {profile["id"]: profile["email"] and profile["email"]["value"] for profile in found.values()}
        assert set(live) == {(id_, profile["revision"], emails[id_]) for id_, profile in found.items()}
        assert {(currency, market): (count, gross) for currency, market, count, gross in orders} == sums

    def assert_agrees(self, day: date) -> None:
        """Compare every published profile with what SQL says of the databases."""
        expected = _expected(expect(rows_of_erp(self.postgres), rows_of_shop(self.mariadb), day))
        assert self.settings.topic is not None
        published = live_profiles(self.kafka, self.connect.registry.url, self.settings.topic).values()
        found = {_accounts(profile): profile for profile in published}
        assert set(found) == set(expected)
        wrong = []
        for accounts, want in expected.items():
            profile = found[accounts]
            got = _found(profile)
            wrong += [(sorted(accounts), part, got[part], want[part]) for part in got if got[part] != want[part]]
            for field in CHOSEN:
                value = profile[field] and profile[field]["value"]
                if value not in want["chosen"].get(field, {None}):
                    wrong.append((sorted(accounts), field, profile[field], want["chosen"].get(field)))
            consents = {
                consent["purpose"]: (consent["granted"], _naive(consent["at"]), consent["system"])
                for consent in profile["consents"]
            }
            if set(consents) != set(want["consents"]) or any(
                said not in want["consents"][purpose] for purpose, said in consents.items()
            ):
                wrong.append((sorted(accounts), "consents", consents, want["consents"]))
            assert profile["as_of"] <= day
        assert not wrong, f"{len(wrong)} differences, first: {wrong[:3]}"


def _expected(answers: dict[str, list[dict[str, Any]]]) -> dict[frozenset[Any], Whole]:
    by_profile: dict[str, Whole] = {}
    for row in answers["accounts"]:
        whole = by_profile.setdefault(row["profile"], {"accounts": set()})
        whole["accounts"].add((row["system"], row["entity"], row["key"]))
    for whole in by_profile.values():
        whole |= {part: [] for part in ("identifiers", "orders", "products", "categories", "invoices", "addresses")}
        whole |= {"last_interaction_on": None, "chosen": {}, "consents": {}}
    for part in ("identifiers", "orders", "products", "categories", "invoices", "addresses"):
        for row in answers[part]:
            by_profile[row["profile"]][part].append(tuple(value for name, value in row.items() if name != "profile"))
    for row in answers["last_interaction_on"]:
        by_profile[row["profile"]]["last_interaction_on"] = row["day"]
    for row in answers["chosen"]:
        by_profile[row["profile"]]["chosen"].setdefault(row["field"], set()).add(row["value"])
    for row in answers["consents"]:
        said = (row["granted"], row["moment"], row["system"])
        by_profile[row["profile"]]["consents"].setdefault(row["purpose"], set()).add(said)
    for whole in by_profile.values():
        for part in ("identifiers", "orders", "invoices", "addresses"):
            whole[part] = sorted(whole[part], key=repr)
        for part in ("products", "categories"):
            whole[part] = sorted(whole[part], key=lambda row: (-row[1], row[0]))
    return {frozenset(whole["accounts"]): whole for whole in by_profile.values()}


def _accounts(profile: dict[str, Any]) -> frozenset[tuple[str, str, str]]:
    return frozenset((account["system"], account["entity"], account["key"]) for account in profile["accounts"])


ORDERS = (
    *("currency", "market", "count", "gross", "first_on", "last_on", "cancelled", "returned", "open"),
    *(f"last_{days}_{what}" for days in (30, 90, 365) for what in ("count", "gross")),
)


def _found(profile: dict[str, Any]) -> Whole:
    def rows(part: str, *names: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(row[name] for name in names) for row in profile[part]), key=repr)

    for order in profile["orders"]:
        average = (
            (order["gross"] / order["count"]).quantize(CENT_OF_A_CENT, ROUND_HALF_EVEN) if order["count"] else None
        )
        assert order["average"] == average
    return {
        "identifiers": rows("identifiers", "kind", "value"),
        "orders": rows("orders", *ORDERS),
        "products": [(row["sku"], row["quantity"]) for row in profile["products"]],
        "categories": [(row["category"], row["quantity"]) for row in profile["categories"]],
        "invoices": rows("invoices", "currency", "open_count", "open_amount", "overdue_count", "overdue_amount"),
        "addresses": rows("addresses", "system", "kind", "street", "city", "postcode", "country"),
        "last_interaction_on": profile["last_interaction_on"],
    }


def _naive(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC).replace(tzinfo=None)


@pytest.fixture
def deployment(
    kafka: str, connect: ConnectServer, postgres: Database, mariadb: Database, redis_url: str, tmp_path: Path
) -> Deployment:
    settings = Settings(
        mapping=MAPPING,
        data=tmp_path,
        redis_url=redis_url,
        prefix="live",
        kafka=KafkaSettings(kafka),
        kafka_input=KafkaInput((r"^firma\.public\.", r"^sklep\.nurt\."), "live", stop_at_end=True),
        registry_url=connect.registry.url,
        topic="live.profiles",
        control_topic="live.control",
        duckdb=tmp_path / "profiles.duckdb",
        secret="0123456789abcdef" * 2,
    )
    return Deployment(kafka, connect, postgres, mariadb, settings)


def test_profiles_are_what_sql_says_of_the_databases(deployment: Deployment) -> None:
    postgres, mariadb, connect = deployment.postgres, deployment.mariadb, deployment.connect
    postgres.execute(erp.TABLES + erp.first_rows(TODAY.isoformat()))
    mariadb.execute(shop.TABLES + shop.first_rows(TODAY.isoformat()))
    options = {"poll_interval_ms": "50", "skipped_operations": "none"}
    connect.capture_postgres(postgres, "firma", **options)
    connect.capture_mariadb(mariadb, "sklep", **options)
    history = [("", ""), (erp.CHANGES, shop.CHANGES), (erp.MORE_CHANGES, shop.MORE_CHANGES)]
    for number, (in_erp, in_shop) in enumerate(history, 1):
        postgres.execute(in_erp)
        mariadb.execute(in_shop)
        deployment.capture_to_end(number)
        deployment.run(TODAY)
        deployment.assert_nothing_refused()
        deployment.assert_agrees(TODAY)
    assert deployment.came_without_value("firma.public.kontrahenci") >= 4

    for days in (1, 30):  # nothing comes but the days
        deployment.run(TODAY + timedelta(days=days))
        deployment.assert_agrees(TODAY + timedelta(days=days))
    deployment.assert_file_agrees()

    at_once = replace(deployment, settings=another(deployment.settings, "at-once", workers=2))
    at_once.run(TODAY)
    at_once.assert_nothing_refused()
    at_once.assert_agrees(TODAY)


def another(settings: Settings, name: str, workers: int) -> Settings:
    """Describe a deployment over the same topics that shares nothing with the first."""
    assert settings.kafka_input is not None
    return replace(
        settings,
        data=settings.data / name,
        prefix=name,
        workers=workers,
        kafka_input=replace(settings.kafka_input, group=name),
        topic=f"{name}.profiles",
        control_topic=f"{name}.control",
        duckdb=settings.data / name / "profiles.duckdb",
    )
