"""One server for all workers of a test run: whoever comes first starts it, and it ends with the last of them.

A keeper, a process of its own, runs the server. Every worker holds a named pipe open that the keeper reads from: it
comes to its end when all workers are gone, in whatever way they went. Then the keeper stops the server; should the
keeper be killed itself, the server's leash does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.services.stack.absence import ServiceAbsent
from tests.services.stack.connect import running_connect_port
from tests.services.stack.kafka import running_kafka
from tests.services.stack.redis_server import running_redis
from tests.services.stack.registry import RegistryUrls, running_registry_server

ROOT = Path(__file__).parents[3]
SECONDS_MAX = 500


@contextlib.contextmanager
def _kafka() -> Iterator[str]:
    with running_kafka(short_lived=True) as bootstrap:
        yield bootstrap


@contextlib.contextmanager
def _registry() -> Iterator[list[str]]:
    with running_registry_server() as server:
        yield [server.url, server.core_url]


@contextlib.contextmanager
def _connect(bootstrap: str) -> Iterator[int]:
    with running_connect_port(bootstrap) as port:
        yield port


@contextlib.contextmanager
def _valkey() -> Iterator[int]:
    with running_redis() as server:
        yield server.pid


KEPT: dict[str, Callable[..., AbstractContextManager[Any]]] = {
    "kafka": _kafka,
    "registry": _registry,
    "connect": _connect,
    "valkey": _valkey,
}


@contextlib.contextmanager
def shared(name: str, folder: Path, *arguments: str) -> Iterator[Any]:
    """Yield the address of a server that all who name this folder share; raises ServiceAbsent."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, name):
        pipe = folder / f"{name}.pipe"
        if not pipe.exists():
            os.mkfifo(pipe)
        held = os.open(pipe, os.O_RDWR)  # for writing alone it would wait for the keeper
        try:
            said = _answer(folder, name) or _start(folder, name, arguments)
        except BaseException:
            os.close(held)
            raise
    try:
        if "absent" in said:
            raise ServiceAbsent(said["absent"])
        yield said["address"]
    finally:
        os.close(held)


def shared_registry(folder: Path) -> AbstractContextManager[RegistryUrls]:
    """Share one schema registry."""

    @contextlib.contextmanager
    def urls() -> Iterator[RegistryUrls]:
        with shared("registry", folder) as found:
            yield RegistryUrls(*found)

    return urls()


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _answer(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what the keeper said, unless it has ended."""
    try:
        said: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        os.kill(said["keeper"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return said


def _start(folder: Path, name: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    answer, log = folder / f"{name}.json", folder / f"{name}.log"
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.services.stack.shared", str(folder), name, *arguments]
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + SECONDS_MAX
    while not answer.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.kill()
            raise RuntimeError(f"starting {name} for all workers: the keeper did not; its log:\n{log.read_text()}")
        time.sleep(0.05)
    return dict(json.loads(answer.read_text()))


def keep(folder: Path, name: str, arguments: list[str]) -> None:
    """Run a server until nobody holds the pipe any more."""
    try:
        with KEPT[name](*arguments) as address:
            _say(folder, name, {"address": address})
            with (folder / f"{name}.pipe").open("rb") as pipe:
                while not _all_gone(folder, name, pipe.read):
                    pass
    except ServiceAbsent as absent:
        _say(folder, name, {"absent": str(absent)})


def _say(folder: Path, name: str, said: dict[str, Any]) -> None:
    part = folder / f"{name}.part"
    part.write_text(json.dumps({"keeper": os.getpid(), **said}))
    part.rename(folder / f"{name}.json")


def _all_gone(folder: Path, name: str, read: Callable[[], bytes]) -> bool:
    """Wait for the end of the pipe; nobody may come while we make sure of it."""
    read()
    with _locked(folder, name):
        again = os.open(folder / f"{name}.pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.read(again, 1)  # nothing comes at once when nobody holds it, else it would wait
        except BlockingIOError:
            return False
        finally:
            os.close(again)
        (folder / f"{name}.json").unlink()
        return True


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
