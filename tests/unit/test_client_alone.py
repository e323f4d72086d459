"""The client is a guest in the shop's process: it brings nothing of nurt's, and changes nothing there."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import nurt_client

ROOT = Path(__file__).parents[2]
LOOK = """
import json, logging, os, signal, sys, threading, warnings
import redis, orjson
def state():
    loggers = {name: (len(one.handlers), one.level) for name, one in logging.root.manager.loggerDict.items()
               if isinstance(one, logging.Logger)}
    return [dict(os.environ), len(logging.root.handlers), logging.root.level, loggers, threading.active_count(),
            len(warnings.filters), str(signal.getsignal(signal.SIGINT)), sys.excepthook, os.getcwd(), list(sys.path)]
before, modules = state(), set(sys.modules)
from nurt_client import *
Stock.open("redis://127.0.0.1:1/0", secret="00" * 16)
print(json.dumps({"kept": before == state(), "modules": sorted(set(sys.modules) - modules)}))
"""


@pytest.fixture(scope="module")
def looked() -> dict[str, Any]:
    """What a process sees that knows of the client, redis-py and orjson only."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'client' / 'src')!r})\n{LOOK}"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_client_imports_nothing_but_itself_and_pythons_own(looked: dict[str, Any]) -> None:
    brought = {name.split(".")[0] for name in looked["modules"]}
    assert "nurt_client" in brought
    assert brought - {"nurt_client"} <= sys.stdlib_module_names


def test_importing_and_opening_sets_nothing_in_the_process(looked: dict[str, Any]) -> None:
    assert looked["kept"]


def test_the_errors_alone_do_not_import_redis() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'client' / 'src')!r}); import nurt_client.errors, nurt_client.keys"
    )
    code += "; print(sorted({'redis', 'orjson', 'nurt_client.errors'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['nurt_client.errors']"


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name: getattr(nurt_client, name).__module__ for name in nurt_client.__all__ if name != "EXPIRES_S"} == {
        "AsyncStock": "nurt_client.stock",
        "ConfigurationError": "nurt_client.errors",
        "ConnectionFailed": "nurt_client.errors",
        "Reservation": "nurt_client.protocol",
        "Line": "nurt_client.protocol",
        "NurtError": "nurt_client.errors",
        "Stock": "nurt_client.stock",
    }
    assert {*nurt_client.__all__} <= {*dir(nurt_client)}
    with pytest.raises(AttributeError, match="Shop"):
        nurt_client.Shop  # type: ignore[attr-defined]  # noqa: B018


def test_it_asks_for_redis_and_orjson_and_any_python_from_3_11() -> None:
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    assert sorted(name.split(">")[0] for name in project["dependencies"]) == ["orjson", "redis"]
    assert project["requires-python"] == ">=3.11"


def test_nurt_asks_for_the_client_of_its_own_commit() -> None:
    nurt, client = (tomllib.loads((ROOT / name / "pyproject.toml").read_text())["project"] for name in (".", "client"))
    assert nurt["version"] == client["version"]
    assert f"nurt-client=={client['version']}" in nurt["dependencies"]
