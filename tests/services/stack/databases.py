"""Real PostgreSQL and MariaDB with logical replication switched on, spoken to through their own command lines."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.services.stack.absence import ServiceAbsent
from tests.services.stack.daemon import Daemon, free_ports, scratch

PASSWORD = "streams"  # of a server that listens on 127.0.0.1 and holds invented rows


class Database:
    """A running database: where it listens, and `execute`."""

    def __init__(self, name: str, daemon: Daemon, port: int, user: str, client: Sequence[str]) -> None:
        self.port = port
        self.user = user
        self.password = PASSWORD
        self.database = "nurt"
        self._name = name
        self._daemon = daemon
        self._client = list(client)

    def execute(self, sql: str) -> str:
        """Run statements (one transaction each) as the administrator; returns what the client prints."""
        done = subprocess.run(self._client, input=sql, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"asking {self._name}: {done.stderr.strip()}")
        return done.stdout

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing answers."""
        self._daemon.pause()

    def resume(self) -> None:
        self._daemon.resume()


@contextlib.contextmanager
def running_postgres() -> Iterator[Database]:
    """Run PostgreSQL with `wal_level=logical` and an empty database `nurt`."""
    binaries = _postgres_binaries()
    with scratch("postgres") as folder:
        owner = _unprivileged(folder)
        files, (port,) = folder / "files", free_ports(1)
        subprocess.run(
            [binaries / "initdb", "-A", "trust", "-U", "nurt", "-E", "UTF8", "--locale=C", "-D", files],
            check=True,
            capture_output=True,
            user=owner,
            cwd=folder,
        )
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            "wal_level": "logical",
            "max_wal_senders": 10,
            "max_replication_slots": 10,
        }
        command = [str(binaries / "postgres"), "-D", str(files)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        daemon = Daemon("PostgreSQL", command, folder / "server.log", user=owner, cwd=folder)
        connect = ["-h", "127.0.0.1", "-p", str(port), "-U", "nurt"]
        with contextlib.ExitStack() as stack:
            stack.callback(daemon.kill)
            ready = [str(binaries / "pg_isready"), *connect]
            daemon.wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, 60)
            client = [str(binaries / "psql"), *connect, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
            subprocess.run([*client, "-d", "postgres"], input="create database nurt", text=True, check=True)
            yield Database("PostgreSQL", daemon, port, "nurt", [*client, "-d", "nurt"])


@contextlib.contextmanager
def running_mariadb() -> Iterator[Database]:
    """Run MariaDB with a full row-based binary log and an empty database `nurt`; user `nurt` may replicate."""
    server, install, client = (_on_path(name) for name in ("mariadbd", "mariadb-install-db", "mariadb"))
    with scratch("mariadb") as folder:
        files, (port,), owner = folder / "files", free_ports(1), getpass.getuser()
        prepare = [install, "--no-defaults", f"--datadir={files}", f"--user={owner}", "--skip-test-db"]
        prepare.append("--auth-root-authentication-method=normal")
        for _ in range(3):  # its bootstrap server was seen to give up on a busy machine
            prepared = subprocess.run(prepare, check=False, capture_output=True, text=True)
            if prepared.returncode == 0:
                break
            shutil.rmtree(files, ignore_errors=True)
        assert prepared.returncode == 0, prepared.stdout + prepared.stderr
        command = [
            server,
            "--no-defaults",
            f"--datadir={files}",
            f"--user={owner}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={folder / 'server.sock'}",
            "--log-bin=binlog",
            "--server-id=4711",
            "--binlog-format=ROW",
            "--binlog-row-image=FULL",
            "--binlog-row-metadata=FULL",
            "--character-set-server=utf8mb4",
            f"--pid-file={folder / 'server.pid'}",
        ]
        daemon = Daemon("MariaDB", command, folder / "server.log", cwd=folder)
        with contextlib.ExitStack() as stack:
            stack.callback(daemon.kill)
            ask = [
                client,
                "--no-defaults",
                f"--socket={folder / 'server.sock'}",
                "-u",
                "root",
                "--batch",
                "--skip-column-names",
                "--default-character-set=utf8mb4",
            ]
            ready = [*ask, "-e", "select 1"]
            daemon.wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, 60)
            found = Database("MariaDB", daemon, port, "nurt", ask)
            found.execute(
                f"create database nurt; create user nurt@'127.0.0.1' identified by '{PASSWORD}';"
                "grant all on *.* to nurt@'127.0.0.1';"
            )
            yield Database("MariaDB", daemon, port, "nurt", [*ask, "-D", "nurt"])


def _postgres_binaries() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise ServiceAbsent("looking for PostgreSQL: there is none; install Debian's package postgresql")


def _on_path(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServiceAbsent(f"looking for MariaDB: there is no {name} on PATH; install Debian's package mariadb-server")
    return found


def _unprivileged(folder: Path) -> str | None:
    """Give the folder to whom the server may run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            shutil.chown(folder, user=pwd.getpwnam(name).pw_uid)
            return name
    raise ServiceAbsent("starting PostgreSQL as root: there is neither a user postgres nor nobody to run it as")
