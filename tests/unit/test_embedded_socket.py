"""The embedded server is our own: a stranger who takes its socket first gets no state and ends no process."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from nurt.adapters.redis import embedded
from nurt.adapters.redis.embedded import embedded_state
from nurt.errors import ConfigurationError

STRANGER = 12_345
SQUAT = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listening.listen()
print("there", flush=True)
while True:
    to, _ = listening.accept()
    asked = to.recv(4096)
    while asked:
        told = b"process_id:%d\\r\\n" % int(sys.argv[3])
        told_info = b"$%d\\r\\n%s\\r\\n" % (len(told), told)
        to.sendall(b"+PONG\\r\\n" if b"PING" in asked else told_info if b"INFO" in asked else b"+OK\\r\\n")
        asked = to.recv(4096)
"""


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """A data folder whose path is too long for a socket."""
    return tmp_path / ("x" * 120) / "valkey"


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


@pytest.mark.services
def test_a_long_path_has_its_socket_in_a_folder_of_our_own(
    long_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "run"
    own.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own) if len(str(own)) < 60 else "")
    with embedded_state(long_folder) as url:
        path = Path(url.removeprefix("unix://").partition("?")[0])
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with Redis.from_url(url) as client:
            client.set("a", "b")
        with embedded_state(long_folder) as same:
            assert same == url
    with embedded_state(long_folder) as again, Redis.from_url(again) as client:
        assert again == url, "the folder is noted"
        assert client.get("a") == b"b"
    shutil.rmtree(path.parent)


def test_a_folder_that_others_may_enter_is_not_taken(long_folder: Path, tmp_path: Path) -> None:
    long_folder.mkdir(parents=True)
    lax = tmp_path / "lax"
    lax.mkdir(mode=0o755)
    lax.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for taken in (lax, link, tmp_path / "gone"):
        (long_folder / "socket-folder").write_text(str(taken))
        found = embedded._socket(long_folder)
        assert found.parent != taken
        assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
        found.parent.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("owned", [True, False], ids=["socket of the stranger", "socket that was given away"])
def test_a_strangers_server_gets_no_state_and_ends_no_process(
    tmp_path: Path, victim: subprocess.Popen[bytes], owned: bool
) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    place = Path(os.path.relpath(folder / "valkey.sock"))
    tmp_path.chmod(0o777)
    for each in (folder, *tmp_path.parents):
        each.chmod(each.stat().st_mode | 0o011)
    folder.chmod(0o777)
    squatter = subprocess.Popen(
        [sys.executable, "-c", SQUAT, str(place), str(STRANGER), str(victim.pid)], stdout=subprocess.PIPE
    )
    assert squatter.stdout is not None and squatter.stdout.readline() == b"there\n"
    if not owned:
        os.chown(folder / "valkey.sock", 0, 0)
    try:
        with pytest.raises(ConfigurationError, match=f"of user {STRANGER}"), embedded_state(folder):
            pass
        assert victim.poll() is None
    finally:
        squatter.kill()
        squatter.wait()


@pytest.mark.services
def test_the_server_of_a_killed_process_is_taken_over_and_ended(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from nurt.adapters.redis.embedded import embedded_state\n"
        "with embedded_state(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, env={**os.environ})
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tmp_path / "valkey.sock"))
    with embedded_state(tmp_path) as url, Redis.from_url(url) as client:
        server = int(client.info("server")["process_id"])
    assert not embedded._runs(server)
