"""What is found plain is what the patterns of `normalise` find."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from nurt.columnar.texts import Texts
from nurt.normalise.already_normal import plain_emails, plain_phones
from nurt.normalise.email import LOCAL_PART_LENGTH_MAX, to_email
from nurt.normalise.identifiers import _PLAIN_EMAIL
from nurt.normalise.phone import to_e164

_EMAIL = re.compile(_PLAIN_EMAIL.removesuffix("$") + r"\Z")


def texts_of(some: list[str]) -> Texts:
    encoded = [one.encode() for one in some]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return Texts(ends[:-1], ends[1:], np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8))


_piece = st.text(alphabet="ab9.-_+@ Aż\n", max_size=6)
emails = st.one_of(
    st.builds("{}@{}.{}".format, _piece, _piece, st.text(alphabet="abc9-", max_size=4)),
    st.text(alphabet="a9.-_+@", max_size=10),
    st.builds(lambda size: "a" * size + "@example.com", st.integers(45, 60)),
)
phones = st.one_of(
    st.builds(
        "+{}{}{}".format,
        st.sampled_from(sorted(COUNTRY_CODE_TO_REGION_CODE)),
        st.text("0189", max_size=3),
        st.text("0123456789"),
    ),
    st.text(alphabet="+48 0a", max_size=14),
)


@given(st.lists(emails, min_size=1, max_size=8))
def test_plain_emails_are_those_of_the_pattern(some: list[str]) -> None:
    expected = [bool(_EMAIL.match(one)) and len(one) <= LOCAL_PART_LENGTH_MAX for one in some]
    assert plain_emails(texts_of(some)).tolist() == expected
    assert all(to_email(one) == one for one, plain in zip(some, expected, strict=True) if plain)


@given(st.lists(phones, min_size=1, max_size=8), st.sampled_from([None, "PL", "DE", "US"]))
def test_plain_phones_are_left_as_they_are(some: list[str], country: str | None) -> None:
    plain = plain_phones(texts_of(some)).tolist()
    assert all(to_e164(one, country) == one for one, found in zip(some, plain, strict=True) if found)


@pytest.mark.parametrize("email", ["ann@example.com", "a.b+c_d-e@x9.a-b.pl", "1@2.co"])
def test_usual_emails_are_plain(email: str) -> None:
    assert plain_emails(texts_of([email])).all()


def test_usual_phones_are_plain() -> None:
    assert plain_phones(texts_of(["+48601234567", "+4915123456789", "+12025550123", "+420601234567"])).all()


def test_no_countrys_code_is_the_beginning_of_anothers() -> None:
    codes = [str(code) for code in COUNTRY_CODE_TO_REGION_CODE]
    assert not [(one, other) for one in codes for other in codes if one != other and other.startswith(one)]
