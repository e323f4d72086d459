"""Write phone numbers in E.164: numbers that can be dialled, whichever way people wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import phonenumbers
import polars as pl
from phonenumbers import CountryCodeSource, PhoneNumber, PhoneNumberFormat, PhoneNumberType

from nurt.columnar.texts import Texts
from nurt.normalise.already_normal import plain_phones
from nurt.normalise.extension import without_extension
from nurt.normalise.numbering_plan import DIGITS_MAX, DIGITS_MIN
from nurt.normalise.visible import visible

PHONES_KEPT_MAX = 200_000  # distinct (text, region) whose result is kept
PHONE_LENGTH_MAX = 64  # characters of a text that may be a phone
EXTENSION = ";ext="
"""Stands between a number and its extension. Source: RFC 3966, 5.3."""
_ROUNDS_MAX = 3

_NUMBER = re.compile(r"[^\d+]*(\+?[^\w+]*\d(?:[^\w+]|\d)*?)[^\w+]*(?:[^\W\d][^\d+]*)?")
"""One number with nothing but words or signs around it: a word between digits may be a second number's."""
_SECOND_LINE = re.compile(r"[^/]*/\s*\d{1,3}")
"""`030 901820/21`: two lines of one firm."""

_OLD_TRUNKS = {370: ("8",), 375: ("80", "8"), 380: ("80", "8")}
"""Trunk prefixes of former plans, by country code, besides the zero that every country has or had."""

_USUAL_DIGITS_MAX = 11
"""National numbers are not longer, but for desks behind a switchboard. Source: ITU-T E.164 and national plans."""


def phones_to_e164(values: pl.Series, countries: pl.Series) -> pl.Series:
    """Return phones as +<country code><number>, with `;ext=` and an extension; null where a text is none.

    A number is valid by its country's plan (its length, and ranges that are assigned), so that it can be dialled. The
    readings of a text are tried in this order, and one counts when it is the only valid one:

    1. as written: international behind + or 00, else national in its country, with the trunk prefix or without it;
    2. without a trunk zero that the country no longer has, or that stands behind the country code;
    3. with the country's own code, but without plus.

    Numbers of one digit repeated are placeholders.

    Source: ITU-T E.164; Google's libphonenumber by way of `phonenumbers`.
    """
    frame = pl.DataFrame({"value": values, "country": countries})
    plain = pl.Series(plain_phones(_texts_of(frame["value"])))
    if plain.all():
        return frame["value"]
    rest = frame.filter(~plain & frame["value"].is_not_null()).unique(maintain_order=True)
    found = [
        to_e164(value, country)
        for value, country in zip(rest["value"].to_list(), rest["country"].to_list(), strict=True)
    ]
    known = rest.with_columns(pl.Series("e164", found, dtype=pl.String))
    joined = frame.join(known, on=["value", "country"], how="left", nulls_equal=True, maintain_order="left")
    return joined.select(pl.when(plain).then("value").otherwise("e164")).to_series()


def _texts_of(values: pl.Series) -> Texts:
    filled = values.fill_null("")
    ends = np.cumsum(np.concatenate(([0], filled.str.len_bytes().to_numpy()))).astype(np.int64)
    body = "".join(filled.to_list()).encode()
    return Texts(ends[:-1], ends[1:], np.frombuffer(body or b"\0", dtype=np.uint8))


@lru_cache(maxsize=PHONES_KEPT_MAX)
def to_e164(text: str, region: str | None) -> str | None:
    """Return one phone in E.164, or None. The result is stable: it maps to itself, whatever the region."""
    found = _read(text, region)
    for _ in range(_ROUNDS_MAX):
        again = None if found is None else _read(found, None)
        if again == found:
            return found
        found = again
    return None


def _read(text: str, region: str | None) -> str | None:
    if len(text) > PHONE_LENGTH_MAX:
        return None
    number, extension = without_extension(visible(text))
    body = _NUMBER.fullmatch(number)
    if body is None or _SECOND_LINE.fullmatch(body[1]):
        return None
    digits = body[1]
    try:
        parsed = phonenumbers.parse(digits, region.upper() if region else None, keep_raw_input=True)
    except phonenumbers.NumberParseException:
        if not digits.startswith("00"):
            return None
        try:  # 00 is how every country of Europe dials abroad
            parsed = phonenumbers.parse("+" + digits[2:], None, keep_raw_input=True)
        except phonenumbers.NumberParseException:
            return None
    chosen = _chosen(parsed)
    if chosen is None:
        return None
    written = phonenumbers.format_number(chosen, PhoneNumberFormat.E164)
    national = phonenumbers.national_significant_number(chosen)
    if not DIGITS_MIN <= len(written) - 1 <= DIGITS_MAX or len(set(national)) == 1:
        return None
    extension = extension or parsed.extension or ""
    return f"{written}{EXTENSION}{extension}" if extension else written


def _chosen(parsed: PhoneNumber) -> PhoneNumber | None:
    """Choose a reading of a number; None: no reading is valid, or two are."""
    national = phonenumbers.national_significant_number(parsed)
    code, raw = parsed.country_code or 0, parsed.raw_input or ""
    if phonenumbers.is_valid_number(parsed):
        rival = _valid(code, _without_code(code, national)) if _has_trunk_prefix(code) else None
        if rival is None:
            return parsed
        # people may have left out the plus, or the trunk prefix: 49 171 1234567
        is_marked = parsed.country_code_source != CountryCodeSource.FROM_DEFAULT_COUNTRY or (
            phonenumbers.normalize_digits_only(raw) != national
        )
        if is_marked and len(national) <= _USUAL_DIGITS_MAX:
            return parsed
        return _likelier(parsed, rival)
    found = {}
    for digits in _readings(code, national):
        if (number := _valid(code, digits)) is not None:
            found[phonenumbers.format_number(number, PhoneNumberFormat.E164)] = number
    readings = list(found.values())
    if len(readings) > 1:
        return _likelier(*readings) if len(readings) == 2 else None
    return readings[0] if readings else None


def _readings(code: int, national: str) -> Iterator[str]:
    """Give readings of national digits that are not valid as they stand."""
    for digits in (national, national.lstrip("0"), *(national.removeprefix(old) for old in _OLD_TRUNKS.get(code, ()))):
        if digits != national:
            yield digits
        if without := _without_code(code, digits):
            yield without
            yield without.lstrip("0")


def _without_code(code: int, digits: str) -> str:
    return digits.removeprefix(str(code)) if digits.startswith(str(code)) else ""


@lru_cache(maxsize=256)
def _has_trunk_prefix(code: int) -> bool:
    """Return whether national numbers are written with a prefix; else they are whole without one."""
    region = phonenumbers.region_code_for_country_code(code)
    return bool(phonenumbers.ndd_prefix_for_region(region, True))


def _valid(code: int, digits: str) -> PhoneNumber | None:
    if not digits:
        return None
    try:
        number = phonenumbers.parse(f"+{code}{digits}")
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _likelier(one: PhoneNumber, other: PhoneNumber) -> PhoneNumber | None:
    """Choose between two valid readings by their length, then the mobile one, whose ranges are narrow; None: a tie."""
    for fits in (_is_short, _is_mobile):
        if fits(one) != fits(other):
            return one if fits(one) else other
    return None


def _is_short(number: PhoneNumber) -> bool:
    return len(phonenumbers.national_significant_number(number)) <= _USUAL_DIGITS_MAX


def _is_mobile(number: PhoneNumber) -> bool:
    return phonenumbers.number_type(number) in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
