"""What the project promises whoever clones or installs it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nurt.app.delivery_config import read_destinations
from nurt.cli import app
from nurt.mapping.load import load_mapping
from nurt.settings import load_settings

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _locked() -> set[str]:
    return {_canonical(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, re.MULTILINE)}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return _canonical(found.group())


def test_every_package_that_the_project_asks_for_is_in_the_lock() -> None:
    project = PROJECT["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["otlp"], *PROJECT["dependency-groups"]["dev"]]
    assert {_name(requirement) for requirement in asked} - {"nurt-client"} <= _locked()  # it lies beside, in client/


def test_every_package_in_the_lock_is_checked_by_its_hash_wherever_it_comes_from() -> None:
    pins = re.split(r"^(?=[A-Za-z0-9._-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(pins) > 50
    assert [pin.split("==")[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert not re.search(r"^\s*--(index|extra-index|find-links)|https?://", LOCK, re.MULTILINE)


@pytest.fixture
def bare_machine(tmp_path: Path) -> Path:
    """A checkout's set-up files, and a PATH on which only the plainest tools are."""
    for name in ("requirements.lock", "pyproject.toml", "tools/environment.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("cat", "rm", "sh"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    return tmp_path


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _set_up(machine: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine / "bin"), "HOME": str(machine)}
    command = [str(machine / "bin" / "sh"), "tools/environment.sh"]
    return subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True, check=False)


def test_without_a_python_that_works_the_set_up_says_what_to_install(bare_machine: Path) -> None:
    for name in ("python3.12", "python3.11", "python3"):  # as a shim of pyenv does for a version that is not active
        _script(bare_machine / "bin" / name, f"echo 'pyenv: {name}: command not found' >&2; exit 127")
    done = _set_up(bare_machine)
    assert done.returncode == 1
    assert "no Python 3.11 or 3.12 that works was found" in done.stderr
    assert "install" in done.stderr
    assert "command not found" not in done.stderr


def test_the_set_up_passes_over_shims_that_do_not_work(bare_machine: Path) -> None:
    for name in ("python3.12", "python3.11"):
        _script(bare_machine / "bin" / name, "exit 127")
    # a python3 that works, but only says how it was called
    answers = f'-c) exec {sys.executable} "$@";; --version) echo "Python of the test";; *) echo "asked: $*";;'
    _script(bare_machine / "bin" / "python3", f'case "$1" in {answers} esac')
    done = _set_up(bare_machine)
    assert "making .venv with Python of the test" in done.stdout
    assert "asked: -m venv .venv" in done.stdout


def test_the_set_up_lets_uv_bring_a_python_when_there_is_none(bare_machine: Path) -> None:
    _script(bare_machine / "bin" / "uv", 'echo "uv asked: $*"; exit 1')
    done = _set_up(bare_machine)
    assert "uv asked: venv" in done.stdout
    assert done.returncode == 1
    assert "no Python 3.11 or 3.12" in done.stderr  # uv could not either


def _wheel(project: Path, folder: Path) -> dict[str, bytes]:
    """Build a wheel; returns its files."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ""})
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the wheel that users install."""
    return [*_wheel(ROOT, tmp_path_factory.mktemp("wheel"))]


def test_the_clients_wheel_carries_its_sources_types_and_script_and_asks_for_two_packages(tmp_path: Path) -> None:
    files = _wheel(ROOT / "client", tmp_path)
    sources = ROOT / "client" / "src"
    assert {name for name in files if ".dist-info/" not in name} == {
        str(path.relative_to(sources)) for path in sources.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert {"nurt_client/py.typed", "nurt_client/ledger.lua"} <= {*files}
    (metadata,) = (text.decode() for name, text in files.items() if name.endswith("/METADATA"))
    assert re.findall(r"^Requires-Python: (.*)$", metadata, re.MULTILINE) == [">=3.11"]
    assert re.findall(r"^Requires-Dist: ([a-z]+)", metadata, re.MULTILINE) == ["orjson", "redis"]


def test_the_wheel_carries_contracts_presets_and_the_mappings_schema(wheel: list[str]) -> None:
    contracts = {f"nurt/_schemas/{path.name}" for path in (ROOT / "schemas").glob("*.*") if path.suffix != ".md"}
    assert "nurt/_schemas/state-v1-first.json" in contracts
    presets = {f"nurt/presets/{path.name}" for path in (ROOT / "src" / "nurt" / "presets").glob("*.yaml")}
    assert contracts and presets
    assert contracts | presets | {"nurt/mapping.schema.json"} <= set(wheel)


def test_the_wheel_carries_nothing_but_the_package_and_its_flows(wheel: list[str]) -> None:
    assert {f"nurt/flows/{path.name}" for path in (ROOT / "flows").glob("*.py")} <= set(wheel)
    assert [name for name in wheel if not re.match(r"nurt/|nurt-[^/]+\.dist-info/", name)] == []
    assert [name for name in wheel if name.endswith((".pyc", ".nbc", ".nbi"))] == []


def test_flows_know_the_runtime_and_bytewax_only() -> None:
    allowed = re.compile(r"(__future__|bytewax|nurt\.runtime)(\.|$)")
    found = {}
    for path in sorted((ROOT / "flows").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found.update({f"{path.name}:{node.lineno}": name for name in names if not allowed.match(name)})
    assert {place: name for place, name in found.items() if name.split(".")[0] not in sys.stdlib_module_names} == {}


def test_no_package_is_larger_than_a_reader_can_keep_in_mind() -> None:
    packages = [path.parent for path in (ROOT / "src" / "nurt").rglob("__init__.py")]
    modules = {str(one.relative_to(ROOT)): len([*one.glob("*.py")]) - 1 for one in packages}
    assert len(modules) > 30
    assert {package: count for package, count in modules.items() if count > 15} == {}


def _readme_blocks(language: str) -> list[str]:
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in blocks]


def test_the_readmes_settings_and_mapping_can_be_used_as_they_stand(tmp_path: Path) -> None:
    settings, mapping, destinations = _readme_blocks("yaml")
    (tmp_path / "nurt.yaml").write_text(settings)
    assert load_settings(tmp_path / "nurt.yaml").topic == "nurt.profiles"
    (tmp_path / "delivery.yaml").write_text(destinations)
    assert {*read_destinations(load_settings(tmp_path / "nurt.yaml"))} == {"crm", "letters", "warehouse"}
    assert load_mapping(mapping, "mapping.yaml").for_topic("erp.public.contractors") is not None


def test_the_readme_names_only_commands_that_there_are() -> None:
    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    named = re.findall(r"(?:^|`|nurt )nurt ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(named) > 8
    assert set(named) <= known


PAGES = [
    page.relative_to(ROOT).as_posix()
    for folder in (".", "client", "docs", "schemas", "benchmarks")
    for page in sorted((ROOT / folder).glob("*.md"))
]


@pytest.mark.parametrize("name", PAGES)
def test_no_link_of_the_documents_leads_nowhere(name: str) -> None:
    page = ROOT / name
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    for link in links:
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in _anchors(target.read_text()), link


def _anchors(text: str) -> set[str]:
    """Name the headings of a page as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_leads_to_every_page() -> None:
    led_to = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text()))
    assert {page for page in PAGES if page not in led_to} == {"README.md"}


def test_whoever_reads_the_code_finds_every_law_by_its_name() -> None:
    sources = [
        path
        for folder in ("src", "flows", "tests", "docs", "benchmarks")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".md", ".lua"}
    ]
    numbered = re.compile(r"\blaws? \d", re.IGNORECASE)
    assert [str(path) for path in sources if numbered.search(path.read_text())] == []


def test_the_wheel_says_its_licence_and_that_it_is_typed(wheel: list[str]) -> None:
    assert "nurt/py.typed" in wheel
    assert [name for name in wheel if name.endswith(".dist-info/licenses/LICENSE")]
