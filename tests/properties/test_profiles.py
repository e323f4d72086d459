"""Profiles written by the kernel from accounts' slots: what a plain loop chooses and lists, as fastavro writes it."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.ids import Ids
from nurt.contracts import schemas
from nurt.contracts.profile_reader import read_profile
from nurt.errors import ConfigurationError, StateTooNew
from nurt.normalise.context import RULES, FoldContext
from nurt.profiles.golden_record.addresses import ADDRESS_FIELDS
from nurt.profiles.golden_record.check_schema import check_schema
from nurt.profiles.golden_record.survivorship import FIELDS, LAST_PRIORITY, ONLY, ROW, VERIFIED_BY
from nurt.profiles.golden_record.write import IDENTIFIERS, Profiles, write_redirects
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE, HEAD_PART
from nurt.state.table import OWNER
from tests.accounts import live_profiles, profile_id

SCHEMA = fastavro.parse_schema(schemas.load(schemas.PROFILE_VALUE))
SYSTEMS = ("shop", "erp", "Łódź")
CONTEXT = FoldContext(
    Ids(bytes(16)),
    priority={"shop": 2, "erp": 1, "none": 7},
    rules={
        "email": ("verified_first", "newest"),
        "first_name": ("most_frequent", "source_priority"),
        "birth_date": ("most_frequent", "newest"),
        "market": ("verified_first",),
        "country": (),
    },
)
PROFILES = Profiles(CONTEXT)
NUMBERS = {"birth_date": st.integers(-800_000, 3_000_000), "email_verified": st.booleans()}
NUMBERS |= {"phone_verified": st.booleans(), "updated_at": st.integers(0, 3), "granted": st.booleans()}
NUMBERS |= {"at": st.integers(0, 2), "created_at": st.integers(0, 2)}
WORDS = st.sampled_from(["", "a", "b", "ąż", "longer than a view holds"])
LINKS = st.lists(st.tuples(st.sampled_from(["email", "vat", ""]), WORDS), max_size=3).map(
    lambda links: "\x1e".join(f"{kind}\x1f{value}" for kind, value in links)
)
Slot = dict[str, Any]


def values_of(name: str) -> st.SearchStrategy[Any]:
    return NUMBERS.get(name, LINKS if name == "identifiers" else WORDS)


SAID = {name: st.none() | values_of(name) for name in ACCOUNT_RECORDS.columns}
SAID |= {"part": st.sampled_from([HEAD_PART, *(CODE[kind] for kind in ("customer", "order", "address", "consent"))])}
SAID |= {"child": st.binary(min_size=16, max_size=16), "stamp": st.just(1), "ts_ms": st.integers(0, 1)}
SAID |= {"system": st.sampled_from(SYSTEMS), "position": st.just("1:2::@3")}
SLOTS = st.lists(st.lists(st.fixed_dictionaries(SAID), max_size=6), min_size=1, max_size=3)
"""Slots by account; all accounts are one profile's."""


def packed(accounts: list[list[Slot]]) -> list[bytes | None]:
    rows = [{OWNER: owner, **slot} for owner, slots in enumerate(accounts) for slot in slots]
    return ACCOUNT_RECORDS.pack(
        pl.DataFrame(rows, schema={OWNER: pl.Int64(), **ACCOUNT_RECORDS.columns}), len(accounts)
    )


def read(accounts: list[list[Slot]], profiles: Profiles = PROFILES) -> dict[str, Any]:
    """Write one profile, and read it back; fastavro writes the same."""
    (body,), _ = live_profiles(profiles, [[(value, None) for value in packed(accounts)]], 20_000)
    return read_back(body)


def read_back(body: bytes) -> dict[str, Any]:
    profile = read_profile(body)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, profile)
    assert stream.getvalue() == body
    return profile


def day_text(day: int) -> str:
    series: pl.Series = pl.Series([day], dtype=pl.Int32).cast(pl.Date).dt.to_string("%Y-%m-%d")
    return str(series[0])


def chosen(name: str, people: list[Slot]) -> dict[str, Any] | None:
    held = [slot for slot in people if slot[name] is not None]
    often = Counter(slot[name] for slot in held)
    rules = [rule for rule in CONTEXT.rules.get(name, RULES) if rule != "verified_first" or name in VERIFIED_BY]

    def rank(slot: Slot) -> list[int]:
        by_rule = {
            "verified_first": 1 - bool(slot[VERIFIED_BY[name]]) if name in VERIFIED_BY else 0,
            "most_frequent": -often[slot[name]],
            "source_priority": CONTEXT.priority.get(slot["system"], LAST_PRIORITY),
            "newest": -(slot["ts_ms"] * 1000 if slot["updated_at"] is None else slot["updated_at"]),
        }
        return [by_rule[rule] for rule in rules]

    if not held:
        return None
    won = min(held, key=lambda slot: (rank(slot), slot["child"]))
    told = [
        next((k for k in range(len(rules)) if rank(slot)[k] != rank(won)[k]), len(rules))
        for slot in held
        if slot[name] != won[name]
    ]
    return {
        "value": day_text(won[name]) if name == "birth_date" else won[name],
        "system": won["system"],
        "row": won["child"].hex(),
        "position": won["position"],
        "rule": [*rules, ROW][min(told)] if told else ONLY,
    }


def speakers(slot: Slot) -> list[Slot]:
    """Give what a slot says of a person; by its identifiers, of which the smallest of each kind is a field."""
    own = [slot] if slot["part"] in (CODE["customer"], CODE["order"]) else []
    if slot["identifiers"] is None or slot["part"] == CODE["customer"]:
        return own
    pairs = [link.split("\x1f") for link in slot["identifiers"].split("\x1e") if link]
    smallest = {kind: value for kind, value in sorted(pairs, reverse=True) if kind in IDENTIFIERS}
    kept = {name: slot[name] for name in ("part", "child", "system", "position", "ts_ms", "identifiers")}
    return [*own, dict.fromkeys(slot) | kept | smallest]


def addresses_of(slots: list[Slot]) -> list[dict[str, Any]]:
    """List distinct addresses by their smallest row, with a count."""
    groups: dict[Any, dict[str, Any]] = {}
    for slot in sorted(slots, key=lambda slot: slot["child"]):
        if slot["part"] == CODE["address"]:
            told = {name: slot[name] for name in ADDRESS_FIELDS}
            address = {"system": slot["system"], "row": slot["child"].hex(), **told, "count": 0}
            groups.setdefault((slot["system"], *told.values()), address)["count"] += 1
    return list(groups.values())


@given(SLOTS)
def test_a_profile_chooses_and_lists_what_its_slots_say(accounts: list[list[Slot]]) -> None:
    profile = read(accounts)
    slots = [slot for of_one in accounts for slot in of_one]
    people = [said for slot in slots for said in speakers(slot)]
    assert {name: profile[name] for name in FIELDS} == {name: chosen(name, people) for name in FIELDS}
    links = {(kind, slot[kind]) for slot in people for kind in IDENTIFIERS if slot[kind] is not None}
    texts = [slot["identifiers"] for slot in people if slot["identifiers"]]
    links |= {tuple(link.split("\x1f")) for text in texts for link in text.split("\x1e")}
    assert profile["identifiers"] == [{"kind": kind, "value": value} for kind, value in sorted(links)]
    by_row = sorted(slots, key=lambda slot: slot["child"])
    assert profile["addresses"] == addresses_of(slots)
    assert profile["accounts"] == [
        {
            "account": slot["child"].hex(),
            "system": slot["system"],
            "entity": slot["entity"] or "",
            "key": slot["key"] or "",
        }
        for slot in by_row
        if slot["part"] == HEAD_PART
    ]


@given(SLOTS)
def test_of_a_purpose_the_latest_consent_counts(accounts: list[list[Slot]]) -> None:
    consents = [slot for of_one in accounts for slot in of_one if slot["part"] == CODE["consent"]]
    consents = [slot for slot in consents if slot["purpose"] is not None]
    consents.sort(key=lambda slot: (slot["at"] is not None, slot["at"] or 0, slot["child"]))
    latest = {slot["purpose"]: slot for slot in consents}
    assert read(accounts)["consents"] == [
        {
            "purpose": purpose,
            "granted": slot["granted"],
            "at": None if slot["at"] is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=slot["at"]),
            "system": slot["system"],
            "row": slot["child"].hex(),
        }
        for purpose, slot in sorted(latest.items())
    ]


@given(st.integers(-96_465_292, 95_026_236))
def test_a_day_of_birth_is_written_as_polars_writes_it(day: int) -> None:
    slot = dict.fromkeys(ACCOUNT_RECORDS.columns) | {"part": CODE["customer"], "child": bytes(16), "birth_date": day}
    assert read([[slot]])["birth_date"]["value"] == day_text(day)


def test_a_day_that_no_calendar_holds_is_written_all_the_same() -> None:
    slot = dict.fromkeys(ACCOUNT_RECORDS.columns) | {"part": CODE["customer"], "child": bytes(16), "birth_date": 2**31}
    assert read([[slot]])["birth_date"]["value"].startswith("+58")


def test_profiles_are_written_one_after_another_whatever_their_size() -> None:
    def person(number: int, name: str) -> Slot:
        said = {"part": CODE["customer"], "child": profile_id(number), "stamp": 1, "system": "shop", "first_name": name}
        return dict.fromkeys(ACCOUNT_RECORDS.columns) | said | {"identifiers": "\x1e".join(["k\x1fv"] * (number % 7))}

    many = [[person(number, f"{number:05}" * (number % 50)) for number in range(400)]]
    one = [[person(number, "x" * 1_000 * number)] for number in range(60)]
    nothing: list[list[Slot]] = [[]]
    profiles = [*one, *many, *nothing, *one]
    accounts = [[(value, None) for value in packed([slots])] for slots in profiles]
    bodies, due = live_profiles(PROFILES, accounts, 20_000)
    assert due == [-1] * len(profiles)
    for number, (body, slots) in enumerate(zip(bodies, profiles, strict=True)):
        profile = read_back(body)
        assert profile["id"] == profile_id(number).hex()
        alone, _ = live_profiles(PROFILES, [[(packed([slots])[0], None)]], 20_000)
        assert body[33:] == alone[0][33:]


def test_redirects_say_where_and_nothing_else() -> None:
    joined, places = write_redirects([profile_id(1), profile_id(2)], ["eu", "us"], [profile_id(3), profile_id(4)])
    found = [read_back(joined[places[at] : places[at + 1]].tobytes()) for at in range(2)]
    assert [(one["id"], one["realm"], one["redirect_to"]) for one in found] == [
        (profile_id(1).hex(), "eu", profile_id(3).hex()),
        (profile_id(2).hex(), "us", profile_id(4).hex()),
    ]
    for one in found:
        assert (one["state"], one["as_of"]) == ("redirect", date(1970, 1, 1))
        assert not any(one[name] for name in (*FIELDS, "identifiers", "addresses", "accounts", "orders", "consents"))


@pytest.mark.parametrize("value", [b"\x02", b"\x01" + b"\xff" * 8 + b"\x01"])
@pytest.mark.parametrize("of_sums", [False, True])
def test_an_account_of_a_later_version_is_refused(value: bytes, of_sums: bool) -> None:
    with pytest.raises(StateTooNew, match="accounts"):
        live_profiles(PROFILES, [[(None, value) if of_sums else (value, None)]], 20_000)


def test_another_schema_is_refused_at_the_start() -> None:
    schema = schemas.load(schemas.PROFILE_VALUE)
    check_schema(schema)
    schema["fields"] = [*schema["fields"], {"name": "more", "type": "long", "default": 0}]
    with pytest.raises(ConfigurationError, match="profiles"):
        check_schema(schema)
