"""Frames cross between processes as Arrow IPC, whole."""

from __future__ import annotations

import pickle
from typing import NoReturn

import numpy as np
import polars as pl
import pytest

import nurt.runtime.profile_steps  # the flow's steps decide how frames are pickled
from nurt.columnar.texts import Texts
from nurt.model.entity_frame import EntityFrame, Translated, entity_columns
from nurt.rows.children.contributions import Contributions, ContributionSet, no_contributions

assert nurt.runtime.profile_steps

LETTERS = np.frombuffer(b"abc", dtype=np.uint8)
FRAME = pl.DataFrame(
    {
        "to": [b"\x00" * 16, None],
        "gone": [True, None],
        "sku": ["Łódź", None],
        "empty": ["", ""],
        "amount": [-(1 << 62), None],
        "op": pl.Series([1, 0], dtype=pl.Int8),
        "none": pl.Series([None, None], dtype=pl.String),
    }
)


@pytest.mark.parametrize("frame", [FRAME, FRAME.clear(), FRAME[1:], pl.concat([FRAME, FRAME], rechunk=False)])
def test_a_frame_is_the_same_on_the_other_side(frame: pl.DataFrame) -> None:
    crossed = pickle.loads(pickle.dumps(frame))
    assert crossed.schema == frame.schema
    assert crossed.equals(frame)


def test_what_the_stages_say_crosses_in_whole() -> None:
    ids, numbers, texts = (
        np.arange(4, dtype=np.uint64).reshape(2, 2),
        np.arange(2),
        Texts(*np.array([[0, 1], [1, 3]]), LETTERS),
    )
    one = Contributions(ids, ids, numbers, numbers, numbers == 1, texts, texts, texts, texts, ids)
    contributions = pickle.loads(
        pickle.dumps(ContributionSet(one, no_contributions(), one.take(np.array([1])).compact()))
    )
    assert contributions.to_orders.to.tolist() == [[0, 1], [2, 3]]
    assert contributions.to_orders.body.plain() == [b"a", b"bc"]
    assert not len(contributions.records)
    assert (contributions.partials.key.plain(), contributions.partials.gone.tolist()) == ([b"bc"], [True])
    frame = pl.DataFrame(schema=entity_columns("order"))
    translated = pickle.loads(pickle.dumps(Translated([EntityFrame("order", frame)])))
    assert translated.entities[0].frame.schema == frame.schema


def test_polars_own_pickling_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its threads with the interpreter's lock in hand, and they may wait for that lock."""

    def refuse(_: pl.DataFrame) -> NoReturn:
        raise AssertionError("pickled by polars")

    monkeypatch.setattr(pl.DataFrame, "__getstate__", refuse)
    assert pickle.loads(pickle.dumps(FRAME.clear())).is_empty()
