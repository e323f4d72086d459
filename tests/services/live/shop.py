"""A shop in MariaDB, tables in the manner of WooCommerce: made up, then changed in ways that mislead."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.services.live.rows import Sql, inserts, row

HERE = Path(__file__).parent
TABLES, CHANGES, MORE_CHANGES = (
    (HERE / f"shop_{part}.sql").read_text(encoding="utf-8") for part in ("tables", "changes", "more_changes")
)

PEOPLE = 60
ORDERS = 240
STATUSES = (
    "wc-completed",
    "wc-completed",
    "wc-processing",
    "wc-pending",
    "wc-cancelled",
    "wc-failed",
    "wc-refunded",
    "trash",
)


def email_of(person: int) -> str:
    return f"klient{person}@przykład.pl" if person % 7 == 0 else f"klient{person}@example.com"


def phone_of(person: int) -> str:
    return f"6010{person:05d}"


def first_rows(today: str) -> str:
    """Fill the tables, as they stand before anyone captures them. `today`: ISO date that orders reach back from."""
    random = Random(11)
    some = random.choice
    customers = [
        row(
            person,
            _typed_email(random, person),
            random.randint(0, 1),
            _typed_phone(random, person),
            some([" Łucja ", "Jan", "Żaneta", None]),
            some(["Kot", "Wąs", None]),
            some(["1985-02-28", "1950-01-01", None]),
            some(["pl_PL", "de_DE", None]),
            some(["PL", "DE", None]) if person % 5 else "PL",
            "2019-03-31 01:30:00",
            f"2024-05-01 10:00:00.{person:06d}",
        )
        for person in range(1, PEOPLE + 1)
    ]
    orders = [_order(random, number, today) for number in range(1, ORDERS + 1)]
    lines = [
        row(
            number * 10 + line,
            number,
            random.randint(100, 125),
            random.randint(1, 5),
            some([None, 0, 1]),
            some(["herbata", "kawa", "kubki", "", None]),
            random.randint(1, 9999) / 100,
        )
        for number in range(1, ORDERS + 1)
        for line in range(random.randint(0, 4))
    ]
    consents = [
        row(person, purpose, some([0, 1, 1, None]), "www", f"2024-0{random.randint(1, 9)}-11 12:00:00.{person:03d}")
        for person in range(1, PEOPLE + 1, 2)
        for purpose in ("newsletter", "profilowanie")
    ]
    meta = [
        row(person, person, some(["sms_opt_in", "nickname", "rich_editing"]), some(["yes", "no"]))
        for person in range(1, PEOPLE + 1)
    ]
    return inserts(
        {
            "wp_wc_customers": customers,
            "wp_wc_orders": orders,
            "wp_wc_order_product_lookup": lines,
            "wp_consents": consents,
            "wp_usermeta": meta,
        }
    )


def _order(random: Random, number: int, today: str) -> str:
    some = random.choice
    person, guest = random.randint(1, PEOPLE), random.random() < 0.3
    days, hour = some([0, 1, 29, 30, 31, 89, 90, 364, 365, random.randint(0, 900)]), some([0, 12, 22, 23])
    return row(
        number,
        some(STATUSES),
        some(["PLN", "PLN", "EUR", "CZK", None]),
        "shop_order" if random.random() < 0.95 else "shop_order_refund",
        some(["pl", "de", None]),
        f"{random.randint(0, 10**7) / 100:.8f}" if random.random() < 0.95 else None,
        0 if guest else person,
        _typed_email(random, person),
        _typed_phone(random, person),
        some(["Jan", "Ewa", None]),
        some(["Kot", None]),
        "PL",
        Sql(f"date_sub('{today} {hour:02d}:45:00', interval {days} day)") if random.random() < 0.95 else None,
    )


def _typed_email(random: Random, person: int) -> str | None:
    email = email_of(person)
    return random.choice([email, email, email.upper(), f" {email} ", None])


def _typed_phone(random: Random, person: int) -> str | None:
    phone = phone_of(person)
    return random.choice([f"+48 {phone}", f"0048{phone}", f"+48{phone[:3]}-{phone[3:6]}-{phone[6:]}", None, None])
