"""Slots and sums, folded by kernels over packed bytes, hold what plain dictionaries would."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.texts import Texts
from nurt.columnar.values import Values
from nurt.profiles.accounts import newest_partials
from nurt.profiles.fold_aggregates import fold_aggregates
from nurt.rows.children.contributions import Contributions, no_ids, no_texts
from nurt.rows.children.records import fold_records
from nurt.rows.children.tables import ACCOUNT_RECORDS, AGGREGATE_COLUMNS, AGGREGATES, CHILDREN, HEAD_PART, STAMP
from nurt.state.table import OWNER, Table

OWNERS = 3
Bucket = tuple[int, str, str, int | None]


@dataclass(frozen=True)
class Saying:
    """One contribution: whose, of which child, when, and what; None: it is gone."""

    owner: int
    child: int
    stamp: int
    what: Any


def texts_of(some: list[bytes]) -> Texts:
    ends = np.cumsum([0, *map(len, some)], dtype=np.int64)
    return Texts(ends[:-1], ends[1:], np.frombuffer(b"".join(some), dtype=np.uint8))


def contributions(sayings: list[Saying], bodies: list[bytes], part: int) -> tuple[Any, Contributions]:
    rows, none = len(sayings), no_texts(len(sayings))
    child = np.array([[one.child, one.child] for one in sayings], dtype=np.uint64).reshape(-1, 2)
    stamps = np.array([one.stamp for one in sayings], dtype=np.int64)
    gone = np.array([one.what is None for one in sayings], dtype=np.bool_)
    parts = np.full(rows, part, dtype=np.int64)
    said = Contributions(child, child, stamps, parts, gone, texts_of(bodies), none, none, none, no_ids(rows))
    return np.array([one.owner for one in sayings], dtype=np.int64), said


def batches_of(what: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Saying]]]:
    saying = st.builds(Saying, st.integers(0, OWNERS - 1), st.integers(0, 4), st.integers(1, 6), st.none() | what)
    return st.lists(st.lists(saying, min_size=1, max_size=8), min_size=1, max_size=5)


# --- slots ---------------------------------------------------------------------------------------


@given(batches_of(st.text(max_size=3)))
def test_the_newest_slot_of_every_child_is_held(batches: list[list[Saying]]) -> None:
    values: list[bytes | None] = [None] * OWNERS
    held: dict[tuple[int, int], Saying] = {}
    for batch in batches:
        bodies = [slot(one) for one in batch]
        folded = fold_records(ACCOUNT_RECORDS, Values.of(values), *contributions(batch, bodies, 1), uncounted=HEAD_PART)
        before, values = values, folded.values.plain()
        assert folded.changed.tolist() == [now != was for now, was in zip(values, before, strict=True)]
        # who is gone leaves no stamp behind, so within a batch only does an older one not come back
        best: dict[tuple[int, int], Saying] = dict(held)
        for one in batch:
            before = best.get((one.owner, one.child))
            if before is None or one.stamp >= before.stamp:
                best[one.owner, one.child] = one
        held = {key: one for key, one in best.items() if one.what is not None}
        found = ACCOUNT_RECORDS.unpack(values).select(OWNER, "child", "stamp", "email").rows()
        assert Counter(found) == Counter(
            (one.owner, one.child.to_bytes(8, "little") * 2, one.stamp, one.what) for one in held.values()
        )
        assert folded.has_counted.tolist() == [any(key[0] == owner for key in held) for owner in range(OWNERS)]


def slot(one: Saying) -> bytes:
    if one.what is None:
        return b""
    row = {"part": 1, "child": one.child.to_bytes(8, "little") * 2, "stamp": one.stamp, "email": one.what}
    schema = {name: ACCOUNT_RECORDS.columns[name] for name in row}
    return packed_rows(ACCOUNT_RECORDS, pl.DataFrame([row], schema=schema))


def packed_rows(table: Table, frame: pl.DataFrame) -> bytes:
    """Pack rows as contributions hold them: a value without its version byte."""
    value = table.pack(frame.with_columns(pl.lit(0, pl.Int64).alias(OWNER)), 1)[0]
    assert value is not None
    return value[1:]


# --- sums ----------------------------------------------------------------------------------------

numbers = st.tuples(*[st.sampled_from([0, 0, 1, -1, 5, -5, 1 << 40])] * len(AGGREGATE_COLUMNS))
buckets = st.tuples(
    st.integers(1, 2), st.sampled_from(["", "a", "ab"]), st.sampled_from(["", "b"]), st.sampled_from([None, 0, -1, 7])
)
shares = st.dictionaries(buckets, numbers, max_size=12)


@given(batches_of(shares))
def test_sums_are_what_the_newest_shares_add_up_to(batches: list[list[Saying]]) -> None:
    sums: list[bytes | None] = [None] * OWNERS
    stored: dict[tuple[int, int], bytes | None] = {}
    truth: dict[tuple[int, int], Saying] = {}
    for batch in batches:
        newest = newest_partials(*contributions(batch, [share(one.what) for one in batch], 3))
        pairs = list(zip(newest.owner.tolist(), newest.contributions.child[:, 0].tolist(), strict=True))
        before = list(sums)
        folded = fold_aggregates(
            newest.owner, newest.contributions, Values.of(sums), Values.of([stored.get(pair) for pair in pairs])
        )
        now = zip(sums, folded.aggregates.plain(), folded.same.tolist(), strict=True)
        sums = [was if same else value for was, value, same in now]
        for pair, value, fresh in zip(pairs, folded.partials.plain(), folded.fresh.tolist(), strict=True):
            if fresh:
                stored[pair] = value
        settle(truth, batch)
        expected: dict[int, Counter[tuple[Bucket, str]]] = defaultdict(Counter)
        for (owner, _), one in truth.items():
            expected[owner][(CHILDREN, "", "", None), "count"] += 1
            for bucket, added in one.what.items():
                for name, number in zip(AGGREGATE_COLUMNS, added, strict=True):
                    expected[owner][bucket, name] += number
        for owner in range(OWNERS):
            assert plain(sums[owner]) == {key: number for key, number in expected[owner].items() if number}
            assert sums[owner] is before[owner] or plain(sums[owner]) != plain(before[owner])
    for pair, value in stored.items():
        assert (value is None) == (pair not in truth)


def settle(truth: dict[tuple[int, int], Saying], batch: list[Saying]) -> None:
    """Let the newest of a batch replace what is kept, unless that is newer still."""
    newest: dict[tuple[int, int], Saying] = {}
    for one in batch:
        key = one.owner, one.child
        if key not in newest or one.stamp >= newest[key].stamp:
            newest[key] = one
    for key, one in newest.items():
        if key in truth and one.stamp < truth[key].stamp:
            continue
        truth.pop(key, None)
        if one.what is not None:
            truth[key] = one


def share(what: dict[Bucket, tuple[int, ...]] | None) -> bytes:
    """Pack a share as rows and orders say it."""
    if what is None:
        return b""
    rows = [
        (CHILDREN, "", "", None, 1, *[0] * (len(AGGREGATE_COLUMNS) - 1)),
        *((*bucket, *added) for bucket, added in what.items()),
    ]
    frame = pl.DataFrame(rows, schema=AGGREGATES.columns, orient="row")
    texts = [pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in ("k1", "k2")]
    return packed_rows(AGGREGATES, frame.with_columns(texts))


def plain(value: bytes | None) -> dict[tuple[Bucket, str], int]:
    found: dict[tuple[Bucket, str], int] = {}
    for row in AGGREGATES.unpack([value]).iter_rows(named=True):
        assert row["metric"] != STAMP, "a share's stamp is no sum"
        bucket = row["metric"], row["k1"] or "", row["k2"] or "", row["day"]
        for name in AGGREGATE_COLUMNS:
            if row[name]:
                assert (bucket, name) not in found, "a key has one row"
                found[bucket, name] = row[name]
    return found
