"""Every captured message ends in exactly one place, and in which is written down here."""

from __future__ import annotations

from collections import Counter

import pytest

from nurt.model.entity_frame import entity_columns
from tests.corpus_messages import (
    FOLDERS,
    IDS,
    TABLES,
    accounted,
    batches,
    lines,
    outcomes,
    schemas,
    select,
    translator,
)
from tests.naive_translator import Naive

Ends = dict[tuple[str, str, str], int]

EXPECTED: dict[str, Ends] = {
    "postgres": {
        ("__debezium-heartbeat.pg", "not_ours", "heartbeat"): 11,
        ("pg.message", "not_ours", "logical_message"): 2,
        ("pg.shop.composite", "not_ours", "tombstone"): 1,
        ("pg.shop.composite", "row", "product"): 4,
        ("pg.shop.composite", "truncated", "composite"): 1,
        ("pg.shop.customers", "not_ours", "tombstone"): 3,
        ("pg.shop.customers", "row", "customer"): 30,
        ("pg.shop.dbz_signal", "not_ours", "signal"): 5,
        ("pg.shop.nopk", "not_ours", "unmapped"): 3,
        ("pg.shop.orders", "not_ours", "tombstone"): 1,
        ("pg.shop.orders", "row", "order"): 15,
        ("pg.shop.orders", "truncated", "order"): 1,
        ("pg.shop.outbox", "not_ours", "tombstone"): 1,
        ("pg.shop.outbox", "not_ours", "outbox"): 2,
        ("pg.transaction", "not_ours", "transaction"): 60,
    },
    "mariadb": {
        ("__debezium-heartbeat.my", "not_ours", "heartbeat"): 2,
        ("my", "not_ours", "schema_change"): 15,
        ("my.magento.customer_entity", "not_ours", "tombstone"): 3,
        ("my.magento.customer_entity", "row", "customer"): 13,
        ("my.magento.dbz_signal", "not_ours", "signal"): 5,
        ("my.magento.nopk", "not_ours", "tombstone"): 1,
        ("my.magento.nopk", "not_ours", "unmapped"): 3,
        ("my.magento.sales_order", "row", "order"): 8,
        # decimal(24,6) with six decimals that are not zero is no amount of ours
        ("my.magento.sales_order", "quarantined", "value_out_of_range"): 2,
        ("my.transaction", "not_ours", "transaction"): 36,
    },
    "postgres_outbox_router": {
        ("outbox.event.Customer", "not_ours", "outbox"): 1,
        ("pgob.message", "not_ours", "logical_message"): 2,
    },
    "sqlserver_synthetic": {
        ("erp.ERPXL_DEMO.CDN.KntKarty", "not_ours", "tombstone"): 1,
        ("erp.ERPXL_DEMO.CDN.KntKarty", "row", "customer"): 4,
    },
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_captured_message_ends_where_it_should(folder: str) -> None:
    ends: Counter[tuple[str, str, str]] = Counter()
    translate = translator(folder).translate
    for topic, batch in batches(folder).items():
        translated = translate(batch)
        assert accounted(translated) == len(batch)
        ends.update(translated.not_ours)
        ends.update((topic, "row", entity.kind) for entity in translated.entities for _ in range(entity.frame.height))
        ends.update((topic, "truncated", truncate.entity) for truncate in translated.truncated)
        ends.update((topic, "quarantined", refused.reason.value) for refused in translated.refused)
    assert ends == EXPECTED[folder]
    assert ends.total() == len(lines(folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_captured_messages_mean_what_a_naive_reading_says(folder: str) -> None:
    translate, naive = translator(folder).translate, Naive(schemas(folder), TABLES, IDS)
    compared = 0
    for batch in batches(folder).values():
        translated = translate(batch)
        said = naive.say(batch)
        found = outcomes(batch, translated)
        assert [end for end in found if end[0] != "not_ours"] == [end for end in said if end[0] != "not_ours"]
        counted = Counter(reason for end, reason in said if end == "not_ours")
        assert {reason: n for (_, _, reason), n in translated.not_ours.items()} == counted
        compared += len(said)
    assert compared == len(lines(folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_way_messages_are_cut_into_batches_changes_nothing(folder: str) -> None:
    for batch in batches(folder).values():
        whole = outcomes(batch, translator(folder).translate(batch))
        one_by_one = translator(folder)
        cut = [outcomes(one, one_by_one.translate(one))[0] for one in (select(batch, [i]) for i in range(len(batch)))]
        assert cut == whole


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_batch_too_large_for_one_buffer_means_the_same(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wholes = {topic: outcomes(batch, translator(folder).translate(batch)) for topic, batch in batches(folder).items()}
    monkeypatch.setattr("nurt.translate.translator.JOINED_BYTES_MAX", 1_500)
    for topic, batch in batches(folder).items():
        translated = translator(folder).translate(batch)
        assert accounted(translated) == len(batch)
        assert outcomes(batch, translated) == wholes[topic]


@pytest.mark.parametrize("folder", FOLDERS)
def test_frames_have_exactly_the_columns_that_the_fold_expects(folder: str) -> None:
    translate = translator(folder).translate
    for batch in batches(folder).values():
        for entity in translate(batch).entities:
            assert dict(entity.frame.schema) == entity_columns(entity.kind)
