from __future__ import annotations

import pytest

from nurt.contracts.profile_reader import read_profile
from nurt.contracts.profile_tables import decode
from nurt.errors import NurtError
from tests.contracts.published import encode, profile, redirect, rich


def test_columns_hold_what_reading_one_by_one_gives() -> None:
    profiles = [*(rich(number, 3) for number in range(200)), profile(1, 1), redirect(2, 2, to=1)]
    bodies = [encode(entry) for entry in profiles]
    assert decode(bodies).to_dicts() == [read_profile(body) for body in bodies]


def test_a_profile_is_read_back_as_it_was_written() -> None:
    assert read_profile(encode(rich(7, 7))) == rich(7, 7)


def test_no_bodies_make_an_empty_frame_with_all_columns() -> None:
    assert decode([]).schema == decode([encode(rich(1, 1))]).schema


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff", encode(rich(1, 1))[:-3]])
def test_a_body_that_is_no_profile_is_said_without_its_content(body: bytes) -> None:
    with pytest.raises(NurtError, match="decoding 1 messages"):
        decode([body])
