"""Invent people and firms: names, streets and numbers of several countries; none belongs to a real person.

Mail addresses end in example.com, .pl or .de only (RFC 2606 keeps them free); phone numbers are made up.
"""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class Country:
    """Country with its names, phone numbers and cities."""

    code: str
    language: str
    shop: str
    currency: str
    mail_domain: str
    phone_prefix: str
    phone_starts: tuple[str, ...]  # of nine digits (Poland, Ukraine, Czechia) or eleven (Germany, Austria)
    women: tuple[str, ...]
    men: tuple[str, ...]
    surnames: tuple[str, ...]  # in the form for men
    streets: tuple[str, ...]
    cities: tuple[tuple[str, str, str], ...]  # city, region, first digits of the postcode


LANDS: tuple[Country, ...] = (
    Country(
        "PL",
        "pl",
        "shop_pl",
        "PLN",
        "example.pl",
        "+48",
        ("501", "602", "793", "880"),
        ("Anna", "Zofia", "Łucja", "Małgorzata", "Agnieszka", "Wanda", "Józefina", "Elżbieta"),
        ("Jan", "Paweł", "Stanisław", "Łukasz", "Michał", "Tomasz", "Krzysztof", "Wojciech"),
        ("Nowak", "Wójcik", "Kowalczyk", "Zieliński", "Dąbrowski", "Mazur", "Żak", "Śliwa", "Gołąb", "Pawlak"),
        ("Długa", "Wodna", "Świętojańska", "Polna", "Żurawia", "Krótka", "aleja Róż", "Stara Droga"),
        (("Gdańsk", "pomorskie", "80"), ("Kraków", "małopolskie", "30"), ("Łódź", "łódzkie", "90")),
    ),
    Country(
        "DE",
        "de",
        "shop_de",
        "EUR",
        "example.de",
        "+49",
        ("1512", "1601", "1755"),
        ("Jördis", "Käthe", "Sabine", "Ursula", "Lena", "Friederike", "Änne", "Hannah"),
        ("Jürgen", "Günter", "Lukas", "Matthias", "Björn", "Karl-Heinz", "Felix", "Jörg"),
        ("Müller", "Schröder", "Weiß", "Köhler", "Groß", "Jäger", "Sommerfeld", "von der Heide", "Böttcher"),
        ("Hauptstraße", "Am Mühlbach", "Lindenallee", "Schillerplatz", "Königsweg", "Gartenstraße"),
        (("Köln", "Nordrhein-Westfalen", "50"), ("Görlitz", "Sachsen", "02"), ("München", "Bayern", "80")),
    ),
    Country(
        "AT",
        "de",
        "shop_de",
        "EUR",
        "example.com",
        "+43",
        ("6601", "6764"),
        ("Theresia", "Katharina", "Annemarie"),
        ("Leopold", "Matthäus", "Florian"),
        ("Huber", "Grüber", "Steindl", "Pichler"),
        ("Ringgasse", "Am Graben", "Kirchplatz"),
        (("Linz", "Oberösterreich", "40"), ("Graz", "Steiermark", "80")),
    ),
    Country(
        "CZ",
        "cs",
        "shop_pl",
        "CZK",
        "example.com",
        "+420",
        ("602", "731"),
        ("Božena", "Kateřina", "Šárka"),
        ("Jiří", "Ondřej", "Tomáš"),
        ("Dvořák", "Novák", "Šťastný", "Růžička"),
        ("Dlouhá", "Náměstí Míru", "Příčná"),
        (("Brno", "Jihomoravský kraj", "60"), ("Ostrava", "Moravskoslezský kraj", "70")),
    ),
    Country(
        "UA",
        "uk",
        "shop_pl",
        "PLN",
        "example.com",
        "+380",
        ("501", "671"),
        ("Оксана", "Соломія", "Марія"),
        ("Тарас", "Андрій", "Євген"),
        ("Шевчук", "Мельник", "Кравченко", "Ткаченко"),
        ("вул. Садова", "вул. Лесі Українки", "проспект Миру"),
        (("Львів", "Львівська область", "79"), ("Чернівці", "Чернівецька область", "58")),
    ),
)
_SHARES = (55, 28, 6, 6, 5)

FIRM_WORDS = ("Herbata", "Lumen", "Borealis", "Kwiat", "Nordwind", "Atelier", "Bursztyn", "Kupfer")
FIRM_ENDS = {"PL": "sp. z o.o.", "DE": "GmbH", "AT": "GmbH", "CZ": "s.r.o.", "UA": "ТОВ"}
_NIP_WEIGHTS = (6, 5, 7, 2, 3, 4, 5, 6, 7)


@dataclass(slots=True)
class Person:
    """Person, also one who buys for a firm; `email` and `phone` are the current ones."""

    country: Country
    first_name: str
    last_name: str
    gender: int  # Magento's: 1 male, 2 female
    email: str
    phone: str  # E.164
    birth_date: date
    street: str
    city: str
    region: str
    postcode: str
    firm: str | None
    tax_id: str | None  # ten digits (Poland) or DE and nine
    loyalty_card: str | None


def invent_person(rng: random.Random, number: int, family: Person | None = None) -> Person:
    """Invent the `number`-th person; members of a family share home and phone."""
    country = family.country if family else rng.choices(LANDS, _SHARES)[0]
    gender = rng.choice((1, 2))
    first_name = rng.choice(country.men if gender == 1 else country.women)
    surname = _mens(country, family.last_name) if family else rng.choice(country.surnames)
    last_name = surname if gender == 1 else _womens(country, surname)
    city, region, start = rng.choice(country.cities)
    street = f"{rng.choice(country.streets)} {rng.randint(1, 120)}{rng.choice(('', '', 'a', '/4'))}"
    digits = "".join(str(rng.randint(0, 9)) for _ in range(3))
    postcode = f"{start}-{digits}" if country.code == "PL" else f"{start}{digits}"
    is_firm = family is None and rng.random() < 0.15
    firm = f"{rng.choice(FIRM_WORDS)} {last_name} {FIRM_ENDS[country.code]}" if is_firm else None
    tax_id = (_german_vat(rng) if country.code in ("DE", "AT") else _nip(rng)) if is_firm else None
    return Person(
        country,
        first_name,
        last_name,
        gender,
        new_email(rng, country, first_name, last_name, number),
        family.phone if family else new_phone(rng, country),
        date(1948, 1, 1) + timedelta(days=rng.randint(0, 21_000)),
        family.street if family else street,
        family.city if family else city,
        family.region if family else region,
        family.postcode if family else postcode,
        firm,
        tax_id,
        f"NK{number:06d}" if rng.random() < 0.4 else None,
    )


def _womens(country: Country, surname: str) -> str:
    """Return the form of a surname for women: Zielińska, Šťastná, Dvořáková, Růžičková."""
    if country.code == "PL" and surname.endswith("ski"):
        return surname[:-1] + "a"
    if country.code == "CZ":
        return surname[:-1] + "á" if surname.endswith("ý") else surname.removesuffix("a") + "ová"
    return surname


def _mens(country: Country, last_name: str) -> str:
    return next(surname for surname in country.surnames if last_name in (surname, _womens(country, surname)))


def new_email(rng: random.Random, country: Country, first_name: str, last_name: str, number: int) -> str:
    """Invent a mail address, unique in this run, because it has the person's number."""
    name = rng.choice((f"{first_name}.{last_name}", f"{last_name}.{first_name[0]}", first_name))
    return f"{_ascii(name) or 'kontakt'}{number}{rng.choice(('', 'x', '.sklep', '-shop'))}@{country.mail_domain}"


def new_phone(rng: random.Random, country: Country) -> str:
    """Invent a mobile number in E.164."""
    start = rng.choice(country.phone_starts)
    length = 11 if country.code in ("DE", "AT") else 9
    return country.phone_prefix + start + "".join(str(rng.randint(0, 9)) for _ in range(length - len(start)))


def typed_email(rng: random.Random, email: str) -> str:
    """Write an address as people type and paste it: with capitals, a space, a dot, out of a mail client."""
    usual = (email, email, email, email.capitalize(), email.upper(), f" {email}")
    return rng.choice(usual) if rng.random() < 0.9 else rng.choice((f"<{email}>", f"mailto:{email}", f"{email}."))


def typed_phone(rng: random.Random, country: Country, phone: str) -> str:
    """Write a number as people type it: with or without prefix, with spaces, dashes or neither."""
    national = phone[len(country.phone_prefix) :]
    groups = [national[at : at + 3] for at in range(0, len(national), 3)]
    local = national if country.code in ("PL", "CZ") else "0" + national  # trunk prefix
    code = country.phone_prefix[1:]
    usual = (
        phone,
        phone,
        f"+{code} {' '.join(groups)}",
        f"00{code}{national}",
        local,
        f"+{code} {'-'.join(groups)}",
    )
    rare = (f"0 {' '.join(groups)}", f"+{code} (0){national}", f"{code}{national}", f"tel. {local}", f"\u200b{phone}")
    return rng.choice(usual) if rng.random() < 0.9 else rng.choice(rare)


def typed_tax_id(rng: random.Random, tax_id: str) -> str:
    """Write a tax id as a clerk types it: plain, with the country, or with dashes."""
    if tax_id.startswith("DE"):
        return rng.choice((tax_id, f"DE {tax_id[2:]}"))
    dashed = f"{tax_id[:3]}-{tax_id[3:6]}-{tax_id[6:8]}-{tax_id[8:]}"
    return rng.choice((tax_id, f"PL{tax_id}", dashed, f"PL {dashed}"))


def typed_card(rng: random.Random, card: str) -> str:
    """Write a loyalty card's number as the till or a clerk writes it."""
    return rng.choice((card, card.lower(), f"{card[:2]} {card[2:5]} {card[5:]}", f"{card[:2]}-{card[2:]}"))


def _ascii(text: str) -> str:
    """Return a name's form in a mail address: lower-case ASCII letters and dots."""
    plain = unicodedata.normalize("NFKD", text.translate(str.maketrans("łŁßØø", "lLsOo")))
    return "".join(letter for letter in plain.lower() if letter.isascii() and (letter.isalpha() or letter == "."))


def _nip(rng: random.Random) -> str:
    """Invent a Polish tax id with a correct check digit. Source: the NIP's weights, modulo 11, never 10."""
    while True:
        digits = [rng.randint(1, 9), *(rng.randint(0, 9) for _ in range(8))]
        check = sum(weight * digit for weight, digit in zip(_NIP_WEIGHTS, digits, strict=True)) % 11
        if check < 10:
            return "".join(map(str, [*digits, check]))


def _german_vat(rng: random.Random) -> str:
    """Invent a German VAT id with a correct check digit. Source: ISO 7064, MOD 11-10."""
    digits = [rng.randint(1, 9), *(rng.randint(0, 9) for _ in range(7))]
    product = 10
    for digit in digits:
        total = (digit + product) % 10 or 10
        product = 2 * total % 11
    return "DE" + "".join(map(str, digits)) + str((11 - product) % 10)
