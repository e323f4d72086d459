from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nurt.adapters.analytics.duckdb import DuckdbSink
from nurt.errors import ConnectionFailed, StateTooNew
from tests.contracts.published import Profile, batch, profile, redirect, rich


def chosen(value: str) -> Profile:
    return {"value": value, "system": "shop", "row": "", "position": "", "rule": "only"}


def orders(currency: str, gross: str, count: int = 1) -> Profile:
    windows: Profile = {f"last_{days}_count": 0 for days in (30, 90, 365)}
    windows |= {f"last_{days}_gross": Decimal(0) for days in (30, 90, 365)}
    return {
        **{"currency": currency, "market": "", "count": count, "gross": Decimal(gross), "average": None},
        **{"first_on": None, "last_on": None, "cancelled": 0, "returned": 0, "open": 0, **windows},
        **dict.fromkeys(("given_back", "net", "paid", "open_amount"), Decimal(0)),
    }


def query(path: Path, sql: str) -> list[Any]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_best_customers_are_ranked_within_their_currency(tmp_path: Path) -> None:
    sink = DuckdbSink(tmp_path / "p.db")
    sink.write(
        batch(
            profile(1, 1, first_name=chosen("Łucja"), last_name=chosen("Nowak"), orders=[orders("PLN", "10.5")]),
            profile(2, 1, company=chosen("Żuk sp. z o.o."), orders=[orders("EUR", "1"), orders("PLN", "99")]),
            profile(3, 1, email=chosen("a@example.pl"), orders=[orders("PLN", "500", count=0)]),
            profile(4, 1),
            redirect(5, 1, to=1),
        )
    )
    sink.close()
    assert query(tmp_path / "p.db", "SELECT currency, place, customer, gross FROM best_customers") == [
        ("EUR", 1, "Żuk sp. z o.o.", Decimal("1.0000")),
        ("PLN", 1, "Żuk sp. z o.o.", Decimal("99.0000")),
        ("PLN", 2, "Łucja Nowak", Decimal("10.5000")),
    ]


def test_every_view_can_be_read(tmp_path: Path) -> None:
    sink = DuckdbSink(tmp_path / "p.db")
    sink.write(batch(*(rich(number, 1) for number in range(50))))
    sink.close()
    for view in ("best_customers", "overdue_customers", "reachable_customers"):
        assert query(tmp_path / "p.db", f"FROM {view}")


HOLDING = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("held", flush=True)
sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", HOLDING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


def test_a_sink_that_does_not_hold_the_file_lets_readers_in_between_batches(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    sink = DuckdbSink(path, hold=False)
    sink.write(batch(rich(1, 1)))
    assert query(path, "SELECT count(*) FROM profiles") == [(1,)]
    reader = holder(path)
    reader.communicate()
    sink.write(batch(rich(2, 1)))
    assert query(path, "SELECT count(*) FROM profiles") == [(2,)]


def test_a_file_that_another_process_keeps_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    DuckdbSink(path).close()
    reader = holder(path)
    with pytest.raises(ConnectionFailed, match=r"p\.db: another process"):
        DuckdbSink(path, wait_s=0.2)
    reader.communicate()
    DuckdbSink(path).close()


def test_a_file_of_a_later_nurt_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    DuckdbSink(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO nurt_layout VALUES (99)")
    with pytest.raises(StateTooNew, match="99"):
        DuckdbSink(path)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.db").write_text("hello" * 1000)
    with pytest.raises(ConnectionFailed, match=r"p\.db"):
        DuckdbSink(tmp_path / "p.db")


def test_a_batch_that_cannot_be_decoded_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    sink = DuckdbSink(tmp_path / "p.db")
    sink.write(batch(rich(1, 1)))
    broken = batch(rich(1, 2), rich(2, 2))
    broken.values[1] = b"\xff\xff"
    with pytest.raises(Exception, match="decoding"):
        sink.write(broken)
    sink.write(batch(rich(3, 1)))
    sink.close()
    assert query(tmp_path / "p.db", "SELECT revision FROM profiles") == [(1,), (1,)]
