"""Few texts are told apart whatever rows come between them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nurt.core.arrow_columns import Texts
from nurt.core.text_codes import codes_of, few_pairs

texts = st.lists(st.tuples(st.sampled_from(["", "a", "b", "ab", "ż"]), st.sampled_from(["", "b", "ba"])), max_size=20)


def texts_of(some: list[str], body: bytes = b"") -> Texts:
    ends = np.cumsum([0, *(len(one.encode()) for one in some)], dtype=np.int64)
    return Texts(ends[:-1], ends[1:], np.frombuffer(b"".join(one.encode() for one in some), dtype=np.uint8))


@given(texts)
def test_a_text_has_the_code_of_its_name(some: list[tuple[str, str]]) -> None:
    names = ["a", "ż", ""]
    firsts = [first for first, _ in some]
    expected = [names.index(first) if first in names else -1 for first in firsts]
    assert codes_of(texts_of(firsts), names).tolist() == expected
    assert codes_of(texts_of(firsts), []).tolist() == [-1] * len(some)


@given(texts)
def test_equal_pairs_have_equal_codes_in_order_of_first_appearance(some: list[tuple[str, str]]) -> None:
    both = texts_of([*(first for first, _ in some), *(second for _, second in some)])
    here, there = np.arange(len(some)), np.arange(len(some), 2 * len(some))
    codes, firsts = few_pairs(both.take(here), both.take(there))
    distinct = list(dict.fromkeys(some))
    assert codes.tolist() == [distinct.index(pair) for pair in some]
    assert [some[row] for row in firsts] == distinct
