"""Identifiers as people write them, and what each means, in the plainest Python, apart from the product's own rules."""

from __future__ import annotations

import re

import phonenumbers

from tests.oracle.final_row import normalise_plainly

EMAILS = (
    "mailto:ann@example.com", "Ann Nowak <Ann@example.com>", "a\u200bnn@exam\u00adple.com", "bob@example.com.",
    "ann@example.com; bob@example.com", "cyd@żółw.example.com", "cyd@xn--w-uga1v8h.example.com",
)  # fmt: skip
PHONES = (
    "0 601 000 001", "48601000001", "+48 (0)601 000 001", "601 000 002", "0048 0601000002", "4915100000001",
    "+48601000002 wew. 7", "601000002 ext. 7", "601 000 002 w. 8", "+480000000009", "601000001 602000002",
)  # fmt: skip
TAX_IDS = ("NIP: PL 526-025-02-74", "PL 526\u00ad0250274", "HU12892312-2-41", "HU 12892312")

_MEANT = {
    "NIP: PL 526-025-02-74": "PL5260250274", "PL 526\u00ad0250274": "PL5260250274",
    "HU12892312-2-41": "HU12892312", "HU 12892312": "HU12892312",
}  # fmt: skip
_DIGITS_MAX = {"48": 9, "49": 11}
"""By country code, digits of national numbers; longer ones begin with the code."""


def normalise_as_meant(kind: str, value: str, country: str | None) -> str | None:
    """Say what a text of histories means; None: it is nobody's."""
    if kind == "phone":
        return _phone(value, country)
    if kind == "tax_id" and value in _MEANT:
        return _MEANT[value]
    return _email(value) if kind == "email" else normalise_plainly(kind, value, country)


def _email(value: str) -> str | None:
    found = re.findall(r"[\w.\-]+@[\w.\-]+", value.replace("\u200b", "").replace("\u00ad", "").lower())
    if len(found) != 1:
        return None
    name, _, host = found[0].partition("@")
    host = host.rstrip(".").encode("idna").decode()
    return f"{name}@{host}" if "." in host else None


def _phone(value: str, country: str | None) -> str | None:
    number, _, desk = re.sub(r" (wew\.|ext\.|w\.) ", ";", value).partition(";")
    digits = re.sub(r"\D", "", number)
    tries = [(number, country)]
    for code, digits_max in _DIGITS_MAX.items():
        rest = digits.removeprefix("00").removeprefix(code)
        if number.startswith("+" + code) or number.startswith("00" + code):
            tries.append((f"+{code}{rest.lstrip('0')}", None))
        elif (
            not number.startswith(("+", "00"))
            and country
            and str(phonenumbers.country_code_for_region(country)) == code
        ):
            bare = digits.removeprefix(code) if len(digits) > digits_max else digits
            tries = [(f"+{code}{bare.lstrip('0')}", None)]
    found = set()
    for text, region in tries:
        try:
            parsed = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed):
            found.add(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
    if len(found) != 1:
        return None
    return found.pop() + (f";ext={desk}" if desk else "")
