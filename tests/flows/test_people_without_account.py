"""An address, consent or interaction without a parent stands for somebody by the identifiers that it brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nurt.app.opening import fold_context
from nurt.columnar.types import Int64s, Words
from nurt.mapping.load import load_mapping
from nurt.normalise.context import FoldContext
from nurt.profiles import from_rows
from tests.envelopes import IDS, Topic, entry
from tests.flows.book import Book, go_on, new_engine, play, wrong, wrong_crashes
from tests.flows.test_rules_normalisation import upgraded
from tests.oracle.engine import Engine
from tests.oracle.histories import History
from tests.oracle.values import DAY_US, TODAY

NOW = TODAY * DAY_US


def subscribers() -> Book:
    """Write down a newsletter's life: subscribers who have no account, get one, leave it, and go."""
    book = Book()
    book.put("shop", "consent", "1", known="email ann@example.com", purpose="newsletter", granted=True, at=NOW)
    book.put("shop", "consent", "2", known="email Bob@example.com", purpose="newsletter", granted=False, at=NOW)
    book.put("books", "customer", "7", email="ann@example.com", first_name="Ann")  # meets the subscriber
    book.put("shop", "customer", "4", email="cyd@example.com")
    book.put("shop", "consent", "2", "4", known="email bob@example.com")  # got an account
    book.put("shop", "consent", "2", known="email bob@example.com")  # and left it
    book.put("shop", "consent", "3", known="email dan@example.com", purpose="newsletter", granted=True)
    book.put("shop", "consent", "3", granted=False)  # nobody's now
    book.put("shop", "consent", "4", known="email eve@example.com", purpose="newsletter", granted=True)
    book.rekey("shop", "consent", "4", "40")
    book.put("shop", "consent", "5", known="email fay@example.com", purpose="newsletter", granted=True)
    book.delete("shop", "consent", "5")
    book.put("shop", "interaction", "1", known="phone +48601000001", kind="chat", at=NOW)
    book.put("shop", "interaction", "2", "4", known="phone +48601000002", kind="call", at=NOW)
    book.put("shop", "interaction", "2", "4", kind="call", at=NOW)  # its phone is taken back
    book.put("shop", "address", "1", "4", known="phone 601 000 003", city="Gdynia", phone="601 000 003", country="PL")
    book.put("books", "customer", "8", phone="+48601000003", first_name="Cyd")
    return book


def profile_with(engine: Engine, kind: str, value: str) -> dict[str, Any]:
    """Find the live profile that an identifier leads to."""
    (found,) = [
        one
        for one in engine.drain(TODAY).values()
        if one["state"] == "live" and {"kind": kind, "value": value} in one["identifiers"]
    ]
    return found


def test_a_subscriber_without_account_is_found_by_the_e_mail_and_has_the_consent() -> None:
    book = Book()
    book.put("shop", "consent", "9", known="email Ann@Example.com", purpose="newsletter", granted=True, at=NOW)
    engine = play(history := book.history(), new_engine(history))
    found = profile_with(engine, "email", "ann@example.com")
    assert [(one["entity"], one["key"]) for one in found["accounts"]] == [("guest", "consent\x1f9")]
    assert (found["email"]["value"], found["email"]["rule"]) == ("ann@example.com", "only")
    assert [(one["purpose"], one["granted"]) for one in found["consents"]] == [("newsletter", True)]
    assert not wrong(history, engine)


def test_a_row_without_parent_and_identifiers_is_nobodys() -> None:
    book = Book()
    book.put("shop", "address", "1", city="Gdynia", phone="+48601000001")
    book.put("shop", "consent", "1", purpose="newsletter", granted=True)
    book.put("shop", "interaction", "1", kind="page", at=NOW)
    engine = play(history := book.history(), new_engine(history))
    assert engine.drain(TODAY) == {}


@pytest.mark.parametrize("size", [1, 3, 50])
def test_subscribers_come_to_accounts_and_leave_them(size: int) -> None:
    history = subscribers().history(size=size)
    engine = play(history, new_engine(history))
    assert not wrong(history, engine)
    assert len(profile_with(engine, "email", "ann@example.com")["accounts"]) == 2
    assert [one["key"] for one in profile_with(engine, "email", "eve@example.com")["accounts"]] == ["consent\x1f40"]
    assert len(profile_with(engine, "phone", "+48601000003")["accounts"]) == 2


@pytest.mark.slow
def test_a_crash_at_any_write_changes_nothing_of_it() -> None:
    history = subscribers().history(size=2)
    assert not wrong_crashes(history, lambda: new_engine(history))


Switch = Callable[[pytest.MonkeyPatch], None]


def _stands_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(from_rows, "_STANDING", frozenset())


def _tells_only_what_it_is(patch: pytest.MonkeyPatch) -> None:
    """A row does not tell the account that it was that it is gone."""
    make = from_rows._for_themselves

    def only_now(children: Any, at: Int64s, owner: Int64s, ids: Words, context: FoldContext) -> Any:
        some = make(children, at, owner, ids, context)
        return some.take(~some.gone)

    patch.setattr(from_rows, "_for_themselves", only_now)


def _asks_the_mapping_alone(patch: pytest.MonkeyPatch) -> None:
    bringing = from_rows.bringing_identifiers
    patch.setattr(from_rows, "bringing_identifiers", lambda kind, folded, _names: bringing(kind, folded, ()))


@pytest.mark.parametrize("switch", [_stands_for_nobody, _tells_only_what_it_is])
def test_without_a_rule_it_goes_wrong(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    history = subscribers().history(size=2)
    switch(monkeypatch)
    assert wrong(history, play(history, new_engine(history)))


@pytest.mark.slow
def test_the_arriving_row_alone_does_not_decide_what_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash behind the row's write leaves no trace of the identifiers that it had, so its table decides."""
    history = subscribers().history(size=1)
    _asks_the_mapping_alone(monkeypatch)
    assert wrong_crashes(history, lambda: new_engine(history), first_only=True)


def test_what_the_mapping_of_before_identified_is_taken_back() -> None:
    book = Book()
    book.put("shop", "consent", "1", known="email ann@example.com", purpose="newsletter", granted=True)
    history = book.history()
    engine = play(history, new_engine(history))
    assert len(engine.drain(TODAY)) == 1
    engine.context = replace(engine.context, identified=frozenset())
    engine.kill()
    book.put("shop", "consent", "1", purpose="newsletter", granted=True)
    later = book.history()
    engine = play(later, engine)
    assert not wrong(later, engine)
    assert engine.drain(TODAY) == {}


def people_who_write_in_several_ways() -> History:
    book = Book()
    book.put("shop", "consent", "1", known="phone 0 601 000 001", purpose="newsletter", granted=True)
    book.put("books", "interaction", "7", known="phone +48 22 123 45 67 ext. 12", kind="call")
    book.put("books", "customer", "8", phone="+48 22 123 45 67 ext. 12", country="PL")
    return book.history()


def test_their_identifiers_follow_new_rules_of_normalisation() -> None:
    history = people_who_write_in_several_ways()
    engine = upgraded(history)
    go_on(engine, 4)
    assert not wrong(history, engine)


def test_a_mapping_may_have_identifiers_in_place_of_a_parent() -> None:
    topics = entry("consent", purpose="'newsletter'") + "    identifiers: {email: email}\n"
    mapping = load_mapping(f"systems: {{s: {{}}}}\ntopics:\n  - match: s.t\n    system: s\n{topics}", "test.yaml")
    assert fold_context(mapping, IDS).identified == {"consent"}
    topic = Topic({"id": "int", "email": ["null", "string"]})
    topic.upsert(row={"id": 1, "email": "ann@example.com"})
    topic.upsert(row={"id": 2, "email": None})
    (found,) = topic.translator(topics).translate(topic.batch).entities
    assert found.frame["identifiers"].to_list() == ["email\x1fann@example.com", None]
    assert found.frame["parent"].to_list() == [None, None]
