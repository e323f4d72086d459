"""A primary, a replica and three Sentinels over them: real processes, as an operator sets them up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis

from tests.services.stack.daemon import Daemon, free_ports, scratch
from tests.services.stack.redis_server import RedisServer, executable

SERVICE = "shop"
DOWN_AFTER_MS = 500
"""How long a primary is silent before it counts as down; operators write 5,000 to 30,000."""
QUORUM, SENTINELS = 2, 3


class Guarded:
    """Two servers and their Sentinels. The first server begins as the primary."""

    def __init__(self, folder: Path, options: Sequence[str] = (), sentinel_options: str = "") -> None:
        self._folder = folder
        self._sentinel_options = sentinel_options
        self.servers: list[RedisServer] = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            self.servers.append(
                RedisServer("valkey", folder / name, options=("--repl-diskless-sync-delay", "0", *options))
            )
        self.ports = free_ports(SENTINELS)
        self.sentinels: list[Daemon] = []

    def start(self) -> None:
        """Start everything; returns when the Sentinels know each other and the replica follows."""
        first, second = self.servers
        first.start()
        second.start()
        self.follow(second, first)
        for port in self.ports:
            self.sentinels.append(self._start_sentinel(port, first.port))
        wait_until(lambda: all(self._knows_all(port) for port in self.ports), "the Sentinels to know all")

    def _start_sentinel(self, port: int, primary: int) -> Daemon:
        config = self._folder / f"sentinel-{port}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nprotected-mode no\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} {QUORUM}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n{self._sentinel_options}"
        )
        command = [executable("valkey"), str(config), "--sentinel"]
        return Daemon("sentinel", command, self._folder / f"sentinel-{port}.log")

    def _knows_all(self, port: int) -> bool:
        try:
            with redis.Redis(port=port) as client:
                state = client.sentinel_masters()[SERVICE]
        except (redis.RedisError, KeyError):
            return False
        return state["num-other-sentinels"] == SENTINELS - 1 and state["num-slaves"] == 1

    @property
    def url(self) -> str:
        """What `state.url` says."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/{SERVICE}/0"

    def follow(self, replica: RedisServer, primary: RedisServer) -> None:
        """Make a server the replica of another; returns when it has caught up."""
        with replica.client() as client:
            client.replicaof("127.0.0.1", str(primary.port))
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica to follow")

    def join(self, back: RedisServer, primary: RedisServer) -> None:
        """Wait until the Sentinels have made a server that is back the replica of today's primary."""
        with back.client() as client:

            def follows() -> bool:
                found = client.info("replication")
                return bool(found["role"] == "slave" and found["master_link_status"] == "up")

            wait_until(follows, "the Sentinels to take it in")
        wait_until(lambda: all(self._knows_all(port) for port in self.ports), "the Sentinels to know all")
        assert is_primary(primary)

    def hold_back(self, replica: RedisServer) -> None:
        """Let a replica hear nothing any more, as when its link is slow: what comes now is lost with the primary."""
        with replica.client() as client:
            client.config_set("primaryauth", "not-the-password")
            client.client_kill_filter(_type="master")

    def fail_over(self, lost: RedisServer, other: RedisServer) -> float:
        """Kill a primary; returns the seconds until the other one takes writes."""
        began = time.monotonic()
        lost.kill()
        wait_until(lambda: is_primary(other), "the other one to take over")
        return time.monotonic() - began

    def switch(self, other: RedisServer) -> None:
        """Ask for a failover while both servers are well; the old primary becomes a replica."""
        with redis.Redis(port=self.ports[0]) as client:
            client.sentinel_failover(SERVICE)
        wait_until(lambda: is_primary(other), "the other one to take over")

    def close(self) -> None:
        for one in self.sentinels:
            one.kill()
        for server in self.servers:
            server.kill()


def is_primary(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.info("replication")["role"] == "master")


def wait_until(there: object, what: str, seconds: float = 30.0) -> None:
    assert callable(there)
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def guarded(options: Sequence[str] = (), sentinel_options: str = "") -> Iterator[Guarded]:
    """Run servers and Sentinels in a scratch folder."""
    with scratch("sentinel") as folder:
        group = Guarded(folder, options, sentinel_options)
        try:
            group.start()
            yield group
        finally:
            group.close()
