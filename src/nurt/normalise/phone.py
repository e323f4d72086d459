"""Write phone numbers in E.164."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
import polars as pl
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

PHONES_KEPT_MAX = 200_000  # distinct (text, region) whose result is kept
PHONE_LENGTH_MAX = 64  # characters of a text that may be a phone
DIGITS_MIN, DIGITS_MAX = 8, 15  # after the plus; ITU-T E.164 allows at most 15
_ROUNDS_MAX = 3


def phones_to_e164(values: pl.Series, countries: pl.Series) -> pl.Series:
    """Return phones as +<country code><number>, null where a text is no possible number of its country.

    Possible means that the length is right; tables of assigned numbers are not used, because they are
    always late. Numbers of one digit repeated are placeholders. Extensions are dropped.

    Source: ITU-T E.164; Google's libphonenumber by way of `phonenumbers`.
    """
    frame = pl.DataFrame({"value": values, "country": countries})
    plain = frame["value"].str.contains(plain_pattern())
    if plain.all():
        return frame["value"]
    rest = frame.filter(~plain).unique(maintain_order=True)
    found = [
        to_e164(value, country)
        for value, country in zip(rest["value"].to_list(), rest["country"].to_list(), strict=True)
    ]
    known = rest.with_columns(pl.Series("e164", found, dtype=pl.String))
    joined = frame.join(known, on=["value", "country"], how="left", nulls_equal=True, maintain_order="left")
    return joined.select(pl.when(plain).then("value").otherwise("e164")).to_series()


@lru_cache(maxsize=PHONES_KEPT_MAX)
def to_e164(text: str, region: str | None) -> str | None:
    """Return one phone in E.164, or None. The result is stable: it maps to itself, whatever the region."""
    found = _parsed(text, region)
    for _ in range(_ROUNDS_MAX):
        again = None if found is None else _parsed(found, None)
        if again == found:
            return found
        found = again
    return None


def _parsed(text: str, region: str | None) -> str | None:
    if len(text) > PHONE_LENGTH_MAX:
        return None
    try:
        number = phonenumbers.parse(text, region.upper() if region else None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    national = phonenumbers.national_significant_number(number)
    if not DIGITS_MIN <= len(written) - 1 <= DIGITS_MAX or len(set(national)) == 1:
        return None
    return written


@lru_cache(maxsize=1)
def plain_pattern() -> str:
    """Build the pattern of texts that are in E.164 already, so that most phones need no call of the library.

    The pattern has the possible lengths of every country code whose trunk prefix is at most one digit (a number loses a
    leading trunk prefix). The pattern refuses nothing: the library parses a text that does not match.
    """
    return "^\\+(?:" + "|".join(_plain_of(code, *number) for code, number in plain_numbers().items()) + ")$"


@lru_cache(maxsize=1)
def plain_numbers() -> dict[int, tuple[str | None, tuple[int, ...]]]:
    """Give, by country code, the digit that no plain national number begins with, and how many digits it may have."""
    found = {}
    for code in sorted(COUNTRY_CODE_TO_REGION_CODE):
        region = COUNTRY_CODE_TO_REGION_CODE[code][0]
        metadata = PhoneMetadata.metadata_for_region(region)
        if region == "001" or metadata is None or metadata.general_desc is None:
            continue
        prefix = metadata.national_prefix_for_parsing
        if prefix is not None and not re.fullmatch("[0-9]", prefix):
            continue
        sizes = metadata.general_desc.possible_length
        lengths = tuple(size for size in sizes if DIGITS_MIN <= len(str(code)) + size <= DIGITS_MAX)
        if lengths:
            found[code] = prefix, lengths
    return found


def _plain_of(code: int, prefix: str | None, lengths: tuple[int, ...]) -> str:
    firsts = "".join(digit for digit in "123456789" if digit != prefix)
    # two different leading digits, so that no number is one digit repeated
    pairs = "|".join(f"{first}[{''.join(d for d in '0123456789' if d != first)}]" for first in firsts)
    return f"{code}(?:{pairs})(?:" + "|".join(f"[0-9]{{{size - 2}}}" for size in lengths) + ")"
