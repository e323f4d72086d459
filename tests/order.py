"""The order of tests on several workers: a file stays together, what takes longest comes first.

`seconds.json` says how long each file took, and names what took so long that it is given out alone. Under xdist the
longest begin first, so that all workers end together. `--write-seconds` writes the file from a whole run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

SECONDS = Path(__file__).with_name("seconds.json")
ALONE_S = 20.0
"""A test that takes longer is given out by itself."""
UNKNOWN_S = 10.0


def known_seconds() -> dict[str, float]:
    """Return seconds by file, and by node id of what is given out alone."""
    return dict(json.loads(SECONDS.read_text())) if SECONDS.exists() else {}


def unit_of(nodeid: str, known: dict[str, float]) -> str:
    """Name what is given out in one piece: the test, when it is long, else its file."""
    return nodeid if nodeid in known else nodeid.split("::", 1)[0]


def in_order(nodeids: list[str], known: dict[str, float]) -> list[int]:
    """Return places of the tests, the longest unit first, each unit in one piece and in its own order."""
    units = [unit_of(nodeid, known) for nodeid in nodeids]
    first: dict[str, int] = {}
    for place, unit in enumerate(units):
        first.setdefault(unit, place)
    return sorted(range(len(units)), key=lambda at: (-known.get(units[at], UNKNOWN_S), first[units[at]], at))


def measured(reports: list[tuple[str, float]]) -> dict[str, float]:
    """Sum what a run took (node id, seconds of one phase) as `seconds.json` holds it."""
    tests: dict[str, float] = defaultdict(float)
    for nodeid, seconds in reports:
        tests[nodeid] += seconds
    alone = {nodeid: seconds for nodeid, seconds in tests.items() if seconds > ALONE_S}
    found: dict[str, float] = defaultdict(float)
    for nodeid, seconds in tests.items():
        found[unit_of(nodeid, alone)] += seconds
    return {unit: round(seconds, 1) for unit, seconds in sorted(found.items(), key=lambda item: -item[1])}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-seconds", action="store_true", help="write tests/seconds.json from this run")


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.option.loadscopereorder = False  # by the number of tests, which says little


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = [items[place] for place in in_order([item.nodeid for item in items], known_seconds())]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    known = known_seconds()

    class ByUnit(LoadScopeScheduling):  # type: ignore[misc]
        """Gives out units in the order in which they were collected."""

        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid, known)

    return ByUnit(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--write-seconds"):
        reports = [
            (report.nodeid, report.duration)
            for some in terminalreporter.stats.values()
            for report in some
            if isinstance(report, pytest.TestReport)
        ]
        SECONDS.write_text(json.dumps(measured(reports), indent=1, ensure_ascii=False) + "\n")
