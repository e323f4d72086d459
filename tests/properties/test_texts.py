"""Texts in arrays: made columns and joined as plain Python does it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.texts import Texts, coded_texts, join_texts

WORDS = st.text("aąz", max_size=2) | st.text(max_size=20)


def texts_of(texts: list[str]) -> Texts:
    """Lay texts down with a gap before each, so that none begins where another ends."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) + 1 for text in encoded], dtype=np.int64)
    starts = ends - np.array([len(text) for text in encoded], dtype=np.int64)
    return Texts(starts, ends, np.frombuffer(b"".join(b"." + text for text in encoded), dtype=np.uint8))


@given(st.lists(st.none() | WORDS, max_size=40))
def test_a_column_of_texts_holds_them(texts: list[str | None]) -> None:
    held = texts_of([text or "" for text in texts])
    valid = np.array([text is not None for text in texts], dtype=np.bool_)
    assert held.column(valid).to_pylist() == texts
    assert held.plain() == [(text or "").encode() for text in texts]


def test_joined_texts_share_a_body_that_occurs_twice() -> None:
    both = texts_of(["ab", "c"])
    joined = join_texts([both.take(np.array([1])), coded_texts(np.array([0]), ["kind"]), both])
    assert joined.plain() == [b"c", b"kind", b"ab", b"c"]
    assert len(joined.body) == len(both.body) + len("kind")
