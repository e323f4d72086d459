"""What the profiles must be, in SQL alone: each database tells its rows in its own SQL, DuckDB adds them up.

Nothing here knows nurt's code: normalisation, time zones, matching and sums are written anew.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from tests.services.stack.databases import Database

Rows = list[dict[str, Any]]

COLUMNS: dict[str, str] = {
    "customer": "key email email_ok phone first_name last_name company tax_id loyalty_card birth_date language country"
    " updated_at email2",
    "sale": "key owner email phone first_name last_name country currency market gross status placed_at",
    "line": "sale sku category quantity",
    "invoice": "owner currency open_amount due_on status",
    "consent": "owner purpose granted moment",
    "address": "owner kind street city postcode country",
    "visit": "owner moment",
}
"""What is asked of each database; keys of several parts are joined by `|`; all of it as text."""

SHOP: dict[str, str] = {
    "customer": """select id as `key`, email, email_confirmed as email_ok, billing_phone as phone,
        nullif(trim(first_name), '') as first_name, last_name, null as company, null as tax_id, null as loyalty_card,
        birthday as birth_date, left(locale, 2) as language, country, date_modified as updated_at, null as email2
        from wp_wc_customers""",
    "sale": """select id as `key`, if(customer_id = 0, null, customer_id) as owner, billing_email as email,
        billing_phone as phone,
        billing_first_name as first_name, billing_last_name as last_name, billing_country as country,
        coalesce(currency, 'PLN') as currency, if(lang = 'de', 'DE', 'PL') as market,
        coalesce(total_amount, 0) as gross,
        case status when 'wc-completed' then 'complete' when 'wc-cancelled' then 'cancelled'
        when 'wc-failed' then 'cancelled'
        when 'wc-refunded' then 'returned' else 'open' end as status, date_created_gmt as placed_at
        from wp_wc_orders where type = 'shop_order' and status != 'trash'""",
    "line": """select order_id as sale, product_id as sku, if(category = '', null, category) as category,
        product_qty - coalesce(refunded_qty, 0) as quantity from wp_wc_order_product_lookup""",
    "consent": """select customer_id as owner, purpose, granted, changed_at as moment from wp_consents
        union all select user_id, 'sms', if(meta_value = 'yes', 1, 0), null from wp_usermeta
        where meta_key = 'sms_opt_in'""",
}

ERP: dict[str, str] = {
    "customer": """select firma || '|' || id as key, email, null as email_ok, telefon as phone,
        case rodzaj when 'osoba' then imie end as first_name, case rodzaj when 'osoba' then nazwisko end as last_name,
        case rodzaj when 'firma' then nazwa end as company, nip as tax_id, {card} as loyalty_card, null as birth_date,
        null as language, null as country, zmieniono as updated_at, email_ksiegowosc as email2
        from kontrahenci where not usuniety""",
    "sale": """select id as key, firma || '|' || kontrahent as owner, email, telefon as phone,
        null as first_name, null as last_name,
        null as country, coalesce(waluta, 'PLN') as currency, 'B2B' as market, coalesce(wartosc, 0) as gross,
        case stan when 'anulowane' then 'cancelled' when 'zwrot' then 'returned' when 'gotowe' then 'complete'
        else 'open' end as status, zlozono at time zone 'Europe/Warsaw' at time zone 'UTC' as placed_at
        from zamowienia""",
    "line": """select zamowienie as sale, towar as sku, grupa as category,
        coalesce(ilosc, 0) - coalesce(zwrot, 0) as quantity
        from pozycje""",
    "invoice": """select firma || '|' || kontrahent as owner, waluta as currency,
        coalesce(do_zaplaty, brutto) as open_amount,
        termin as due_on, case stan when 2 then 'paid' when 9 then 'cancelled' else 'open' end as status
        from faktury where kontrahent is not null""",
    "consent": """select firma || '|' || kontrahent as owner, cel as purpose, udzielona as granted,
        (kiedy at time zone 'Europe/Warsaw' at time zone 'UTC')
        - case when kiedy >= '2024-10-27 02:00' and kiedy < '2024-10-27 03:00' then interval '1 hour'
          when kiedy >= '2025-10-26 02:00' and kiedy < '2025-10-26 03:00' then interval '1 hour' else interval '0' end
        as moment from zgody""",  # of an hour that comes twice PostgreSQL takes the second, nurt the first
    "address": """select firma || '|' || kontrahent as owner, rodzaj as kind, nullif(ulica, '') as street,
        nullif(miasto, '') as city, kod as postcode, kraj as country from adresy""",
    "visit": "select firma || '|' || kontrahent as owner, kiedy at time zone 'UTC' as moment from kontakty",
}


def rows_of_shop(database: Database) -> dict[str, Rows]:
    """Ask MariaDB; times in UTC."""
    return {name: _ask(database, name, query, "set time_zone = '+00:00';", "char") for name, query in SHOP.items()}


def rows_of_erp(database: Database) -> dict[str, Rows]:
    """Ask PostgreSQL; times in UTC."""
    there = "select count(*) from information_schema.columns where table_name = 'kontrahenci' and column_name = 'karta'"
    card = "karta" if database.execute(there).strip() == "1" else "null"
    queries = {name: query.replace("{card}", card) for name, query in ERP.items()}
    return {name: _ask(database, name, query, "set timezone = 'UTC';", "text") for name, query in queries.items()}


def _ask(database: Database, name: str, query: str, first: str, text: str) -> Rows:
    mariadb = text == "char"
    make = "json_object" if mariadb else "json_build_object"
    pairs = ", ".join(f"'{column}', cast(t.{column} as {text})" for column in COLUMNS[name].split())
    if mariadb:
        pairs = pairs.replace("t.key", "t.`key`")
    said = database.execute(f"{first} select {make}({pairs}) from ({query}) as t;")
    lines = said.replace("\\\\", "\\") if mariadb else said
    return [json.loads(line) for line in lines.splitlines()]


def expect(erp: dict[str, Rows], shop: dict[str, Rows], today: date) -> dict[str, Rows]:
    """Add up what both databases said; every row of the answer names its profile by its first account."""
    engine = duckdb.connect()
    for name, columns in COLUMNS.items():
        rows = [
            {"system": system, **row}
            for system, found in (("erp", erp), ("sklep", shop))
            for row in found.get(name, [])
        ]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(["system", *columns.split()], pl.String))
        engine.register(f"said_{name}", frame)
        engine.execute(f"create table {name} as select * from said_{name}")
    engine.execute(PROFILES.replace("{today}", today.isoformat()))
    answers = {}
    for name, query in ANSWERS.items():
        found = engine.execute(query.replace("{today}", f"date '{today.isoformat()}'"))
        names = [column[0] for column in found.description]
        answers[name] = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return answers


PROFILES = (Path(__file__).parent / "expected_profiles.sql").read_text(encoding="utf-8")


def _window(days: int) -> str:
    inside = f"filter (status <> 'cancelled' and day > {{today}} - {days} and day <= {{today}})"
    return f"count(*) {inside} as last_{days}_count, coalesce(sum(value) {inside}, 0) as last_{days}_gross"


def _top(what: str) -> str:
    return f"""select * from (select profile, {what}, sum(cast(line.quantity as decimal(18,4))) as quantity
        from line join ordered on ordered.system = line.system and ordered.key = line.sale
        where status <> 'cancelled' and {what} is not null group by profile, {what}) where quantity <> 0
        qualify row_number() over (partition by profile order by quantity desc, {what}) <= 10"""


CHOSEN = [
    "email",
    "phone",
    "first_name",
    "last_name",
    "company",
    "tax_id",
    "loyalty_card",
    "birth_date",
    "language",
    "country",
]


def _chosen(field: str) -> str:
    """Tell every value that may be chosen: of rows that stand equal, any."""
    verified = "coalesce(email_ok, false)" if field == "email" else "false"
    return f"""select profile, '{field}' as field, {field} as value from person join profile using (system, entity, key)
        where {field} is not null
        qualify rank() over (partition by profile order by {verified} desc, system, updated_at desc nulls last) = 1"""


ANSWERS: dict[str, str] = {
    "accounts": """select profile, system, entity, if(entity = 'guest', 'order' || chr(31), '')
        || replace(key, '|', chr(31)) as key
        from profile""",
    "identifiers": "select distinct profile, kind, value from link join profile using (system, entity, key)",
    "chosen": " union all ".join(f"({_chosen(field)})" for field in CHOSEN),
    "orders": f"""select profile, currency, market, count(*) filter (status <> 'cancelled') as count,
        coalesce(sum(value) filter (status <> 'cancelled'), 0) as gross,
        min(day) filter (status <> 'cancelled') as first_on,
        max(day) filter (status <> 'cancelled') as last_on, count(*) filter (status = 'cancelled') as cancelled,
        count(*) filter (status = 'returned') as returned, count(*) filter (status = 'open') as open,
        {_window(30)}, {_window(90)}, {_window(365)} from ordered group by profile, currency, market""",
    "products": _top("sku"),
    "categories": _top("category"),
    "invoices": """select profile, currency, count(*) as open_count, sum(amount) as open_amount,
        count(*) filter (late) as overdue_count, coalesce(sum(amount) filter (late), 0) as overdue_amount from (
        select profile, currency, cast(open_amount as decimal(18,4)) as amount,
        coalesce(cast(due_on as date) < {today}, false) as late
        from invoice i join profile p on p.system = i.system and p.key = i.owner and p.entity = 'customer'
        where status = 'open' and cast(open_amount as decimal(18,4)) > 0) group by profile, currency""",
    "consents": """select profile, purpose, case when granted in ('1', 'true') then true
        when granted in ('0', 'false') then false end as granted, cast(moment as timestamp) as moment, c.system
        from consent c join profile p on p.system = c.system and p.key = c.owner and p.entity = 'customer'
        qualify rank() over (partition by profile, purpose order by cast(moment as timestamp) desc nulls last) = 1""",
    "addresses": """select profile, a.system, kind, street, city, postcode, country
        from address a join profile p on p.system = a.system and p.key = a.owner and p.entity = 'customer'""",
    "last_interaction_on": """select profile, max(cast(moment as timestamp)::date) as day
        from visit v join profile p on p.system = v.system and p.key = v.owner and p.entity = 'customer'
        group by profile""",
}
