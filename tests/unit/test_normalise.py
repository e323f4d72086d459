"""Equal people have equal identifiers; what is no identifier identifies nobody."""

from __future__ import annotations

from collections.abc import Sequence

import phonenumbers
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.normalise.identifiers import DEFAULT_STEPS, normalise_column
from nurt.normalise.phone import plain_pattern, to_e164
from tests.hypothesis_profiles import examples

KINDS = ("email", "phone", "tax_id", "loyalty_card", "plain", "shouted", "folded", "counted", "mixed")
RULES = {
    "shouted": ("strip", "upper"),
    "folded": ("casefold", "strip"),
    "counted": ("digits",),
    "mixed": ("upper", "lower", "strip", "casefold", "upper"),
}
COUNTRIES = st.none() | st.sampled_from(
    ["PL", "DE", "GB", "US", "FR", "IT", "CH", "NO", "GR", "ES", "IE", "pl", "??", "", "EL", "001"]
)


def normalise(kind: str, values: Sequence[str | None], country: str | None = "PL") -> list[str | None]:
    texts = pl.Series("x", values, dtype=pl.String)
    countries = pl.Series([country] * len(values), dtype=pl.String)
    found = normalise_column(kind, texts, countries, RULES)
    assert found.dtype == pl.String and found.name == "x" and len(found) == len(values)
    return found.to_list()


def one(kind: str, value: str | None, country: str | None = "PL") -> str | None:
    return normalise(kind, [value], country)[0]


@pytest.mark.parametrize(
    ("written", "email"),
    [
        (" Jan.Kowalski@Example.COM ", "jan.kowalski@example.com"),
        ("jan+shop@example.com", "jan+shop@example.com"),
        ("o'brien_1@mail.example.co.uk", "o'brien_1@mail.example.co.uk"),
        ("ｊａｎ＠example.com", "jan@example.com"),
        ("Żółw@Żółw.pl", "żółw@żółw.pl"),
        ("z\u0301ołw@x.pl", "źołw@x.pl"),
        ("a@b.xn--p1ai", "a@b.xn--p1ai"),
        ("brak", None), ("brak@", None), ("@example.com", None), ("a@b", None), ("a@@b.pl", None), ("a b@c.pl", None),
        ("a..b@c.pl", None), (".a@b.pl", None), ("a.@b.pl", None), ("a@-b.pl", None), ("a@b..pl", None),
        ("a@b.pl,c@d.pl", None), ("Jan <jan@example.com>", None), ("a" * 65 + "@b.pl", None), ("a@1.2.3.4", None),
        ("a@" + "b." * 130 + "pl", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_an_email_is_trimmed_folded_and_shaped_like_one(written: str | None, email: str | None) -> None:
    assert one("email", written) == email


@pytest.mark.parametrize(
    ("written", "country", "phone"),
    [
        ("601 234 567", "PL", "+48601234567"),
        ("+48 601-234-567", "DE", "+48601234567"),
        ("0048601234567", "PL", "+48601234567"),
        ("tel. (22) 123 45 67", "PL", "+48221234567"),
        ("0151 23456789", "DE", "+4915123456789"),
        ("+49 (0)151 23456789", None, "+4915123456789"),
        ("06 1234 5678", "IT", "+390612345678"),
        ("+48 601 234 567 wew. 5", "PL", None),
        ("+48601234567 ext. 5", "PL", "+48601234567"),
        ("601234567", None, None),
        ("601234567", "??", None),
        ("601 234 567", "pl", "+48601234567"),
        ("000000000", "PL", None), ("+48 111 111 111", "PL", None), ("12345", "PL", None), ("+48601", "PL", None),
        ("brak", "PL", None), ("", "PL", None), (None, "PL", None), ("6" * 300, "PL", None),
        ("+999123456789", "PL", None),
    ],
)  # fmt: skip
def test_a_phone_is_e164_by_its_country(written: str | None, country: str | None, phone: str | None) -> None:
    assert one("phone", written, country) == phone


@pytest.mark.parametrize(
    ("written", "country", "tax_id"),
    [
        ("526-025-02-74", "PL", "PL5260250274"),
        ("PL5260250274 ", "DE", "PL5260250274"),
        ("pl 526.025.02.74", None, "PL5260250274"),
        ("136 695 976", "DE", "DE136695976"),
        ("EL 094259216", None, "GR094259216"),
        ("094259216", "GR", "GR094259216"),
        ("BE 428759497", None, "BE0428759497"),
        ("ATU13585627", "PL", "ATU13585627"),
        ("U13585627", "AT", "ATU13585627"),
        ("CHE-107.787.577 MWST", "CH", "CHE107787577"),
        ("CHE-107.787.577 IVA", None, "CHE107787577"),
        ("995 525 828 MVA", "NO", "NO995525828"),
        ("GB 980 7806 84", None, "GB980780684"),
        ("XI 980 7806 84", None, "GB980780684"),
        ("ESB-58378431", "PL", "ESB58378431"),
        ("526-025-02-75", "PL", None),
        ("5260250274", None, None),
        ("5260250274", "DE", None),
        ("0000000000", "PL", None), ("brak", "PL", None), ("", "PL", None), (None, "PL", None), ("12", "ZZ", None),
        ("5" * 100, "PL", None),
    ],
)  # fmt: skip
def test_a_tax_id_has_its_country_and_passes_its_check(
    written: str | None, country: str | None, tax_id: str | None
) -> None:
    assert one("tax_id", written, country) == tax_id


@pytest.mark.parametrize(
    ("written", "card"),
    [
        (" 12-34 ab", "1234AB"),
        ("12–34\u00a056", "123456"),
        ("0000 0000", None),
        (" - ", None),
        ("", None),
        (None, None),
        ("a\x00", None),
    ],
)
def test_a_loyalty_card_loses_spaces_and_dashes(written: str | None, card: str | None) -> None:
    assert one("loyalty_card", written) == card


def test_extra_kinds_follow_their_steps_and_others_are_stripped() -> None:
    assert DEFAULT_STEPS == ("strip",)
    assert [one(kind, " Straße 1a ") for kind in ("shouted", "folded", "counted", "unknown")] == [
        "STRASSE 1A",
        "strasse 1a",
        "1",
        "Straße 1a",
    ]
    assert [one("shouted", text) for text in ("", "  ", "a\nb", "x" * 257)] == [None] * 4


SHAPED = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"\A[ +0-9().\-/]{0,18}\Z"),
    st.from_regex(r"\A[A-Z]{0,3}[ .\-]?[0-9A-Z]{0,14}\Z"),
    st.from_regex(r"\A[a-zA-ZİßŻΣ.\-+ ]{1,8}@[a-zA-ZİßŻ.\-]{1,12}\Z"),
    st.emails(),
    st.integers(0, 10**11).map(lambda n: f"+48{n}"),
    st.integers(0, 10**11).map(lambda n: f"+490{n}"),
)


@given(st.sampled_from(KINDS), st.lists(st.none() | SHAPED, max_size=8), COUNTRIES, COUNTRIES)
@settings(max_examples=examples(500), deadline=None)
def test_normalising_again_anywhere_changes_nothing(
    kind: str, values: list[str | None], here: str | None, there: str | None
) -> None:
    once = normalise(kind, values, here)
    assert normalise(kind, once, there) == once


@given(st.lists(st.tuples(st.none() | SHAPED, COUNTRIES), min_size=1, max_size=8), st.sampled_from(KINDS))
@settings(max_examples=examples(200), deadline=None)
def test_a_value_does_not_depend_on_its_neighbours(rows: list[tuple[str | None, str | None]], kind: str) -> None:
    values, countries = (pl.Series(column, dtype=pl.String) for column in zip(*rows, strict=True))
    together = normalise_column(kind, values, countries, RULES).to_list()
    assert together == [one(kind, value, country) for value, country in rows]


@given(
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)), st.text("0123456789", min_size=3, max_size=13)
)
@settings(max_examples=examples(1500), deadline=None)
def test_what_passes_for_plain_e164_is_what_the_library_makes_of_it(code: int, national: str) -> None:
    text = f"+{code}{national}"
    if pl.Series([text]).str.contains(plain_pattern())[0]:
        assert to_e164(text, None) == text


def test_most_phones_of_our_markets_pass_for_plain() -> None:
    texts = [
        "+48601234567",
        "+4915123456789",
        "+420601234567",
        "+33612345678",
        "+40712345678",
        "+421905123456",
        "+34612345678",
    ]
    assert pl.Series(texts).str.contains(plain_pattern()).all()
