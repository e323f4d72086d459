"""A cluster's ports are its own: a stranger who connects, or listens in place of a worker, ends the run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nurt.app import running
from nurt.app.guards.peers import TABLE, PeerCheck

pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="only Linux says whose a connection is")
WORKER = """
import socket, sys
me, wait, *ports = sys.argv[1:]
me = int(me)
listening = socket.create_server(("127.0.0.1", int(ports[me])))
print("listens", flush=True)
input()
peers = []
for other in range(me):
    peers.append(socket.create_connection(("127.0.0.1", int(ports[other]))))
for _ in range(len(ports) - 1 - me):
    peers.append(listening.accept()[0])
listening.close()
print("connected", flush=True)
input()
"""


class Cluster:
    """Processes that connect as Bytewax's do: each with each, at the start, then nobody listens any more."""

    def __init__(self, count: int) -> None:
        self.ports = running._free_ports(count)
        texts = [str(port) for port in self.ports]
        self.children = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(index), "x", *texts], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for index in range(count)
        ]
        self.check = PeerCheck(self.ports, [child.pid for child in self.children])
        self._hear(b"listens")

    def connect(self) -> None:
        self._go_on()
        self._hear(b"connected")

    def _go_on(self) -> None:
        for child in self.children:
            assert child.stdin is not None
            child.stdin.write(b"\n")
            child.stdin.flush()

    def _hear(self, word: bytes) -> None:
        for child in self.children:
            assert child.stdout is not None and child.stdout.readline().strip() == word

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()


@pytest.fixture
def cluster() -> Iterator[Callable[[int], Cluster]]:
    made: list[Cluster] = []

    def make(count: int) -> Cluster:
        made.append(Cluster(count))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_processes_of_the_run_may_connect(cluster: Callable[[int], Cluster], count: int) -> None:
    one = cluster(count)
    assert one.check.stranger() is None and not one.check.is_done
    one.connect()
    assert one.check.stranger() is None
    assert one.check.is_done, "then nobody looks any more"


def test_a_stranger_who_connects_first_is_seen(cluster: Callable[[int], Cluster]) -> None:
    one = cluster(3)
    with socket.create_connection(("127.0.0.1", one.ports[0])):
        assert f"port {one.ports[0]}" in str(one.check.stranger())
    assert one.check.stranger() is None, "a connection that is gone is no reason"


def test_a_stranger_who_listens_in_place_of_a_worker_is_seen(cluster: Callable[[int], Cluster]) -> None:
    one = cluster(2)
    taken = socket.create_server(("127.0.0.1", 0))
    check = PeerCheck([*one.ports, taken.getsockname()[1]], [child.pid for child in one.children])
    assert check.stranger() is not None
    taken.close()


def test_other_connections_of_the_machine_are_no_strangers(cluster: Callable[[int], Cluster]) -> None:
    one = cluster(2)
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_connection(other.getsockname()[:2]):
        assert one.check.stranger() is None


def test_a_process_that_has_ended_is_no_stranger(cluster: Callable[[int], Cluster]) -> None:
    one = cluster(2)
    one.connect()
    one.children[0].kill()
    one.children[0].wait()
    assert one.check.stranger() is None


def test_a_system_without_the_table_is_not_checked(tmp_path: Path) -> None:
    check = PeerCheck([1, 2], [1, 2], tmp_path / "tcp")
    assert check.is_done and check.stranger() is None
    assert PeerCheck([1], [os.getpid()]).is_done, "one process has no peers"


def test_the_supervisor_ends_all_processes_and_says_why(
    cluster: Callable[[int], Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    one = cluster(2)
    with socket.create_connection(("127.0.0.1", one.ports[1])):
        code = running._supervise(one.children, threading.Event(), lambda: None, one.check)
    assert code == 1
    assert "not of this run" in caplog.text
    assert all(child.returncode is not None for child in one.children)


def test_the_supervisor_goes_on_where_nobody_is_a_stranger(cluster: Callable[[int], Cluster]) -> None:
    one = cluster(2)
    ended = threading.Thread(target=lambda: (time.sleep(0.2), one.connect(), one._go_on()))
    ended.start()
    assert running._supervise(one.children, threading.Event(), lambda: None, one.check) == 0
    ended.join()


BYTEWAX = """
import sys, time
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from bytewax.testing import TestingSink, TestingSource
index, *addresses = sys.argv[1:]
def numbers():
    while True:
        time.sleep(0.05)
        yield 1
flow = Dataflow("peers")
op.output("out", op.input("in", flow, TestingSource(numbers())), TestingSink([]))
cli_main(flow, process_id=int(index), addresses=addresses)
"""


@pytest.mark.parametrize("count", [2, 3])
def test_bytewax_makes_the_connections_that_are_waited_for(count: int) -> None:
    """Else the check would never be done, or would be done too early."""
    ports = running._free_ports(count)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    children = [subprocess.Popen([sys.executable, "-c", BYTEWAX, str(index), *addresses]) for index in range(count)]
    check = PeerCheck(ports, [child.pid for child in children])
    try:
        while not check.is_done:
            assert check.stranger() is None
            assert all(child.poll() is None for child in children)
            time.sleep(0.01)
    finally:
        for child in children:
            child.kill()
            child.wait()
