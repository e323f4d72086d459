"""A change of the rules of normalisation reaches stored rows, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import phonenumbers
import polars as pl
import pytest

from nurt.contracts import schemas
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.worker import Worker
from nurt.rows.children import renormalising
from nurt.rows.children.renormalising import NORMALISED
from tests.flows.book import IDS, Book, go_on, play, wrong
from tests.flows.test_rules_sweep import DyingAtStart
from tests.oracle.engine import Engine
from tests.oracle.histories import History
from tests.oracle.values import DAY_US, TODAY


class FormerRules(FoldContext):
    """What the first version made of identifiers: a phone's length counted, and nothing was left out of a text."""

    def normalised(self, frame: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
        phones = [_former_phone(text) for text in frame["phone"]] if "phone" in frame.columns else []
        frame = FoldContext.normalised(self, frame, [kind for kind in kinds if kind != "phone"])
        return frame.with_columns(pl.Series("phone", phones, dtype=pl.String)) if "phone" in kinds else frame


def _former_phone(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        number = phonenumbers.parse(text, "PL")
    except phonenumbers.NumberParseException:
        return None
    is_possible = phonenumbers.is_possible_number(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if is_possible else None


def people_who_write_in_several_ways() -> Book:
    book, day = Book(), TODAY * DAY_US
    book.put("shop", "customer", "1", phone="+48601000001", first_name="Ann", country="PL")
    book.put("books", "customer", "7", phone="0 601 000 001", first_name="Anna", country="PL")
    book.put("shop", "customer", "2", phone="+48 22 123 45 67 ext. 12", first_name="Bea", country="PL")
    book.put("books", "customer", "8", phone="+48 22 123 45 67 ext. 34", first_name="Cyd", country="PL")
    book.put("shop", "order", "9", email="dan@example.com", phone="022 123 45 00", country="PL", placed_at=day)
    book.put("shop", "order", "10", email="eve@example.com", phone="221234500", country="PL", placed_at=day)
    book.put("shop", "customer", "3", phone="0 601 000 003", email="fay@example.com", country="PL")
    book.put("shop", "customer", "4", email="plain@example.com", first_name="Gil", country="PL")
    book.delete("shop", "customer", "3")
    return book


class Upgraded:
    """An engine whose workers follow the former rules, then today's."""

    def __init__(self, history: History) -> None:
        self.engine = DyingAtStart(history.systems, history.rules, IDS.ids, TODAY, self._worker)
        self.number, self.is_former = 0, True

    def _worker(self, store: Store, keys: Keys, context: FoldContext) -> Worker:
        if self.is_former:
            facts = {name: getattr(context, name) for name in FoldContext.__dataclass_fields__}
            context = FormerRules(**facts)
        return Worker(store, keys, context, schemas.load(schemas.PROFILE_VALUE), normalisation=self.number)

    def upgrade(self, number: int = 1) -> None:
        self.engine.kill()
        self.is_former, self.number = False, number


def upgraded(history: History, number: int = 1) -> Engine:
    deployment = Upgraded(history)
    engine = play(history, deployment.engine)
    assert wrong(history, engine), "the former rules make one customer two, and two one"
    deployment.upgrade(number)
    return engine


@pytest.mark.parametrize("workers", [1, 3])
def test_stored_rows_follow_the_rules_of_today(workers: int) -> None:
    history = people_who_write_in_several_ways().history(size=3)
    engine = upgraded(history)
    engine.start(workers)
    for _ in range(4):
        engine.commit()
    assert not wrong(history, engine)
    shards = [engine.keys.shard_place(shard) for shard in range(engine.keys.shards)]
    assert [engine.memory.counted[place][NORMALISED] for place in shards] == [1] * len(shards)
    assert not [key for key in engine.memory.values if key in {place + b"i" for place in shards}]


def test_without_the_rule_they_stay_as_they_were() -> None:
    history = people_who_write_in_several_ways().history(size=3)
    engine = upgraded(history, number=0)
    engine.start(1)
    for _ in range(4):
        engine.commit()
    assert wrong(history, engine)


def test_rows_that_read_as_before_are_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    history = people_who_write_in_several_ways().history(size=3)
    engine = upgraded(history)
    told = engine.topic.messages
    plain = next(one for one in engine.topic.published().values() if (one["first_name"] or {}).get("value") == "Gil")
    before = engine.topic.newest[bytes.fromhex(plain["id"])]
    engine.start(1)
    for _ in range(4):
        engine.commit()
    assert engine.topic.newest[bytes.fromhex(plain["id"])] == before
    assert engine.topic.messages > told
    monkeypatch.setattr(renormalising.Renormalising, "_differing", lambda *_: pytest.fail("the shards are marked"))
    engine.kill()
    engine.start(1)
    engine.commit()


def test_messages_that_come_meanwhile_meet_the_stored_rows_in_the_end() -> None:
    book = people_who_write_in_several_ways()
    first = book.history(size=3)
    book.put("shop", "customer", "5", phone="48601000001", first_name="Ania", country="PL")
    book.put("books", "customer", "7", last_name="Nowak")
    book.put("shop", "customer", "6", phone="22 123 45 67 wew. 34", country="PL")
    history = book.history(size=1)
    deployment = Upgraded(first)
    engine = play(first, deployment.engine)
    deployment.upgrade()
    engine.start(2)
    for batch in list(history.batches(IDS))[-3:]:
        engine.feed(batch)
        engine.commit()
    for _ in range(4):
        engine.commit()
    assert not wrong(history, engine)


@pytest.mark.slow
@pytest.mark.parametrize("rows_an_epoch", [1, 2_000])
def test_a_crash_at_any_write_meanwhile_changes_nothing(rows_an_epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renormalising, "NORMALISE_ROWS_MAX", rows_an_epoch)
    history = people_who_write_in_several_ways().history(size=3)
    writes = 0
    for crash_at in range(300):
        engine: Any = upgraded(history)
        engine.writes_at_start = crash_at
        if not go_on(engine, epochs=25):
            writes = engine.writes
            break
        assert not wrong(history, engine), crash_at
    assert writes > 10


@pytest.mark.slow
def test_a_crash_between_an_account_and_its_profile_is_told_by_the_note_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renormalising.Renormalising, "_noted", lambda *_: iter(()))
    history = people_who_write_in_several_ways().history(size=3)
    found = False
    for crash_at in range(300):
        engine: Any = upgraded(history)
        engine.writes_at_start = crash_at
        if not go_on(engine, epochs=25):
            break
        found = found or bool(wrong(history, engine))
    assert found, "without the note, some crash loses a profile's change"


def test_texts_that_are_no_identifier_are_counted_once_by_field() -> None:
    book = Book()
    book.put("shop", "customer", "1", phone="12", email="a@b.pl, c@d.pl", tax_id="", country="PL")
    book.put("shop", "order", "9", email="nobody", phone="+48601000001", country="PL")
    book.put("shop", "order", "10", "1", email="nobody", country="PL")  # says nothing of a person
    history = book.history(size=2)
    engine = play(history, Engine(history.systems, history.rules, IDS.ids, TODAY))
    unread = {key[2]: count for key, count in engine.memory.counts.items() if key[1] == "unread"}
    assert unread == {"customer.phone": 1, "customer.email": 1, "order.email": 1}
    engine.committed = None
    engine.kill()
    engine.start(1)
    for batch in history.batches(IDS):
        engine.feed(batch)
    again = {key[2]: count for key, count in engine.memory.counts.items() if key[1] == "unread"}
    assert again == unread
