"""What crosses between the shop's client and nurt is the same on both sides: ids, tokens, keys, quantities."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.columnar import ids as kernel
from nurt.model.keys import Keys
from nurt.model.stock.plan import UNIT
from nurt.settings import Settings, stock_settings
from nurt.stock.from_rows import sku_ids
from nurt.stock.matching.match_keys import ledger_match_keys
from nurt_client import keys
from nurt_client.errors import ConfigurationError
from nurt_client.ids import Ids, ledger_token, sku_id
from nurt_client.quantities import to_decimal, to_units

SECRETS = st.binary(min_size=16, max_size=16)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@settings(deadline=None)
@given(SECRETS, st.lists(TEXTS, max_size=20))
def test_ids_in_plain_python_are_those_of_the_kernels(secret: bytes, texts: list[str]) -> None:
    plain = [Ids(secret).one(text) for text in texts]
    assert plain == kernel.Ids(secret).of(pl.Series(texts, dtype=pl.String)).to_list()


@pytest.mark.parametrize("length", [255, 256, 257, 1000])
def test_the_length_of_a_long_text_counts_modulo_256_as_in_the_kernels(length: int) -> None:
    secret = bytes(range(16))
    assert Ids(secret).one("x" * length) == kernel.Ids(secret).one("x" * length)


def test_a_secret_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        Ids(b"short")


@settings(deadline=None)
@given(SECRETS, TEXTS, TEXTS)
def test_skus_and_orders_are_named_as_the_flow_names_them(secret: bytes, one: str, other: str) -> None:
    plain, compiled = Ids(secret), kernel.Ids(secret)
    assert [sku_id(plain, one)] == sku_ids(compiled, pl.Series([one], dtype=pl.String)).to_list()
    columns = pl.Series([one], dtype=pl.String), pl.Series([other], dtype=pl.String)
    assert [ledger_token(plain, one, other)] == ledger_match_keys(compiled, *columns).to_list()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), min_size=1, max_size=9), TEXTS)
def test_a_realms_place_is_that_of_the_flow(prefix: str, realm: str) -> None:
    own = stock_settings(Settings(Path("m"), Path("d"), prefix=prefix, secret="00" * 16))
    deployment = Keys(own.prefix, own.shards)
    place = keys.realm_place(keys.stock_prefix(prefix).encode(), realm)
    assert place == deployment.realm_place(realm)
    one = bytes(16)
    assert [place + keys.PROMISE + one] == deployment.in_realm(b"q", realm, [one])
    assert keys.config_key(deployment.prefix) == deployment.named("config")


@given(st.integers(1, 10**15))
def test_a_quantity_comes_back_from_ten_thousandths(units: int) -> None:
    pieces = to_decimal(units)
    assert pieces * UNIT == units
    assert to_units(pieces) == to_units(str(pieces)) == units


def test_whole_pieces_are_shown_without_decimals() -> None:
    assert [str(to_decimal(units)) for units in (0, 2 * UNIT, UNIT // 2)] == ["0", "2", "0.5"]


@pytest.mark.parametrize(
    ("quantity", "said"),
    [
        (0, "not above zero"),
        (-1, "not above zero"),
        ("0.00001", "more than four decimals"),
        ("two", "no number"),
        (Decimal("NaN"), "no number"),
        (Decimal("Infinity"), "no number"),
    ],
)
def test_a_quantity_that_cannot_be_held_is_refused(quantity: int | str | Decimal, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        to_units(quantity)
