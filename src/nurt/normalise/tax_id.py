"""Write tax numbers of firms with their country's prefix."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from types import ModuleType

import polars as pl
import stdnum

from nurt.normalise.visible import visible

TAX_IDS_KEPT_MAX = 100_000  # distinct (text, country) whose result is kept
TAX_ID_LENGTH_MAX = 40  # characters of a text that may be a tax number

_ALIASES = {"EL": "GR", "ΕΛ": "GR", "UK": "GB", "XI": "GB"}  # VAT prefixes that are no ISO 3166 code, or another's
# countries whose VAT number is the firm's number with a word behind it
_NUMBERS_OF_FIRMS = {"CH": "stdnum.ch.uid", "NO": "stdnum.no.orgnr"}
_SUFFIXES = {"CH": re.compile("(MWST|TVA|IVA|TPV)$"), "NO": re.compile("MVA$")}
_FILLER = re.compile(r"[\s.,\-/:_()#\u2010-\u2015\u2212]+")
_PLAIN = re.compile(r"[A-Z0-9]+")
_WORDS = re.compile(
    r"(?:NIP(?:UE)?|VAT(?:ID|NO|NR|NUMBER|REG(?:NO)?)?|UST(?:ID)?(?:NR)?|UID|STEUERNR|DIČ|DIC|IČDPH|ICDPH|IČO|ICO|P(?:ART)?IVA"
    r"|PARTITAIVA|CIF|NIF|CUI|TVA(?:INTRA)?|NTVA|SIREN|SIRET|BTW(?:NR)?|ADÓSZÁM|ADOSZAM|ΑΦΜ|OIB|PVM|PVN|KMKR|ЄДРПОУ|ЕИК|ДДС|TAXID)+"
)
"""Words for a tax number before it, without blanks and dots."""
_HUNGARIAN = re.compile(r"(?P<id>\d{8})[1-5]\d{2}")
_FRENCH = re.compile(r"(?P<id>\d{9})(?:\d{5})?")


def tax_ids_with_country(values: pl.Series, countries: pl.Series) -> pl.Series:
    """Return tax numbers as <ISO country><number>, null where one fails its country's check.

    A prefix that leads to a valid number names the country; else the row's country counts. Greek numbers begin with GR,
    British and Northern Irish ones with GB; Swiss and Norwegian ones lose the word for VAT. A Hungarian number loses
    the codes of VAT and county behind the firm's eight digits; a French SIREN or SIRET is written as the VAT number
    that follows from it. Words such as `NIP:` before a number are left out. Numbers of one digit repeated are
    placeholders.

    Source: python-stdnum, the `vat` module of each country.
    """
    frame = pl.DataFrame({"value": values, "country": countries})
    rest = frame.filter(pl.col("value").is_not_null()).unique(maintain_order=True)
    found = [
        to_tax_id(value, country)
        for value, country in zip(rest["value"].to_list(), rest["country"].to_list(), strict=True)
    ]
    known = rest.with_columns(pl.Series("tax_id", found, dtype=pl.String))
    joined = frame.join(known, on=["value", "country"], how="left", nulls_equal=True, maintain_order="left")
    return joined["tax_id"]


@lru_cache(maxsize=TAX_IDS_KEPT_MAX)
def to_tax_id(text: str, country: str | None) -> str | None:
    """Return one tax number with its country, or None."""
    if len(text) > TAX_ID_LENGTH_MAX:
        return None
    compact = _FILLER.sub("", visible(text)).upper()
    for number in dict.fromkeys((compact, _WORDS.sub("", compact, count=1) if _WORDS.match(compact) else compact)):
        if (found := _of_country(number, country)) is not None:
            return found
    return None


def _of_country(compact: str, country: str | None) -> str | None:
    prefix = compact[:2]
    own = _ALIASES.get(prefix, prefix) + compact[2:]
    if prefix.isalpha() and _PLAIN.fullmatch(own) and (found := _checked(own, own[:2])) is not None:
        return found
    return _checked(compact, country.upper()) if country and _PLAIN.fullmatch(compact) else None


def _checked(number: str, country: str) -> str | None:
    """Return the number with its country when it passes the country's check; the result is stable."""
    country = _ALIASES.get(country, country)
    module = _module(country)
    if module is None:
        return None
    if country in _SUFFIXES:
        number = _SUFFIXES[country].sub("", number)
    number = _as_vat(number, country)
    found = _validated(module, number, country)
    if found is None or len(set(re.sub("[^0-9]", "", found))) < 2:
        return None
    return found if _validated(module, found, country) == found else None


def _as_vat(number: str, country: str) -> str:
    """Write a national form, from which the VAT number follows, as the VAT number.

    A Hungarian adószám is the firm's eight digits, a code for VAT and two digits for the county. The key of a French
    VAT number is computed of the firm's SIREN, with which a SIRET begins.

    Source: python-stdnum, `hu.anum`, `fr.siren`, `fr.siret`.
    """
    bare = number.removeprefix(country)
    if country == "HU" and (found := _HUNGARIAN.fullmatch(bare)):
        return found["id"]
    if country == "FR" and (found := _FRENCH.fullmatch(bare)):
        siren = _module_named("stdnum.fr.siren")
        if siren is not None and siren.is_valid(found["id"]) and (len(bare) == 9 or _is_siret(bare)):
            return str(siren.to_tva(found["id"]))
    return number


def _is_siret(number: str) -> bool:
    siret = _module_named("stdnum.fr.siret")
    return siret is not None and bool(siret.is_valid(number))


def _validated(module: ModuleType, number: str, country: str) -> str | None:
    """Return country and number when the number passes, with the country's prefix or without it."""
    for text in (number, number.removeprefix(country)):
        try:
            found = str(module.validate(text)).upper().removeprefix(country)
        except Exception:  # a library of a hundred modules: whatever it raises, the text is no tax number
            continue
        if _PLAIN.fullmatch(found):
            return country + found
    return None


@lru_cache(maxsize=1024)
def _module(country: str) -> ModuleType | None:
    if not re.fullmatch("[A-Z]{2}", country) or country == "EU":
        return None
    if country in _NUMBERS_OF_FIRMS:
        return _module_named(_NUMBERS_OF_FIRMS[country])
    try:
        return stdnum.get_cc_module(country.lower(), "vat")
    except Exception:
        return None


@lru_cache(maxsize=16)
def _module_named(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception:
        return None
