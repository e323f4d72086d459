"""Few texts are told apart whatever rows come between them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts

texts = st.lists(st.sampled_from(["", "a", "b", "ab", "ż"]), max_size=20)


def texts_of(some: list[str]) -> Texts:
    ends = np.cumsum([0, *(len(one.encode()) for one in some)], dtype=np.int64)
    return Texts(ends[:-1], ends[1:], np.frombuffer(b"".join(one.encode() for one in some), dtype=np.uint8))


@given(texts)
def test_a_text_has_the_code_of_its_name(some: list[str]) -> None:
    names = ["a", "ż", ""]
    expected = [names.index(one) if one in names else -1 for one in some]
    assert codes_of(texts_of(some), names).tolist() == expected
    assert codes_of(texts_of(some), []).tolist() == [-1] * len(some)
