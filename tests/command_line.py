"""Run `nurt` in this process, as its command does."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass

import pytest

import nurt.cli
from nurt.cli import frame


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def run_nurt(monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    """Run one command line; `capture` is capfd."""
    for console in (frame.stdout, frame.stderr):
        monkeypatch.setattr(console, "width", 200)
    monkeypatch.setattr("sys.argv", ["nurt", *arguments])
    capture.readouterr()
    umask = os.umask(0o022)
    monkeypatch.setenv("RUST_BACKTRACE", "0")
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    try:
        nurt.cli.main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os.umask(umask)  # a command closes its files to others; the tests behind it start servers of other users
    said = capture.readouterr()
    return Ran(code, said.out, said.err)
