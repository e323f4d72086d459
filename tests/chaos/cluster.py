"""A cluster of real processes over a real Valkey, as an operator starts it; and what it has published."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import duckdb
from redis import Redis

from nurt.contracts.profile_reader import read_profile
from nurt.model.stored_profile import ERASED, KeptProfile
from tests.services.stack.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
START = "import sys; from pathlib import Path; from nurt.app.running import run_cluster; "
START += "sys.exit(run_cluster(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == 'rebuild', flow=sys.argv[4]))"
PREFIX = "nurt"


class Cluster:
    """One run of `nurt run`: a supervisor and its workers."""

    started: ClassVar[list[Cluster]] = []
    """All of them, to be ended with the test that started them."""

    def __init__(self, config: Path, workers: int, rebuild: bool = False, flow: str = "profiles") -> None:
        self.log = config.parent / "cluster.log"
        with self.log.open("ab") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-c", START, str(config), str(workers), "rebuild" if rebuild else "go", flow],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self._workers: list[int] = []
        self.started.append(self)

    def workers(self) -> list[int]:
        """Name the worker processes that are there."""
        children = Path(f"/proc/{self._supervisor.pid}/task/{self._supervisor.pid}/children")
        if children.exists():
            self._workers = [int(pid) for pid in children.read_text().split()]
        return self._workers

    def kill_worker(self, index: int) -> None:
        """End one worker as a machine's crash would; the supervisor ends the others."""
        alive = self.workers()
        if alive:
            _kill(alive[index % len(alive)])

    def kill_all(self) -> None:
        """End everything at once, as a power cut would."""
        pids = self.workers()
        self._supervisor.kill()
        for pid in pids:
            _kill(pid)
        self._supervisor.wait(30)

    @classmethod
    def end_all(cls) -> None:
        """Leave no process behind."""
        while cls.started:
            cluster = cls.started.pop()
            if not cluster.ended:
                cluster.kill_all()
            for pid in cluster._workers:
                _kill(pid)

    def freeze(self) -> list[int]:
        """Stop all processes where they are; return the workers, to be thawed."""
        pids = self.workers()
        for pid in (self._supervisor.pid, *pids):
            os.kill(pid, signal.SIGSTOP)
        return pids

    def thaw(self) -> None:
        """Let frozen processes go on."""
        for pid in (*self._workers, self._supervisor.pid):
            os.kill(pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the run to end in order."""
        self._supervisor.terminate()

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code; a run that hangs is killed and fails the test."""
        try:
            return self._supervisor.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"the run hangs after {seconds} s:\n{self.tail()}") from None

    @property
    def ended(self) -> bool:
        return self._supervisor.poll() is not None

    def wait_until(self, there: Callable[[], bool], seconds: float = 100.0) -> bool:
        """Wait for something, or for the end of the run; say whether it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.ended:
            if there():
                return True
            time.sleep(0.02)
        return there()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6_000:]


def _kill(pid: int) -> None:
    """End a worker; its number may be another process's by now."""
    with suppress(FileNotFoundError, ProcessLookupError):
        if b"nurt.app.running" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


class Deployment:
    """A folder with settings, an archive and perhaps a DuckDB file, and a Valkey.

    Several processes take turns at a DuckDB file, which is slow; so it is for deployments of one.
    """

    def __init__(self, folder: Path, server: RedisServer, archive: Path, rows_max: int, analytics: bool) -> None:
        self.folder, self.server, self.analytics = folder, server, analytics
        self.config = folder / "nurt.yaml"
        self.duckdb = folder / "profiles.duckdb"
        mapping = ROOT / "src" / "nurt" / "presets" / "demo.yaml"
        self.config.write_text(
            f"mapping: {mapping}\ndata: data\nsecret: '{bytes(16).hex()}'\nstate: {{url: '{server.url}'}}\n"
            f"input: {{archives: [{archive}], rows_max: {rows_max}, epoch_ms: 50}}\n"
            + (f"output: {{duckdb: {self.duckdb}}}\n" if analytics else "")
        )

    def commits(self) -> bytes:
        path = self.folder / "data" / "commits" / "commits.json"
        return path.read_bytes() if path.exists() else b""

    def is_locked(self) -> bool:
        """Say whether a process is within a write of commits or of the register."""
        for path in (self.folder / "data" / "commits" / "commits.lock", self.folder / "data" / "control.jsonl"):
            with path.open("ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
        return False

    def progress(self, times: int) -> Callable[[], bool]:
        """Make a question: has it been committed so many times since now?"""
        seen = [self.commits()]

        def asked() -> bool:
            now = self.commits()
            if now != seen[-1]:
                seen.append(now)
            return len(seen) > times

        return asked

    def kept(self) -> dict[str, tuple[int, dict[str, Any] | None]]:
        """Read every profile that the state holds: revision and content, None when erased."""
        with Redis.from_url(self.server.url, protocol=2) as client:
            keys = [key for key in client.scan_iter(count=5_000) if len(key) == 25 and key[8:9] == b"f"]
            values: Any = client.mget(keys) if keys else []
        found = {}
        for key, value in zip(keys, values, strict=True):
            profile = KeptProfile.decode(value)
            assert profile is not None
            found[key[9:].hex()] = (profile.revision, None if profile.state == ERASED else read_profile(profile.body))
        return found

    def analysed(self) -> dict[str, tuple[int, str]]:
        """Read revision and state of every profile in the analytics file."""
        assert self.analytics
        with duckdb.connect(str(self.duckdb), read_only=True) as connection:
            rows = connection.execute(
                "SELECT id, revision, state FROM profiles UNION ALL SELECT id, revision, 'erased' FROM profile_erased"
            ).fetchall()
        return {name: (revision, state) for name, revision, state in rows}

    def counts(self) -> dict[str, int]:
        """Read how many messages ended where, by outcome."""
        with Redis.from_url(self.server.url, protocol=2) as client:
            held: Any = client.hgetall(f"{PREFIX}:counts")
        found: dict[str, int] = {}
        for name, count in held.items():
            _, outcome, reason = name.decode().split("\x1f")
            kind = "truncates" if reason == "truncate" else outcome
            found[kind] = found.get(kind, 0) + int(count)
        return found
