"""Fixtures of real services for every suite (see tests/services/stack), markers by folder, and what was skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.stack.daemon import Daemon

pytest_plugins = ["tests.services.stack.fixtures", "tests.hypothesis_profiles", "tests.order"]

HERE = Path(__file__).parent
SERVICES = frozenset(
    {
        *("kafka", "kafka_server", "topic", "registry_url", "registry_server", "connect", "postgres", "mariadb"),
        *("redis_server", "shared_redis", "start_redis", "redis_url", "spare_kafka", "registry_urls"),
    }
)
"""Fixtures that start a server: whatever uses one is marked `services`."""

BY_FOLDER = {"chaos": ("services", "chaos"), "services": ("services",)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        for name in BY_FOLDER.get(folder, ()):
            item.add_marker(name)
        if SERVICES & set(getattr(item, "fixturenames", ())):
            item.add_marker("services")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let no test start a server that is not marked `services`."""
    Daemon.allowed = item.get_closest_marker("services") is not None
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one table what was skipped and how to get it."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    if reasons:
        terminalreporter.section("skipped, and how to get it")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:5}  {reason}")
        terminalreporter.write_line("As root, NURT_INSTALL=1 make test installs Debian's packages; CI=true does, too.")
