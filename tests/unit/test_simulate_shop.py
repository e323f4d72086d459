"""Claims about the simulated shops and ERP: the same seed says the same, and people do what people do."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from stdnum.de import vat
from stdnum.pl import nip

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.errors import ConfigurationError
from nurt.normalise.email import to_email
from nurt.normalise.phone import to_e164
from nurt.simulate.company.people import invent_person, typed_card, typed_email, typed_phone, typed_tax_id
from nurt.simulate.company.shop import Simulated, simulate
from nurt.simulate.company.world import local_time
from nurt.simulate.connector.messages import MemoryWriter, batches_of
from nurt.simulate.connector.schemas import SchemaBook
from nurt.simulate.connector.targets import simulate_to_archive
from tests.replay import Reader, replay

LAST_DAY = date(2026, 3, 31)


def live(seed: int = 5, customers: int = 250, days: int = 45) -> tuple[Simulated, MemoryWriter, SchemaBook]:
    writer, book = MemoryWriter(), SchemaBook()
    return simulate(seed, customers, days, writer, registry=book), writer, book


@pytest.fixture(scope="module")
def lived() -> tuple[Simulated, MemoryWriter, SchemaBook]:
    return live()


def test_a_seed_lives_the_same_days_every_time() -> None:
    first, again, other = live(1, 40, 20), live(1, 40, 20), live(2, 40, 20)
    assert first[1].messages == again[1].messages
    assert first[0] == again[0]
    assert other[1].messages != first[1].messages


def test_every_message_can_be_read_with_its_schema(lived: tuple[Simulated, MemoryWriter, SchemaBook]) -> None:
    simulated, writer, book = lived
    read = Reader(book)
    for message in writer.messages:
        read(message.key)
        read(message.value)
    assert simulated.total == len(writer.messages) > 5000


def test_people_do_everything_the_demo_tells_of(lived: tuple[Simulated, MemoryWriter, SchemaBook]) -> None:
    wanted = "registered, registered again, changed email, changed phone, moved house, ordered, ordered as a guest"
    wanted += ", cancelled, paid, shipped, returned, subscribed, unsubscribed, closed by flag, erased, booked, invoiced"
    wanted += ", settled, settled in part, corrected, renumbered"
    assert set(wanted.split(", ")) <= set(lived[0].deeds)


def test_the_final_rows_fit_together(lived: tuple[Simulated, MemoryWriter, SchemaBook]) -> None:
    _, writer, book = lived
    tables = replay(writer.messages, book)
    for shop in ("shop_pl", "shop_de"):
        orders = tables[f"{shop}.magento.sales_order"]
        totals: dict[Any, Any] = defaultdict(int)
        for item in tables[f"{shop}.magento.sales_order_item"].values():
            totals[item["order_id"],] += item["row_total_incl_tax"]
        assert orders and {key: order["grand_total"] for key, order in orders.items()} == totals
        assert {order["state"] for order in orders.values()} >= {"complete", "canceled", "closed", "new"}
        assert any(order["customer_id"] is None for order in orders.values())
    contractors = tables["erp.public.contractor"]
    documents = tables["erp.public.document"].values()
    assert {(document["contractor_id"],) for document in documents} <= set(contractors)
    assert any(document["status"] == "open" and document["due"] < LAST_DAY for document in documents), "none is overdue"


def test_some_people_can_be_found_on_both_sides(lived: tuple[Simulated, MemoryWriter, SchemaBook]) -> None:
    _, writer, book = lived
    tables = replay(writer.messages, book)

    def mails(topic: str, column: str) -> set[str]:
        return {row[column].strip().lower() for row in tables[topic].values() if row[column]}

    shop = mails("shop_pl.magento.customer_entity", "email") | mails("shop_de.magento.customer_entity", "email")
    assert len(shop & mails("erp.public.contractor", "email")) > 10
    assert len(shop & mails("shop_pl.magento.sales_order", "customer_email")) > 10
    phones = [row["telephone"] for row in tables["shop_pl.magento.customer_entity"].values() if row["telephone"]]
    assert len(set(phones)) < len(phones), "nobody shares a phone"


def test_all_mail_addresses_are_of_example_domains(lived: tuple[Simulated, MemoryWriter, SchemaBook]) -> None:
    _, writer, book = lived
    for rows in replay(writer.messages, book).values():
        for row in rows.values():
            for column in ("email", "customer_email", "subscriber_email"):
                if row.get(column):
                    assert re.search(r"@example\.(pl|de|com)[ >.]?$", row[column].lower())


def test_women_bear_the_womens_form_of_a_name_and_a_family_shares_the_name() -> None:
    rng, pairs = random.Random(3), set()
    for number in range(600):
        one = invent_person(rng, number)
        other = invent_person(rng, number, family=one)
        if one.gender == other.gender:
            assert one.last_name == other.last_name
        elif one.country.code in ("PL", "CZ"):
            man, woman = sorted((one, other), key=lambda person: person.gender)
            pairs.add((man.last_name, woman.last_name))
    told = {"Zieliński": "Zielińska", "Dąbrowski": "Dąbrowska", "Dvořák": "Dvořáková", "Novák": "Nováková"}
    told |= {"Šťastný": "Šťastná", "Růžička": "Růžičková"}
    assert {(man, woman) for man, woman in pairs if man != woman} == set(told.items())


def test_numbers_as_people_type_them_mean_what_they_meant() -> None:
    rng = random.Random(3)
    for number in range(400):
        person = invent_person(rng, number)
        assert phonenumbers.is_valid_number(phonenumbers.parse(person.phone))
        assert to_e164(typed_phone(rng, person.country, person.phone), person.country.code) == person.phone
        assert to_email(typed_email(rng, person.email)) == to_email(person.email)
        if person.tax_id:
            check = vat if person.tax_id.startswith("DE") else nip
            assert check.compact(typed_tax_id(rng, person.tax_id)) == check.compact(person.tax_id)
            assert check.is_valid(person.tax_id)
        if person.loyalty_card:
            typed_number = typed_card(rng, person.loyalty_card)
            assert typed_number.replace(" ", "").replace("-", "").upper() == person.loyalty_card


@pytest.mark.parametrize(
    ("utc_hours", "shown"),
    [(0, "2026-03-29T01:00:00"), (1, "2026-03-29T03:00:00"), (2, "2026-03-29T04:00:00")],
)
def test_local_time_jumps_when_summer_begins(utc_hours: int, shown: str) -> None:
    at_us = ((date(2026, 3, 29) - date(1970, 1, 1)).days * 24 + utc_hours) * 3_600_000_000
    assert local_time(at_us).isoformat() == shown


def test_progress_is_told_each_day_and_wait_each_deed() -> None:
    days: list[tuple[int, int]] = []
    moments: list[int] = []
    simulate(
        1, 20, 5, MemoryWriter(), lambda done, of: days.append((done, of)), registry=SchemaBook(), wait=moments.append
    )
    assert days == [(day, 5) for day in range(1, 6)]
    assert moments == sorted(moments) and len(moments) > 50


def test_an_archive_holds_the_simulation_and_its_schemas(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    simulated = simulate_to_archive(folder, 5, 30, 10, last_day=LAST_DAY)
    writer, book = MemoryWriter(), FolderRegistry(folder)
    simulate(5, 30, 10, writer, registry=SchemaBook(), last_day=LAST_DAY)
    written: dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
    for batch in batches_of(writer.messages):
        for partition, key, value in zip(batch.partitions, batch.keys, batch.values, strict=True):
            written[batch.topic, partition].append((key, value))
    found: dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
    log = ArchiveLog([folder])
    log.start(None)
    while not log.exhausted():
        for batch in log.poll(500):
            for partition, key, value in zip(batch.partitions, batch.keys, batch.values, strict=True):
                assert value is None or book.schema(int.from_bytes(value[1:5], "big")) is not None
                found[batch.topic, partition].append((key, value))
    log.close()
    assert found == written
    assert simulated.total == len(writer.messages)


def test_a_second_history_is_not_written_behind_a_first(tmp_path: Path) -> None:
    simulate_to_archive(tmp_path, 5, 2, 2, last_day=LAST_DAY)
    with pytest.raises(ConfigurationError, match="it holds messages"):
        simulate_to_archive(tmp_path, 5, 2, 2, last_day=LAST_DAY)
