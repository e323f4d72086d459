"""The demo's mapping fits the demo's databases: what the simulator writes is all mapped, and to what was meant."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import nurt
from nurt.columnar.ids import Ids
from nurt.mapping.load import load_mapping
from nurt.model.entities import ORDER_STATUSES, PROFILE_KINDS
from nurt.normalise.identifiers import normalise_column
from nurt.simulate.company.shop import simulate
from nurt.simulate.connector.messages import MemoryWriter, batches_of
from nurt.translate.translator import Translator

DEMO = Path(nurt.__file__).parent / "presets" / "demo.yaml"
MAPPING = load_mapping(DEMO.read_text(), DEMO.name).narrowed(PROFILE_KINDS)


class Schemas:
    """A registry of nothing but this process."""

    def __init__(self) -> None:
        self._known: list[dict[str, Any]] = []

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        return self._known[schema_id - 1] if 0 < schema_id <= len(self._known) else None

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        if dict(schema) not in self._known:
            self._known.append(dict(schema))
        return self._known.index(dict(schema)) + 1


class Mapped:
    """What the demo's mapping makes of some simulated days."""

    def __init__(self) -> None:
        writer, schemas = MemoryWriter(), Schemas()
        simulate(7, 60, 40, writer, registry=schemas)
        translator = Translator(MAPPING, schemas, Ids(b"0123456789abcdef"))
        frames: dict[str, list[pl.DataFrame]] = defaultdict(list)
        self.refused: Counter[str] = Counter()
        self.unmapped: set[str] = set()
        for batch in batches_of(writer.messages):
            translated = translator.translate(batch)
            self.refused.update(f"{each.topic}: {each.detail}" for each in translated.refused)
            self.unmapped |= {topic for topic, _, reason in translated.not_ours if reason == "unmapped"}
            for entity in translated.entities:
                frames[entity.kind].append(entity.frame)
        self.frames = {kind: pl.concat(parts) for kind, parts in frames.items()}


@pytest.fixture(scope="module")
def mapped() -> Mapped:
    return Mapped()


def test_no_row_is_refused_and_no_table_forgotten(mapped: Mapped) -> None:
    assert mapped.refused == Counter()
    assert mapped.unmapped == set()
    assert set(mapped.frames) == PROFILE_KINDS - {"refund"}  # the demo's shops give no money back yet


def test_every_mapped_field_has_values_somewhere(mapped: Mapped) -> None:
    named = {(rule.mapping.kind, name) for rule in MAPPING.topics for name in rule.mapping.fields}
    empty = {
        (kind, name) for kind, name in named if mapped.frames[kind][name].null_count() == mapped.frames[kind].height
    }
    assert empty == set()


def test_statuses_are_those_that_nurt_knows(mapped: Mapped) -> None:
    assert set(mapped.frames["order"]["status"].drop_nulls()) <= set(ORDER_STATUSES)
    assert {"open", "complete", "cancelled"} <= set(mapped.frames["order"]["status"].drop_nulls())
    assert {"paid", "open"} <= set(mapped.frames["invoice"]["status"].drop_nulls())


def test_guests_have_no_parent_but_an_email(mapped: Mapped) -> None:
    guests = mapped.frames["order"].filter((pl.col("op") == 0) & pl.col("parent").is_null())
    assert guests.height
    assert guests["email"].null_count() < guests.height


def test_children_point_at_rows_that_are_there(mapped: Mapped) -> None:
    frames = mapped.frames
    for kind, parent in (
        ("order_line", "order"),
        ("payment", "order"),
        ("address", "customer"),
        ("invoice", "customer"),
    ):
        parents = frames[kind]["parent"].drop_nulls().unique()
        assert len(parents)
        assert parents.is_in(frames[parent]["row"].implode()).all(), kind


@pytest.mark.parametrize("kind", ["email", "phone", "tax_id", "loyalty_card"])
def test_most_identifiers_normalise_and_some_are_held_by_several_accounts(mapped: Mapped, kind: str) -> None:
    customers = mapped.frames["customer"].filter(pl.col("op") == 0).filter(pl.col(kind).is_not_null())
    found = normalise_column(kind, customers[kind], customers["country"].fill_null("PL"), MAPPING.identifier_rules)
    assert found.null_count() < len(found) / 5
    holders = customers.with_columns(found.alias("n")).drop_nulls("n").group_by("n").agg(pl.col("row").n_unique())
    assert holders["row"].max() > 1  # type: ignore[operator]
