"""Keys, values and headers as columns mean what lists of them mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nurt.debezium.payloads import Payloads, SparseHeaders, int64s
from nurt.debezium.wire import NOT_CONFLUENT, NULL, split_wire
from nurt.model.raw import RawBatch, RawRows, is_requeued

messages = st.lists(st.none() | st.binary(max_size=40), max_size=8)


@given(messages, st.integers(0, 8), st.integers(0, 8))
def test_laid_end_to_end_and_read_one_by_one_messages_are_what_they_were(
    given: list[bytes | None], start: int, end: int
) -> None:
    payloads = Payloads.of(given)
    assert list(payloads) == given == [payloads[at] for at in range(len(given))]
    part = payloads[start:end]
    assert list(part) == given[start:end] == [part[at] for at in range(len(part))]
    assert list(part[1:]) == given[start:end][1:]
    assert Payloads.of(part) is part


@given(messages)
def test_a_part_has_only_its_own_bytes_and_padding(given: list[bytes | None]) -> None:
    payloads = Payloads.of(given)
    part = payloads[1:2]
    assert part.joined.data.size <= sum(len(one or b"") for one in given[1:2]) + 16
    assert split_wire(part).schema_ids.tolist() == split_wire(given[1:2]).schema_ids.tolist()


def test_an_empty_message_is_not_a_null_one() -> None:
    wire = split_wire([b"", None, b"\0\0\0\0\7", None, b"\1\0\0\0\7"])
    assert wire.schema_ids.tolist() == [NOT_CONFLUENT, NULL, 7, NULL, NOT_CONFLUENT]


def test_headers_are_held_for_those_that_have_some() -> None:
    headers = SparseHeaders(5, {3: [("nurt-requeued", b"t:0:0")]})
    assert list(headers) == [None, None, None, [("nurt-requeued", b"t:0:0")], None]
    assert list(headers[2:4]) == [None, [("nurt-requeued", b"t:0:0")]]
    batch = RawBatch("t", int64s([0] * 5), int64s(range(5)), int64s([0] * 5), [None] * 5, [None] * 5, headers)
    assert [is_requeued(batch, row) for row in range(5)] == [False, False, False, True, False]


def test_messages_met_one_by_one_become_a_batch() -> None:
    rows = RawRows("t", "folder")
    rows.add(1, 7, 99, b"k", None, [("h", b"v")])
    batch = rows.batch()
    assert (batch.topic, batch.schemas, len(batch)) == ("t", "folder", 1)
    assert (batch.partitions[0], batch.offsets[0], batch.timestamps_ms[0]) == (1, 7, 99)
    assert (batch.keys[0], batch.values[0], batch.headers[0]) == (b"k", None, [("h", b"v")])
