"""Normalise identifiers, so that equal people have equal values.

A value that does not normalise becomes null and identifies nobody: a false match joins two strangers, a missed match
only waits. Every function here is idempotent and never raises, whatever the values are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from nurt.normalise.email import LOCAL_PART_LENGTH_MAX, to_email
from nurt.normalise.phone import phones_to_e164
from nurt.normalise.tax_id import tax_ids_with_country
from nurt.normalise.visible import INVISIBLE

IDENTIFIER_LENGTH_MAX = 256  # characters, of loyalty cards and extra kinds
ROUNDS_MAX = 4
"""How often steps are repeated over non-ASCII text until the text no longer changes."""

DEFAULT_STEPS = ("strip",)

_PLAIN_EMAIL = r"^[a-z0-9_+\-]+(?:\.[a-z0-9_+\-]+)*@(?:[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.)+[a-z][a-z]+$"
"""What `to_email` leaves as it is, found fast."""
_CONTROL = r"[\x00-\x1f\x7f]"
_CARD_FILLER = r"[\s\-\u2010-\u2015\u2212]|" + INVISIBLE


def normalise_column(
    kind: str, values: pl.Series, countries: pl.Series, rules: Mapping[str, Sequence[str]]
) -> pl.Series:
    """Return the normalised values of one kind of identifier, null where a value does not normalise.

    `values` and `countries` (ISO 3166 alpha-2 or null, the row's, else the system's) have one length; the result keeps
    it, and the order. `rules` are the mapping's steps of extra kinds: `Mapping.identifier_rules`.
    """
    known = _BUILT_IN.get(kind)
    if known is not None:
        return known(values, countries).alias(values.name)
    return _stepped(values.str.replace_all(INVISIBLE, ""), rules.get(kind, DEFAULT_STEPS)).alias(values.name)


def _emails(values: pl.Series, countries: pl.Series) -> pl.Series:
    """Trim and lower; a text that then is no plain address is read one by one."""
    lowered = values.str.strip_chars().str.to_lowercase()
    plain = lowered.str.contains(_PLAIN_EMAIL) & (lowered.str.len_bytes() <= LOCAL_PART_LENGTH_MAX)
    if plain.all():
        return lowered
    rest = values.filter(~plain.fill_null(True)).unique()
    known = {text: to_email(text) for text in rest.to_list()}
    read = values.replace_strict(known, default=None, return_dtype=pl.String)
    return pl.select(pl.when(plain).then(lowered).otherwise(read)).to_series()


def _loyalty_cards(values: pl.Series, countries: pl.Series) -> pl.Series:
    """Drop spaces and dashes, upper case; a text of zeros is no card."""
    found = _settled(values, lambda texts: texts.str.replace_all(_CARD_FILLER, "").str.to_uppercase())
    return _where(found, _short_and_visible(found) & ~found.str.contains("^0*$"))


def _stepped(values: pl.Series, steps: Sequence[str]) -> pl.Series:
    """Apply the configured steps in order; a result that is empty or has control characters is null."""

    def apply(texts: pl.Series) -> pl.Series:
        for step in steps:
            texts = _STEPS[step](texts)
        return texts

    found = _settled(values, apply)
    return _where(found, _short_and_visible(found))


def _settled(texts: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Repeat a change until the text is stable, so that the change is idempotent; text that never settles is null.

    One round is enough for nearly all text; upper and lower case of some letters take another.
    """
    found = change(texts)
    for _ in range(ROUNDS_MAX):
        again = change(found)
        moved = (again != found).fill_null(False)
        if not moved.any():
            return found
        found = again
    return _where(found, ~moved)


def _short_and_visible(texts: pl.Series) -> pl.Series:
    size = texts.str.len_chars()
    return (size > 0) & (size <= IDENTIFIER_LENGTH_MAX) & ~texts.str.contains(_CONTROL)


def _where(texts: pl.Series, fits: pl.Series) -> pl.Series:
    return pl.select(pl.when(fits).then(texts)).to_series()


def _casefold(texts: pl.Series) -> pl.Series:
    distinct = {text: text.casefold() for text in texts.drop_nulls().unique().to_list()}
    return texts.replace_strict(distinct, default=None, return_dtype=pl.String)


_STEPS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "strip": lambda texts: texts.str.strip_chars(),
    "upper": lambda texts: texts.str.to_uppercase(),
    "lower": lambda texts: texts.str.to_lowercase(),
    "casefold": _casefold,
    "digits": lambda texts: texts.str.replace_all("[^0-9]", ""),
}
_BUILT_IN: dict[str, Callable[[pl.Series, pl.Series], pl.Series]] = {
    "email": _emails,
    "phone": phones_to_e164,
    "tax_id": tax_ids_with_country,
    "loyalty_card": _loyalty_cards,
}
