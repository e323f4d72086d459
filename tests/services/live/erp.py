"""An ERP in PostgreSQL, tables in the manner of a Polish one: made up, then changed in ways that mislead."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.services.live.rows import Sql, inserts, row
from tests.services.live.shop import PEOPLE, email_of, phone_of

HERE = Path(__file__).parent
TABLES, CHANGES, MORE_CHANGES = (
    (HERE / f"erp_{part}.sql").read_text(encoding="utf-8") for part in ("tables", "changes", "more_changes")
)

CONTRACTORS = 50
ORDERS = 80
INVOICES = 150


def first_rows(today: str) -> str:
    """Fill the tables, as they stand before anyone captures them. `today`: ISO date that due dates lie around."""
    random = Random(12)
    some = random.choice
    contractors = [_contractor(random, number) for number in range(1, CONTRACTORS + 1)]
    addresses = [
        row(
            _uuid("a", number),
            *_key(number),
            some(["dostawa", "siedziba", None]),
            f"Długa {number}",
            some(["Gdańsk", ""]),
            "80-001",
            "PL",
        )
        for number in range(1, CONTRACTORS + 1, 2)
    ]
    orders = [_order(random, number, today) for number in range(1, ORDERS + 1)]
    lines = [
        row(
            _uuid("b", number),
            line,
            some([f"T-{random.randint(1, 15)}", "101", None]),
            some(["herbata", "młynki", None]),
            f"{random.randint(0, 20000) / 1000:.3f}",
            some([None, "0.500"]),
        )
        for number in range(1, ORDERS + 1)
        for line in range(random.randint(0, 3))
    ]
    invoices = [_invoice(random, number, today) for number in range(1, INVOICES + 1)]
    consents = [
        row(
            *_key(number),
            some(["newsletter", "sms", "kredyt"]),
            some([Sql("true"), Sql("false"), None]),
            Sql(f"timestamp '2024-10-27 00:00:00' + interval '{at * 7} minutes'"),
        )
        for at, number in enumerate(random.choices(range(1, CONTRACTORS + 1), k=80))
    ]
    contacts = [
        row(*_key(number), f"2025-0{random.randint(1, 9)}-01 00:30:00.{number:06d}+02") for number in range(1, 30)
    ]
    return inserts(
        {
            "kontrahenci": contractors,
            "adresy": addresses,
            "zamowienia": orders,
            "pozycje": lines,
            "faktury": invoices,
            "zgody (firma, kontrahent, cel, udzielona, kiedy)": consents,
            "kontakty": contacts,
        }
    )


def _contractor(random: Random, number: int) -> str:
    some = random.choice
    large = number % 10 == 0  # a name that is stored out of line, and not sent again while it does not change
    person, firm = random.randint(1, PEOPLE * 2), large or random.random() < 0.5
    name = f"(select string_agg(md5('{number}' || part), '') from generate_series(1, 120) as part)"
    return row(
        *_key(number),
        "firma" if firm else "osoba",
        Sql(name) if large else f"Żółw {number} sp. z o.o.",
        some(["Łucja", "Jan", None]),
        some(["Kot", "Wąs"]),
        _typed_nip(random, person) if firm else None,
        some([email_of(person), f" {email_of(person).upper()}", "brak", None]),
        some([f"fk{person}@example.com", None, None]),
        some([f"+48 {phone_of(person)}", phone_of(person), None]),
        Sql("true") if number == 10 or (not large and random.random() < 0.25) else Sql("false"),
        f"2024-06-01 10:00:00.{number:06d}+02",
    )


def _order(random: Random, number: int, today: str) -> str:
    some = random.choice
    whose, days = random.randint(1, CONTRACTORS + 3), some([0, 1, 30, 90, 365, random.randint(0, 600)])
    return row(
        _uuid("b", number),
        *((None, None) if random.random() < 0.2 else _key(whose)),
        f"ZS/{number}",
        some([email_of(whose), None]),
        some([phone_of(whose), None]),
        some(["PLN", "EUR", None]),
        f"{random.randint(-(10**6), 10**8) / 100:.2f}",
        some(["nowe", "gotowe", "anulowane", "zwrot", None]),
        Sql(f"timestamp '{today} {some(['00:30', '01:59', '12:00', '23:30'])}' - interval '{days} days'"),
    )


def _invoice(random: Random, number: int, today: str) -> str:
    some = random.choice
    firm, whose = _key(random.randint(1, CONTRACTORS))
    return row(
        firm,
        some(["FV", "KOR"]),
        number,
        whose,
        some(["PLN", "EUR"]),
        f"{random.randint(-(10**5), 10**7) / 100:.2f}",
        some([None, "0", "12.34", "9999999.99"]),
        "2024-01-01",
        some([Sql(f"date '{today}' + {random.randint(-2, 2)}"), None]),
        some([0, 0, 1, 2, 9, None]),
    )


def _key(contractor: int) -> tuple[int, int]:
    return contractor % 2 + 1, contractor


def _typed_nip(random: Random, person: int) -> str:
    digits = f"52602{person:04d}"
    check = sum(int(digit) * weight for digit, weight in zip(digits, (6, 5, 7, 2, 3, 4, 5, 6, 7), strict=True)) % 11
    nip = f"{digits}{check % 10}"  # a remainder of 10 leaves a number that fails its check
    return random.choice([nip, f"PL{nip}", f"{nip[:3]}-{nip[3:6]}-{nip[6:8]}-{nip[8:]}"])


def _uuid(kind: str, number: int) -> str:
    return f"{kind}0000000-0000-4000-8000-{number:012d}"
