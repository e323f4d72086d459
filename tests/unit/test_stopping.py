"""SIGTERM ends a process in every state: also one that never comes back to Python, and a supervisor's children."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from nurt.app import running
from nurt.app.guards.peers import PeerCheck

PREAMBLE = """
import sys, time, threading
import numba
from nurt.runtime.stopping import stopping_on_signals

@numba.njit(nogil=True)
def for_ever(cell):
    while cell[0] == 0:
        cell[1] += 1

"""
STUCK = (
    PREAMBLE
    + """
import numpy as np
for_ever(np.ones(2))
with stopping_on_signals(lambda: print("at last", flush=True), float(sys.argv[1])) as stop:
    print("ready", flush=True)
    for_ever(np.zeros(2))
"""
)
POLITE = (
    PREAMBLE
    + """
with stopping_on_signals(seconds_max=60) as stop:
    print("ready", flush=True)
    stop.wait()
    print("finished", flush=True)
"""
)


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def said(child: subprocess.Popen[str]) -> str:
    out, _ = child.communicate(timeout=60)
    return out


def test_a_process_in_a_compiled_loop_ends_when_its_time_is_over() -> None:
    child = started(STUCK, "0.5")
    child.terminate()
    assert said(child) == "at last\n"
    assert child.returncode == 128 + signal.SIGTERM


def test_a_second_signal_ends_a_process_in_a_compiled_loop() -> None:
    child = started(STUCK, "600")
    child.terminate()
    time.sleep(0.5)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    assert said(child) == "at last\n"
    assert child.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_can_finish_does(how: signal.Signals) -> None:
    child = started(POLITE)
    child.send_signal(how)
    assert said(child) == "finished\n"
    assert child.returncode == 0


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def deaf() -> Iterator[subprocess.Popen[str]]:
    child = started(DEAF)
    yield child
    child.kill()
    child.wait()


def test_a_supervisor_kills_what_does_not_end(monkeypatch: pytest.MonkeyPatch, deaf: subprocess.Popen[str]) -> None:
    monkeypatch.setattr(running, "ENDING_MAX_S", 0.2)
    monkeypatch.setattr(running, "KILL_AFTER_S", 0.2)
    stop = threading.Event()
    stop.set()
    peers = PeerCheck([], [deaf.pid])
    assert running._supervise([deaf], stop, lambda: None, peers) == -signal.SIGKILL  # type: ignore[list-item]
