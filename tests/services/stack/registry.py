"""A real schema registry: Apicurio, in memory, spoken to through Confluent's API."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.services.stack.daemon import Daemon, fetch_text, free_ports, scratch
from tests.services.stack.java import SHORT_LIVED, jars, java


class RegistryUrls(NamedTuple):
    """Both doors of a registry: Confluent's API, and Apicurio's own."""

    url: str
    core_url: str


class RegistryServer:
    """One registry. It keeps nothing: `kill` and `start` bring an empty one back on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self._port,) = free_ports(1)
        self._daemon: Daemon | None = None

    @property
    def url(self) -> str:
        """Confluent's API, for every client but Apicurio's own."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    @property
    def core_url(self) -> str:
        """Apicurio's own API, which its converter wants."""
        return f"http://127.0.0.1:{self._port}/apis/registry/v2"

    def start(self) -> None:
        """Start the registry and wait until it lists its subjects."""
        unpacked = _unpacked()
        (runner,) = unpacked.glob("apicurio-registry-app-*-runner.jar")
        command = [
            java(),
            SHORT_LIVED,
            "-Xmx400m",
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self._port}",
            "-jar",
            str(runner),
        ]
        self._daemon = Daemon("the schema registry", command, self._folder / "registry.log", cwd=self._folder)
        self._daemon.wait_until(lambda: fetch_text(f"{self.url}/subjects") is not None, seconds=180)

    def kill(self) -> None:
        """End the registry at once; its schemas are gone."""
        self._running().kill()

    def stop(self) -> None:
        """End the registry in order; its schemas are gone all the same."""
        self._running().stop(how=signal.SIGTERM)

    def pause(self) -> None:
        """Freeze the registry: connections stay open, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    def _running(self) -> Daemon:
        assert self._daemon is not None, "the registry has not been started"
        return self._daemon


def _unpacked() -> Path:
    packed = jars("registry")
    unpacked = packed.with_name(f"{packed.name}.unpacked")
    with packed.with_name("registry.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.is_dir():
            part = unpacked.with_name(f"{unpacked.name}.part")
            (archive,) = packed.glob("*.tar.gz")
            with tarfile.open(archive) as files:
                files.extractall(part, filter="data")
            part.rename(unpacked)
    return unpacked


@contextlib.contextmanager
def running_registry_server() -> Iterator[RegistryServer]:
    """Run a registry of one's own, to be killed and restarted at will."""
    with scratch("registry") as folder:
        server = RegistryServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
