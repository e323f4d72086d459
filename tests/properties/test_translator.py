"""Whatever arrives, every message ends in exactly one place, and damage to one never touches another."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from nurt.model.raw import RawBatch
from tests.corpus_messages import (
    FOLDERS,
    IDS,
    TABLES,
    accounted,
    batches,
    outcomes,
    schemas,
    select,
    translator,
    with_value,
)
from tests.hypothesis_profiles import examples
from tests.naive_translator import Naive

TOPICS = [(folder, topic) for folder in FOLDERS for topic in batches(folder) if topic in TABLES]


@lru_cache(maxsize=64)
def captured(folder: str, topic: str) -> RawBatch:
    return batches(folder)[topic]


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, RawBatch, int]:
    """A captured batch with one message damaged: bits turned, bytes cut, added, or all made up."""
    folder, topic = draw(st.sampled_from(TOPICS))
    batch = captured(folder, topic)
    row = draw(st.sampled_from([row for row in range(len(batch)) if batch.values[row] is not None]))
    value = bytearray(batch.values[row] or b"")
    how = draw(st.sampled_from(["bits", "cut", "added", "replaced", "invented"]))
    if how == "bits":
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, min(len(value), 400) - 1))
            value[at] ^= 1 << draw(st.integers(0, 7))
    elif how == "cut":
        del value[draw(st.integers(0, len(value) - 1)) :]
    elif how == "added":
        value += draw(st.binary(min_size=1, max_size=20))
    elif how == "replaced":
        at = draw(st.integers(0, len(value) - 1))
        value[at : at + 4] = draw(st.binary(min_size=4, max_size=4))
    else:
        value = bytearray(draw(st.binary(max_size=40)))
        if draw(st.booleans()):
            value[:5] = (batch.values[row] or b"")[:5]
    return folder, with_value(batch, row, bytes(value)), row


@given(damages())
@settings(max_examples=examples(400), deadline=None)
def test_damage_to_one_message_leaves_the_others_as_they_were(case: tuple[str, RawBatch, int]) -> None:
    folder, damaged, row = case
    translated = translator(folder).translate(damaged)
    assert accounted(translated) == len(damaged)
    found = outcomes(damaged, translated)
    # the neighbours are what they are in a batch without the damaged message, but for what it says of time
    others = select(damaged, [i for i in range(len(damaged)) if i != row])
    said = dict(zip(others.offsets, outcomes(others, translator(folder).translate(others)), strict=True))
    for place, end in enumerate(found):
        if place != row and damaged.values[place] is not None:
            assert _timeless(end) == _timeless(said[damaged.offsets[place]])


@given(damages())
@settings(max_examples=examples(400), deadline=None)
def test_a_damaged_message_is_refused_or_means_what_a_naive_reading_says(case: tuple[str, RawBatch, int]) -> None:
    folder, damaged, row = case
    (end,) = outcomes(one := select(damaged, [row]), translator(folder).translate(one))
    try:
        (expected,) = Naive(schemas(folder), TABLES, IDS).say(one)
    except Exception:
        return  # damage that plain Python chokes on, as an overlong number; that neighbours live is said above
    if expected == ("refused", "body_does_not_match_schema"):
        return  # fastavro reads texts that nobody asked for, we pass over them
    if end[0] == "refused":
        assert end[1] in ("body_does_not_match_schema", "value_out_of_range", "row_without_key") or end == expected
    elif end[0] == "not_ours":
        assert expected[0] == "not_ours"
    else:
        assert end == expected


keys = st.one_of(st.none(), st.binary(max_size=12), st.just(b'{"id": 1}'), st.just(b"\0\0\0\0\x05\x02"))
headers = st.one_of(
    st.none(),
    st.lists(
        st.tuples(
            st.sampled_from(["__debezium.newkey", "__debezium.oldkey", "x"]),
            st.one_of(st.none(), st.binary(max_size=12), st.just(b'{"id": 7}')),
        ),
        max_size=3,
    ),
)


@given(st.data())
@settings(max_examples=examples(200), deadline=None)
def test_garbage_is_accounted_for(data: st.DataObject) -> None:
    folder = data.draw(st.sampled_from(FOLDERS))
    ids = [b"\0" + id_.to_bytes(4, "big") for id_ in schemas(folder)]
    values = st.one_of(
        st.none(),
        st.binary(max_size=60),
        st.builds(lambda header, body: header + body, st.sampled_from(ids), st.binary(max_size=60)),
    )
    messages = data.draw(st.lists(st.tuples(keys, values, headers, st.integers(0, 3)), max_size=12))
    topic = data.draw(st.sampled_from([*TABLES, "unmapped", "__debezium-heartbeat.x", "nurt.damaged"]))
    batch = RawBatch(
        topic,
        [partition for *_, partition in messages],
        list(range(len(messages))),
        [0] * len(messages),
        [key for key, *_ in messages],
        [value for _, value, *_ in messages],
        [header for _, _, header, _ in messages],
    )
    translate = translator(folder).translate
    assert accounted(translate(batch)) == len(batch)
    assert accounted(translate(batch)) == len(batch)


@given(st.sampled_from(TOPICS), st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=examples(60), deadline=None)
def test_captured_messages_spread_over_partitions_mean_the_same(
    place: tuple[str, str], random: Any, width: int
) -> None:
    folder, topic = place
    batch = captured(folder, topic)
    partitions = [random.randrange(width) for _ in range(len(batch))]
    spread = RawBatch(topic, partitions, *(getattr(batch, name) for name in batch.__slots__[2:]))
    naive = Naive(schemas(folder), TABLES, IDS)
    translate = translator(folder).translate
    cut = random.randrange(len(batch) + 1)
    for part in (select(spread, range(cut)), select(spread, range(cut, len(batch)))):
        translated = translate(part)
        assert accounted(translated) == len(part)
        said = [end for end in naive.say(part) if end[0] != "not_ours"]
        assert [end for end in outcomes(part, translated) if end[0] != "not_ours"] == said


def _timeless(end: tuple[str, Any]) -> tuple[str, Any]:
    """Leave out the source epoch, which a neighbour rightly decides."""
    if end[0] == "row":
        return "row", {name: value for name, value in end[1].items() if name != "source_epoch"}
    return (end[0], end[1][1]) if end[0] == "truncated" else end
