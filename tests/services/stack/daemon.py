"""A child server that ends with us: on a clean stop, on Ctrl-C, and when we ourselves are killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar


class Leash:
    """Runs a shell command when this interpreter ends in whatever way, unless it is let go before.

    A shell waits on a pipe that only we hold open: end of file means that we died.
    """

    def __init__(self, command: str, argument: str) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r word || {{ {command}; }}", "leash", argument],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def let_go(self) -> None:
        """End the shell without the command."""
        if self._shell.stdin is None or self._shell.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.write(b"off\n")
            self._shell.stdin.flush()
        self._shell.stdin.close()
        self._shell.wait()


class Daemon:
    """One server: a session of its own, its output in a file, a leash that kills it when this interpreter ends."""

    allowed: ClassVar[bool] = True
    """Whether a server may be started now; pytest forbids it to tests that are not marked `services`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        user: str | None = None,
        cwd: Path | None = None,
        more_environment: Mapping[str, str] | None = None,
    ) -> None:
        if not self.allowed:
            raise RuntimeError(f"starting {name}: the test is not marked `services`; mark it with pytest.mark.services")
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._server = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user,
                cwd=cwd,
                env={**os.environ, **(more_environment or {})},
                start_new_session=True,
            )
        self._leash = Leash('kill -s KILL -- "-$1"', str(self._server.pid))

    @property
    def pid(self) -> int:
        return self._server.pid

    def alive(self) -> bool:
        return self._server.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for `ready`; raises RuntimeError with the end of the log when the server dies or does not come up."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive() or time.monotonic() > deadline:
                state = "did not answer" if self.alive() else f"ended with code {self._server.returncode}"
                self.kill()
                raise RuntimeError(f"starting {self.name}: it {state}; its log ends with:\n{self.log_end()}")
            time.sleep(0.05)

    def log_end(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, seconds: float = 20, how: int = signal.SIGTERM) -> None:
        """Ask the server to end, then make it."""
        if self.alive():
            self._server.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End the server and whatever it started, at once and without goodbye."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        self._leash.let_go()

    def pause(self) -> None:
        """Freeze the server: its connections stay open and nothing answers."""
        os.killpg(self._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._server.pid, signal.SIGCONT)


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def answers(port: int) -> bool:
    """Say whether something listens on this port of 127.0.0.1."""
    with socket.socket() as one:
        one.settimeout(0.5)
        return one.connect_ex(("127.0.0.1", port)) == 0


def fetch_text(url: str) -> str | None:
    """Return what a local HTTP service answers with status 200, else None."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except (OSError, http.client.HTTPException):
        return None


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Lend a folder for a server's files, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"nurt-{name}-"))
    leash = Leash('sleep 1; rm -rf -- "$1"', str(folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        leash.let_go()
