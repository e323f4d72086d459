"""A stored value is never read past its end, whoever reads it; a damaged one stops the run with its kind and hash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nurt.columnar.values import Values
from nurt.errors import NurtError, StateDamaged, StateTooNew
from nurt.model.stored_profile import ERASED, LIVE, KeptProfile
from nurt.model.value_forms import PROFILES, STOCK
from nurt.profiles.golden_record.compare import ProfileBodies, compare_kept
from nurt.rows.children.tables import AGGREGATES
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.runtime.failures import naming_damage
from nurt.state.damage import Damage, find_damage, what_is_wrong
from nurt.state.row_major import read_values
from nurt.state.table import VERSION, Table
from nurt.state.write_rows import pack_value
from tests.unit.test_layouts import READERS

ID = bytes(range(16))


def sound(table: Table) -> bytes:
    """Pack a row with every column."""
    fields: dict[str, int | bytes] = {}
    for index, name in enumerate(table.columns):
        fields[name] = (ID if table.is_id[index] else b"text") if table.is_text[index] else (index > 3)
    return pack_value(table, fields)


def without_end(table: Table) -> Iterator[bytes]:
    whole = sound(table)
    yield from (whole[:size] for size in range(2, len(whole)))


NEIGHBOUR = b"\x01\x02 the next customer's text"


def beside_a_neighbour(value: bytes) -> Values:
    whole = Values.of([value, NEIGHBOUR])
    return whole.part(0, 1)


CASES = [
    pytest.param(table, read, id=name)
    for name, (table, read) in READERS.items()
    if name not in ("shares", "sums of profiles", "accounts of profiles")
]


@pytest.mark.parametrize(("table", "read"), CASES)
def test_a_value_that_ends_within_a_row_is_damaged_for_every_reader(
    table: Table, read: Callable[[bytes], object]
) -> None:
    read(sound(table))
    for value in without_end(table):
        with pytest.raises(StateDamaged, match="damaged"):
            read(value)


@pytest.mark.parametrize(("table", "read"), [pytest.param(*case, id=name) for name, case in READERS.items()])
def test_a_changed_byte_is_read_or_refused_by_every_reader(table: Table, read: Callable[[bytes], object]) -> None:
    whole, refused = sound(table), 0
    for at in range(1, min(len(whole), 40)):
        for byte in (0, 0x7F, 0x80, 0xFF):
            try:
                read(whole[:at] + bytes([byte]) + whole[at + 1 :])
            except (StateDamaged, StateTooNew) as error:
                assert "text" not in str(error)
                refused += 1
    assert refused, "no change was seen, so the reader does not look"


def test_a_text_that_is_too_long_does_not_reach_into_the_next_value() -> None:
    for size in (5, 30, 127):
        value = bytes([VERSION, 0b10, size]) + b"abcd"
        with pytest.raises(StateDamaged):
            read_values(ROW_LAYOUTS["customer"], beside_a_neighbour(value))


def test_an_id_of_another_size_is_damaged() -> None:
    table = ROW_LAYOUTS["address"].table
    long = pack_value(table, {"part": 0, "parent": b"x" * 17})
    with pytest.raises(StateDamaged):
        read_values(ROW_LAYOUTS["address"], Values.of([long]))
    with pytest.raises(StateDamaged):
        table.unpack([long])


@pytest.mark.parametrize("kept", [b"\0" * 16, b"", KeptProfile(3, -1, LIVE, b"@").encode()])
def test_a_kept_profile_that_is_too_short_is_never_read_past_its_end(kept: bytes) -> None:
    one = np.zeros(1, dtype=np.int64)
    body = np.frombuffer(b"@" + ID.hex().encode() + b"\0rest", dtype=np.uint8)
    bodies = ProfileBodies(one, one - 1, one, one + len(body), body)
    values = Values.of([kept or None])
    if 0 < len(kept) < 17:
        with pytest.raises(StateDamaged):
            compare_kept(bodies, values, 7)
    else:
        assert compare_kept(bodies, values, 7).changed.all()


# -- naming


@pytest.mark.parametrize("forms", [PROFILES, STOCK])
def test_sound_values_of_every_kind_are_not_damaged(forms: dict[bytes, str]) -> None:
    fixed = {"fence": bytes(24), "identifier": bytes(32)}
    fixed["profile"] = KeptProfile(1, -1, LIVE, b"@" + ID.hex().encode() + b"\0more").encode()
    for form in forms.values():
        assert what_is_wrong(form, ID, fixed.get(form) or sound(Table.stored(form))) is None
    assert what_is_wrong("profile", ID, KeptProfile(1, -1, ERASED, b"").encode()) is None


@pytest.mark.parametrize(
    ("key", "value", "damage"),
    [
        (b"p{03}a" + ID, sound(Table.stored("account_slots"))[:-1], Damage("a", ID.hex(), "a stored value is damaged")),
        (b"p{03}h", b"short", Damage("h", "", "5 bytes (expected 24)")),
        (b"p{03}f" + ID, bytes(9), Damage("f", ID.hex(), "9 bytes (expected 17 at least)")),
        (
            b"p{03}f" + ID,
            KeptProfile(1, -1, LIVE, b"@" + bytes(16).hex().encode()).encode(),
            Damage("f", ID.hex(), "the body of another profile"),
        ),
        (
            b"p{r:eu}m" + ID,
            pack_value(Table.stored("memberships"), {"part": 0, "links": b"\xff"}),
            Damage("m", ID.hex(), "a text in the column links that is no UTF-8"),
        ),
        (b"p{03}r\x01" + ID, b"\x01\x02", Damage("r1", ID.hex(), "a stored value is damaged")),
    ],
)
def test_damage_is_named_by_kind_and_hash(key: bytes, value: bytes, damage: Damage) -> None:
    assert find_damage(PROFILES, [b"p{03}o" + ID, key, b"p{03}w"], [None, value, b"?"]) == [damage]


class LastRead:
    def __init__(self, key: bytes, value: bytes) -> None:
        self._read = [key], [value]

    def last_read(self) -> Any:
        return self._read


@pytest.mark.parametrize("failure", [StateDamaged("reading rows: ..."), ValueError("some reader in Python")])
def test_a_run_that_meets_damage_ends_with_the_values_name(failure: Exception) -> None:
    store = LastRead(b"p{03}s" + ID, sound(AGGREGATES)[:-1])
    with (
        pytest.raises(StateDamaged, match=rf"s {ID.hex()} first: .*`nurt state check`"),
        naming_damage(store, PROFILES),
    ):
        raise failure


@pytest.mark.parametrize("failure", [NurtError("something else"), ValueError("a mistake")])
def test_a_failure_over_sound_values_stays_what_it_is(failure: Exception) -> None:
    store = LastRead(b"p{03}s" + ID, sound(AGGREGATES))
    with pytest.raises(type(failure), match=str(failure)), naming_damage(store, PROFILES):
        raise failure
