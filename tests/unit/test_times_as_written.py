"""Times mean the same in every `time.precision.mode`: tests/fixtures/times has what Debezium's own converters wrote."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from nurt.avro import compile_reader
from nurt.debezium.change_reader import ColumnReader
from nurt.debezium.conventions import Conventions
from nurt.model.refusal import Reason
from tests.envelopes import Topic, connect, entry

WARSAW = "Europe/Warsaw"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MODES = ["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"]
AVRO = {"int32": "int", "int64": "long", "string": "string"}
WRITTEN = json.loads((Path(__file__).parents[1] / "fixtures/times/times.json").read_text())
NANOSECONDS = range(1678, 2262)  # years; Debezium wraps others around in 64 bits, before anyone can tell
INFINITE = ("+294247-", "-290308-")


def meant(kind: str, text: str, connect_name: str, written: Any) -> int | None:
    """What the database meant, as a field holds it: days, or microseconds since 1970; None: no calendar holds it."""
    if text[0] in "+-" or text.startswith("0000"):
        return None
    if kind == "date":
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    moment = datetime.fromisoformat(text)
    if kind == "clock":
        moment = moment.replace(tzinfo=ZoneInfo(WARSAW), fold=0)
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    cut = connect_name.endswith(".Timestamp") or (
        isinstance(written, str) and "." in written and "123456" not in written
    )
    return micros // 1000 * 1000 if cut else micros


def columns(mode: str, kinds: tuple[str, ...]) -> dict[tuple[str, str, str], list[tuple[Any, str]]]:
    """What a mode wrote: (kind, Avro type, Connect's name) -> written values, with what they were."""
    found: dict[tuple[str, str, str], list[tuple[Any, str]]] = defaultdict(list)
    for _, of_mode, _, kind, text, type_, name, value in WRITTEN:
        wraps = name.endswith("NanoTimestamp") and not text.startswith(INFINITE)
        if of_mode != mode or kind not in kinds or (wraps and (text[0] == "+" or int(text[:4]) not in NANOSECONDS)):
            continue
        found[kind, AVRO[type_], name].append((value, text))
    return found


@pytest.mark.parametrize("form", ["envelope", "flattened"])
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_writes_what_the_database_holds(mode: str, form: str) -> None:
    tried = columns(mode, ("date", "clock", "instant"))
    assert {kind for kind, *_ in tried} == {"date", "clock", "instant"}
    for (kind, avro, name), values in tried.items():
        topic = Topic({"id": "int", "x": ["null", connect(avro, name)]})
        for number, (value, _) in enumerate(values):
            row = {"id": number, "x": value}
            if form == "envelope":
                topic.upsert(row=row)
            else:
                topic.flattened(row)
        field = "birth_date" if kind == "date" else "created_at"
        translated = topic.translator(entry(**{field: "x"}), WARSAW).translate(topic.batch)
        assert translated.refused == []
        found = translated.entities[0].frame[field].to_list()
        assert found == [meant(kind, text, name, value) for value, text in values], name


@pytest.mark.parametrize("mode", MODES)
def test_a_time_of_day_is_microseconds_or_the_text_that_was_written(mode: str) -> None:
    for (_, avro, name), values in columns(mode, ("time",)).items():
        topic = Topic({"id": "int", "x": ["null", connect(avro, name)]})
        reader = ColumnReader(topic.schemas[2], "after.", ["x"], Conventions(WARSAW))
        messages = [topic.envelope("c", None, {"id": 1, "x": value}) for value, _ in values]
        found = reader.decode(compile_reader(topic.schemas[2], reader.paths).read(messages).columns)["x"].column
        if found.dtype == pl.String:
            assert found.to_list() == [value for value, _ in values]
            continue
        whole = [time.fromisoformat(text) for _, text in values]
        micros = [((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000 + at.microsecond for at in whole]
        assert [abs(a - b) < 1_000 for a, b in zip(found.to_list(), micros, strict=True)] == [True] * len(values)


ISO = "io.debezium.time.Iso"
ODD: list[tuple[str, str, str]] = [
    ("Date", "birth_date", "17.05.1988"),
    ("Date", "birth_date", "1988-13-17Z"),
    ("Date", "birth_date", "1988-05"),
    ("Timestamp", "created_at", "2026-09-01T24:61:00Z"),
    ("Timestamp", "created_at", "1788222600"),
    ("Timestamp", "created_at", "2026-W36-2T00:30:00Z"),
]


@pytest.mark.parametrize(("name", "field", "text"), ODD)
def test_a_text_that_is_no_time_of_its_declared_type_goes_to_quarantine_alone(name: str, field: str, text: str) -> None:
    good = {"Date": "1988-05-17Z", "Timestamp": "2026-09-01T00:30:00Z"}[name]
    topic = Topic({"id": "int", "x": ["null", connect("string", ISO + name)]})
    for number, value in enumerate([good, text, None, good]):
        topic.upsert(row={"id": number, "x": value})
    translated = topic.translator(entry(**{field: "x"})).translate(topic.batch)
    assert [(refused.offset, refused.reason) for refused in translated.refused] == [(1, Reason.UNREAD)]
    assert text not in translated.refused[0].detail
    assert translated.entities[0].frame["key"].to_list() == ["0", "2", "3"]


@pytest.mark.parametrize(
    ("name", "field", "text"),
    [
        *[("Date", "birth_date", text) for text in ("0000-00-00", "0000-01-01Z", "-0044-03-15Z", "1988-02-30", "")],
        *[("Timestamp", "created_at", text) for text in ("infinity", "-Infinity", "10000-01-01T00:00:00Z", " ")],
        ("Timestamp", "created_at", "0044-03-15 00:00:00 BC"),
        ("Timestamp", "created_at", "2026-00-00 00:00:00"),
    ],
)
def test_what_no_calendar_holds_is_null_and_the_row_stays(name: str, field: str, text: str) -> None:
    topic = Topic({"id": "int", "x": ["null", connect("string", ISO + name)]})
    topic.upsert(row={"id": 1, "x": text})
    translated = topic.translator(entry(**{field: "x"}), WARSAW).translate(topic.batch)
    assert translated.refused == []
    assert translated.entities[0].frame[field].to_list() == [None]


def test_a_wall_clock_with_another_offset_than_z_is_an_instant() -> None:
    topic = Topic({"id": "int", "x": connect("string", ISO + "Timestamp")})
    for text in ("2026-09-01T00:30:00Z", "2026-09-01T00:30:00", "2026-09-01T00:30:00+05:00"):
        topic.upsert(row={"id": 1, "x": text})
    frame = topic.translator(entry(created_at="x"), WARSAW).translate(topic.batch).entities[0].frame
    hours = [datetime.fromtimestamp(micros / 1e6, UTC).hour for micros in frame["created_at"].to_list()]
    assert hours == [22, 22, 19]


def test_a_delete_does_not_need_its_times() -> None:
    topic = Topic({"id": "int", "x": connect("string", ISO + "Date")})
    topic.delete({"id": 1, "x": "?"})
    translated = topic.translator(entry(birth_date="x")).translate(topic.batch)
    assert (translated.refused, translated.entities[0].frame.height) == ([], 1)


@pytest.mark.parametrize(("text", "day"), [("1988-05-17Z", 6711), ("1988-05-17+02:00", 6711), ("1988-05-17", 6711)])
def test_a_date_with_an_offset_is_read_from_plain_text_too(text: str, day: int) -> None:
    topic = Topic({"id": "int", "x": "string"})
    topic.upsert(row={"id": 1, "x": text})
    frame = topic.translator(entry(birth_date="x", created_at="x"), WARSAW).translate(topic.batch).entities[0].frame
    assert frame["birth_date"].to_list() == [day]
    assert frame["created_at"][0] // 86_400_000_000 in (day - 1, day)
