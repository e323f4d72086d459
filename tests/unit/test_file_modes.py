"""Nobody but the user who runs nurt may read what nurt writes, unless the settings share it."""

from __future__ import annotations

import grp
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nurt.adapters.analytics.duckdb import DuckdbSink
from nurt.adapters.analytics.duckdb_stock import DuckdbStockSink
from nurt.adapters.analytics.parquet import ParquetSink
from nurt.adapters.durable import replace_file
from nurt.adapters.file_modes import Sharing, keep_files_private, sharing
from nurt.adapters.redis.embedded import embedded_state
from nurt.errors import ConfigurationError
from nurt.settings import load_settings
from tests.contracts.published import batch, rich

NURT = Path(sys.executable).with_name("nurt")
OTHERS = 0o077


@pytest.fixture
def private_process() -> Iterator[None]:
    """This process as `nurt` and its workers begin: they create nothing that others may read."""
    before = os.umask(0o022)
    keep_files_private()
    yield
    os.umask(before)


def _open_to_others(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.lstat().st_mode & OTHERS)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.services
def test_others_read_nothing_that_the_demo_writes(tmp_path: Path) -> None:
    """The whole way: settings, archives, Valkey's file, DuckDB, commits, the control log; under a lax umask."""
    done = subprocess.run(
        ["sh", "-c", f"umask 022; {NURT} demo --folder {tmp_path / 'out'} --customers 10"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "data" / "valkey" / "appendonlydir").is_dir()
    assert _open_to_others(tmp_path) == []


def test_a_replaced_file_is_private(tmp_path: Path) -> None:
    replace_file(tmp_path / "commits", b"{}")
    assert _mode(tmp_path / "commits") == 0o600


@pytest.mark.services
def test_an_embedded_server_of_an_earlier_nurt_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "valkey"
    folder.mkdir(mode=0o755)
    with embedded_state(folder):
        assert _mode(folder) == 0o700
        assert _open_to_others(folder / "appendonlydir") == []


def test_analysts_read_nothing_until_the_settings_share_it(tmp_path: Path, private_process: None) -> None:
    _write_all(tmp_path, Sharing())
    assert _open_to_others(tmp_path) == []


def test_a_group_of_analysts_reads_tables_and_not_the_journal(tmp_path: Path, private_process: None) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    for _ in range(2):  # the second time the files are there
        _write_all(tmp_path, sharing(group, "0640"))
        assert _mode(tmp_path / "profiles.duckdb") == 0o640
        assert _mode(tmp_path / "stock.duckdb") == 0o640
        tables = [path for path in (tmp_path / "pq").rglob("*.parquet") if "_nurt" not in path.parts]
        assert {_mode(path) for path in tables} == {0o640}
        assert {_mode(path.parent) for path in tables} == {0o750}
        assert _mode(tmp_path / "pq") == 0o750
        assert _mode(tmp_path / "pq" / "_nurt") == 0o700


def test_files_of_an_earlier_nurt_are_shared_when_the_settings_say_so(tmp_path: Path, private_process: None) -> None:
    _write_all(tmp_path, Sharing())
    _write_all(tmp_path, sharing(None, "0640"))
    assert _mode(tmp_path / "profiles.duckdb") == 0o640
    assert {_mode(path) for path in (tmp_path / "pq" / "profiles").iterdir()} == {0o640}


def test_a_mode_that_an_operator_gave_to_a_duckdb_file_stays(tmp_path: Path, private_process: None) -> None:
    _write_all(tmp_path, Sharing())
    (tmp_path / "profiles.duckdb").chmod(0o644)
    _write_all(tmp_path, Sharing())
    assert _mode(tmp_path / "profiles.duckdb") == 0o644


@pytest.mark.parametrize(("written", "mode"), [('"0640"', 0o640), ("0640", 0o640), ('"660"', 0o660), ('"0644"', 0o644)])
def test_a_mode_is_read_as_people_write_it(tmp_path: Path, written: str, mode: int) -> None:
    settings = tmp_path / "nurt.yaml"
    settings.write_text(f"mapping: m.yaml\ninput: {{archives: [a]}}\noutput: {{group: analysts, mode: {written}}}\n")
    assert load_settings(settings).shared == Sharing("analysts", mode)


@pytest.mark.parametrize("written", ["640", '"0750"', '"0440"', '"rw-r-----"', '""', '"0o640"', "true", "[6]"])
def test_a_mode_that_is_none_for_a_file_is_refused(tmp_path: Path, written: str) -> None:
    settings = tmp_path / "nurt.yaml"
    settings.write_text(f"mapping: m.yaml\ninput: {{archives: [a]}}\noutput: {{mode: {written}}}\n")
    with pytest.raises(ConfigurationError, match="mode"):
        load_settings(settings)


def test_a_group_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"group nobody-has-it .*correct them"):
        DuckdbSink(tmp_path / "p.duckdb", shared=sharing("nobody-has-it", None))


def _write_all(folder: Path, shared: Sharing) -> None:
    duckdb = DuckdbSink(folder / "profiles.duckdb", shared=shared)
    for sink in (duckdb, ParquetSink(folder / "pq", rows_max=1, shared=shared)):
        sink.write(batch(*(rich(number, 1) for number in range(20))))
        sink.close()
    DuckdbStockSink(folder / "stock.duckdb", shared=shared).close()
