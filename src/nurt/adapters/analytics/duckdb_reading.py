"""Query the tables of profiles like an analyst, for the demo's page; and read back published profiles, for a start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from nurt.model.published import PublishedHeads

_SUMMARY = """
    SELECT count(*) FILTER (state = 'live'), count(*) FILTER (state = 'redirect'),
           (SELECT count(*) FROM profile_accounts)
    FROM profiles"""

_BEST = (
    "SELECT currency, customer, orders, gross, accounts FROM best_customers WHERE place <= ? ORDER BY currency, place"
)

# worth seeing: known to most systems, with invoices, consents and orders, but short enough for a page
_EXAMPLE = """
    WITH known AS (
        SELECT id, count(DISTINCT system) AS systems, count(*) AS accounts FROM profile_accounts GROUP BY id
    ), bought AS (
        SELECT id, sum(order_count) AS orders FROM profile_orders GROUP BY id
    )
    SELECT profiles.id FROM profiles JOIN known USING (id) LEFT JOIN bought USING (id)
    WHERE state = 'live' AND accounts <= 5 AND first_name IS NOT NULL
    ORDER BY systems DESC,
             (id IN (SELECT id FROM profile_invoices))::INT + (id IN (SELECT id FROM profile_consents))::INT DESC,
             accounts DESC, orders DESC NULLS LAST, id
    LIMIT 1"""

_EMAIL = "SELECT email FROM profiles WHERE state = 'live' AND email IS NOT NULL ORDER BY account_count DESC, id LIMIT 1"


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of the tables: counts."""

    live: int
    redirects: int
    accounts: int


class ProfileTables:
    """Reader of a file that `DuckdbSink` wrote; no process may write the file now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def summary(self) -> Summary:
        """Count profiles and accounts."""
        return Summary(*self._rows(_SUMMARY)[0])

    def best_customers(self, places: int) -> list[tuple[str, str, int, Decimal, int]]:
        """List the best of each currency: currency, name, orders, gross, accounts."""
        return self._rows(_BEST, [places])

    def telling_example(self) -> bytes | None:
        """Choose a profile worth seeing; None when no profile is."""
        found = self._rows(_EXAMPLE)
        return bytes.fromhex(found[0][0]) if found else None

    def some_email(self) -> str | None:
        """Return the e-mail of a customer with many accounts; None when nobody has one."""
        found = self._rows(_EMAIL)
        return str(found[0][0]) if found else None

    def _rows(self, query: str, parameters: Sequence[object] = ()) -> list[Any]:
        import duckdb  # 30 MB that `nurt run` does not need with other outputs

        with duckdb.connect(str(self._path), read_only=True) as connection:
            return connection.execute(query, list(parameters)).fetchall()


def published_in_duckdb(path: Path) -> PublishedHeads:
    """Read the profiles of a DuckDB file; none when there is no file yet."""
    if not path.exists():
        return {}
    import duckdb  # 30 MB that other outputs do not need

    with duckdb.connect(str(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if "profiles" not in tables:
            return {}
        live = connection.execute("SELECT id, revision, realm FROM profiles").fetchall()
        erased = connection.execute("SELECT id FROM profile_erased").fetchall()
    published: PublishedHeads = {bytes.fromhex(id_): None for (id_,) in erased}
    return published | {bytes.fromhex(id_): (revision, realm) for id_, revision, realm in live}
