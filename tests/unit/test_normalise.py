"""Equal people have equal identifiers; what is no identifier identifies nobody."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from random import Random

import phonenumbers
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.normalise.already_normal import plain_phones
from nurt.normalise.identifiers import DEFAULT_STEPS, normalise_column
from nurt.normalise.phone import to_e164
from tests.hypothesis_profiles import examples
from tests.oracle.writings import EMAILS, PHONES, TAX_IDS, normalise_as_meant
from tests.unit.test_plain_identifiers import texts_of

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
        ("Żółw@Żółw.pl", "żółw@xn--w-uga1v8h.pl"),
        ("a@XN--W-UGA1V8H.pl", "a@xn--w-uga1v8h.pl"),
        ("z\u0301ołw@x.pl", "źołw@x.pl"),
        ("a@b.xn--p1ai", "a@b.xn--p1ai"), ("a@b.рф", "a@b.xn--p1ai"),
        ("a@straße.de", "a@xn--strae-oqa.de"),  # another domain than strasse.de
        ("ja\u200bn@exa\u00admple.com\ufeff", "jan@example.com"), ("\u202ajan@example.com\u202c", "jan@example.com"),
        ("mailto:Jan@example.com?subject=Hi", "jan@example.com"),
        ("Jan <jan@example.com>", "jan@example.com"), ('"jan@example.com" <Jan@Example.com>', "jan@example.com"),
        ("jan@example.com <mailto:jan@example.com>", "jan@example.com"), ("<jan@example.com>", "jan@example.com"),
        ("jan@example.com.", "jan@example.com"), ("jan@example.com;", "jan@example.com"),
        ("'jan@example.com'", "jan@example.com"), ("jan@example\u3002com", "jan@example.com"),
        ("jan@example.com..", None), ('"a@b.pl" <c@d.pl>', None), ("a@b.pl <c@d.pl>", None), ("a@b.pl; c@d.pl", None),
        ("a@b.pl c@d.pl", None), ("a@xn--ż.pl", None), ("a@😀.pl", None),
        ("brak", None), ("brak@", None), ("@example.com", None), ("a@b", None), ("a@@b.pl", None), ("a b@c.pl", None),
        ("a..b@c.pl", None), (".a@b.pl", None), ("a.@b.pl", None), ("a@-b.pl", None), ("a@b..pl", None),
        ("a@b.pl,c@d.pl", None), ("a" * 65 + "@b.pl", None), ("a@1.2.3.4", None),
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
        ("0 601 234 567", "PL", "+48601234567"), ("022 123 45 67", "PL", "+48221234567"),
        ("+48 (0)22 123 45 67", None, "+48221234567"), ("0601234567", "CZ", "+420601234567"),
        ("+420 0601 234 567", None, "+420601234567"), ("0 30 123 4567", "HU", "+36301234567"),
        ("06 30 123 4567", "HU", "+36301234567"), ("8 050 123 45 67", "UA", "+380501234567"),
        ("491711234567", "DE", "+491711234567"), ("493012345678", "DE", "+493012345678"),
        ("49 0171 1234567", "DE", "+491711234567"), ("48601234567", "PL", "+48601234567"),
        ("480601234567", "PL", "+48601234567"), ("+48 48601234567", None, "+48601234567"),
        ("48 123 45 67", "PL", "+48481234567"),  # Radom's area code is the country's, too
        ("+48 48 123 45 67", None, "+48481234567"),
        ("+49 491 7112345", None, "+494917112345"),  # so is Leer's
        ("494 269 4208", "DE", None),  # an area code without its zero, or Germany's without its plus
        ("48 305 55 59", "PL", "+48483055559"),
        ("0048601234567", None, "+48601234567"),
        ("\u202a+48\u00a0601\u2011234\u2011567\u202c", "PL", "+48601234567"),
        ("＋４８６０１２３４５６７", None, "+48601234567"),
        ("+48 601 234 567 wew. 5", "PL", "+48601234567;ext=5"), ("+48601234567 ext. 5", "PL", "+48601234567;ext=5"),
        ("22 123 45 67w.012", "PL", "+48221234567;ext=012"), ("(22) 123 45 67 (wewn. 12)", "PL", "+48221234567;ext=12"),
        ("22 123 45 67 x12", "PL", "+48221234567;ext=12"), ("22 123 45 67 int. 12", "PL", "+48221234567;ext=12"),
        ("22 123 45 67 #12", "PL", "+48221234567;ext=12"), ("+48221234567;ext=12", "DE", "+48221234567;ext=12"),
        ("030 901820 Durchwahl 21", "DE", "+4930901820;ext=21"), ("030 901820 DW 21", "AT", None),
        ("20 123 4567 mellék: 5", "HU", "+36201234567;ext=5"), ("601 234 567 kl. 5", "CZ", "+420601234567;ext=5"),
        ("601 234 567 klapka 5", "CZ", "+420601234567;ext=5"), ("021 123 4567 int 7", "RO", "+40211234567;ext=7"),
        ("050 123 45 67 доб. 3", "UA", "+380501234567;ext=3"), ("020 123 4567 toestel 8", "NL", "+31201234567;ext=8"),
        ("01 23 45 67 89 poste 4", "FR", "+33123456789;ext=4"), ("02 1234 5678 interno 9", "IT", "+390212345678;ext=9"),
        ("030 901820 Anna", "DE", "+4930901820"), ("601 234 567 kom.", "PL", "+48601234567"),
        ("030 901820/21", "DE", None), ("030 901820 oder 030 901821", "DE", None), ("601234567 602345678", "PL", None),
        ("22 123 45 67 i 68", "PL", None), ("22 123 45 67 w 12 i 13", "PL", None),
        ("+480001234567", None, None), ("+48 010 234 567", None, None),  # their length is right, nobody has them
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
        ("12892312-2-41", "HU", "HU12892312"), ("HU12892312-2-41", "PL", "HU12892312"),
        ("12892312", "HU", "HU12892312"),
        ("12892312-9-41", "HU", None), ("12892313-2-41", "HU", None),  # no such code; a wrong check digit
        ("732 829 320", "FR", "FR44732829320"), ("732 829 320 00074", "FR", "FR44732829320"),
        ("FR 44 732 829 320", None, "FR44732829320"), ("732 829 320 00075", "FR", None),
        ("NIP: 526-025-02-74", "PL", "PL5260250274"), ("NIP PL5260250274", None, "PL5260250274"),
        ("USt-IdNr. DE136695976", "PL", "DE136695976"), ("ΕΛ 094259216", None, "GR094259216"),
        ("526\u200b025\u00ad0274", "PL", "PL5260250274"), ("５２６０２５０２７４", "PL", "PL5260250274"),
        ("5260250274, 5252248481", "PL", None),
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
        ("12\u200b34\u00ad56\ufeff", "123456"),
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


NUMBERS = st.tuples(
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)), st.text("0123456789", min_size=3, max_size=13)
)


def said_by_the_library(code: int, national: str) -> str | None:
    """Say what the library makes of a number behind its plus; None: it cannot be dialled."""
    try:
        number = phonenumbers.parse(f"+{code}{national}")
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@given(NUMBERS)
@settings(max_examples=examples(1500), deadline=None)
def test_what_passes_for_plain_is_a_number_that_the_library_calls_valid(number: tuple[int, str]) -> None:
    text = "+{}{}".format(*number)
    if plain_phones(texts_of([text]))[0]:
        assert to_e164(text, None) == text == said_by_the_library(*number)


@pytest.mark.parametrize("code", sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
def test_numbers_near_those_of_each_plan_pass_for_plain_only_when_they_are_valid(code: int) -> None:
    region = phonenumbers.region_code_for_country_code(code)
    near = []
    for kind in phonenumbers.PhoneNumberType.values():
        number = phonenumbers.example_number_for_type(region, kind)
        if number is not None:
            digits = phonenumbers.national_significant_number(number)
            near += [digits[:at] + other + digits[at + 1 :] for at in range(len(digits)) for other in "0123456789"]
            near += [digits[:-1], digits + "1", "0" + digits, str(code) + digits]
    texts = sorted({f"+{code}{digits}" for digits in near}) or ["+"]
    plain = plain_phones(texts_of(texts))
    assert [text for text, found in zip(texts, plain, strict=True) if found and to_e164(text, None) != text] == []


@given(
    st.sampled_from(["PL", "DE", "CZ", "SK", "HU", "RO", "UA", "LT", "FR", "ES"]), st.integers(0, 10**9), st.randoms()
)
@settings(max_examples=examples(500), deadline=None)
def test_a_number_is_the_same_however_it_is_written(region: str, salt: int, rng: Random) -> None:
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    national = phonenumbers.national_significant_number(example)
    digits = national[:-4] + f"{salt % 10_000:04d}"
    number = phonenumbers.parse(f"+{example.country_code}{digits}")
    if not phonenumbers.is_valid_number(number):
        return
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    writings = phone_writings(e164, region, rng)
    assert normalise("phone", writings, region) == [e164] * len(writings), writings
    desks = [writing + rng.choice((" ext. 7", " x7", " wew. 7", ", int. 7")) for writing in writings[:-1]]
    assert normalise("phone", desks, region) == [f"{e164};ext=7"] * len(desks), desks


def phone_writings(e164: str, region: str, rng: Random) -> list[str]:
    """Write a number as people do."""
    number = phonenumbers.parse(e164)
    code, national = str(number.country_code), phonenumbers.national_significant_number(number)
    trunk = phonenumbers.ndd_prefix_for_region(region, True) or "0"
    spaced = " ".join([national[:3], national[3:6], national[6:]])
    return [
        e164,
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL),
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL),
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.RFC3966),
        trunk + national, trunk + " " + spaced, spaced, "00" + code + national, code + national, f"+{code} (0){spaced}",
        f"tel. {spaced}", "\u200b".join(e164), f"{spaced} {rng.choice(('kom.', '(Anna)', 'mobil'))}",
    ]  # fmt: skip


def test_most_phones_of_our_markets_pass_for_plain() -> None:
    usual = ["+48601234567", "+48221234567", "+4915123456789", "+420601234567", "+33612345678", "+40712345678"]
    usual += ["+421905123456", "+34612345678", "+36301234567", "+37061234567", "+380501234567", "+358401234567"]
    assert plain_phones(texts_of(usual)).all()


@given(
    st.emails(), st.sampled_from(["{}", " {} ", "<{}>", "Ann Nowak <{}>", "mailto:{}", "{}.", "'{}'", "\u200b{}\u00ad"])
)
@settings(max_examples=examples(300), deadline=None)
def test_an_email_is_the_same_however_it_is_written(email: str, writing: str) -> None:
    plain = one("email", email)
    if plain is not None:
        assert one("email", writing.format(email)) == plain
        assert one("email", writing.format(unicodedata.normalize("NFD", email.upper()))) == one("email", email.upper())


@pytest.mark.parametrize("country", ["PL", "DE", None])
@pytest.mark.parametrize(("kind", "texts"), [("email", EMAILS), ("phone", PHONES), ("tax_id", TAX_IDS)])
def test_what_histories_write_is_read_as_it_is_meant(kind: str, texts: Sequence[str], country: str | None) -> None:
    assert normalise(kind, texts, country) == [normalise_as_meant(kind, text, country) for text in texts]
