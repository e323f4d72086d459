"""A tree of this repository, and one run of a command of its own in a process that is measured from outside.

Of a tree only that is used which stays: the command `nurt` as pyproject.toml names it, its settings and its mapping.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout with its virtual environment in `.venv`."""

    path: Path

    @property
    def python(self) -> str:
        """The interpreter of its environment; ours, where the checkout is the one that runs."""
        own = self.path / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    def nurt(self, *arguments: str) -> list[str]:
        """Write the command line of `nurt`, also where it is not on the PATH."""
        told = tomllib.loads((self.path / "pyproject.toml").read_text(encoding="utf-8"))
        module, function = told["project"]["scripts"]["nurt"].split(":")
        return [self.python, "-c", f"from {module} import {function}; {function}()", *arguments]

    def module(self, name: str, *arguments: str) -> list[str]:
        """Write the command line of one of its modules."""
        return [self.python, "-m", name, *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment in which its own sources are found first, and nothing of another tree."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NURT_")}
        return {**environment, "PYTHONPATH": f"{self.path / 'src'}:{self.path}", "COLUMNS": "100"}


HERE = Tree(Path(__file__).resolve().parents[1])


@dataclass(frozen=True, slots=True)
class Moment:
    """What a run had done, and taken, at some moment.

    Attributes:
        at_s: since the process was started.
        cpu_s: user and system time of the process and of children that it has waited for.
        done: messages that its state counts.
    """

    at_s: float
    cpu_s: float
    done: int


@dataclass(frozen=True, slots=True)
class Run:
    """A process that has ended well.

    Attributes:
        began: at the first message that its state counts; None: nobody looked, or there was none.
        user_s: of the whole process; `system_s` likewise.
        rss_mb: samples of what it held in memory, in order.
        peak_mb: the most that it held.
    """

    began: Moment | None
    took_s: float
    user_s: float
    system_s: float
    rss_mb: Sequence[float]
    peak_mb: float

    @property
    def cpu_s(self) -> float:
        """User and system time of the whole process."""
        return self.user_s + self.system_s


def run(
    command: Sequence[str], environment: Mapping[str, str], home: Path, done: Callable[[], int] | None = None
) -> Run:
    """Run a command in a folder until it ends; `done` tells how many messages its state counts.

    Raises RuntimeError with the end of what it said when it ends badly.
    """
    log = home / "log"
    with log.open("wb") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, cwd=home, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        began: Moment | None = None
        sizes: list[float] = []
        peak = 0.0
        try:
            while True:
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    break
                if done is not None and began is None and (some := done()):
                    began = Moment(time.perf_counter() - started, cpu_s(process.pid), some)
                with suppress(OSError, IndexError):  # it is about to end
                    size, peak_now = _memory_mb(process.pid)
                    sizes.append(size)
                    peak = max(peak, peak_now)
                time.sleep(0.01 if began is None else 0.05)
        except BaseException:
            process.kill()
            process.wait()
            raise
        took_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{last}")
    return Run(began, took_s, usage.ru_utime, usage.ru_stime, sizes, peak)


def cpu_s(pid: int) -> float:
    """Tell what a process and the children that it has waited for took from the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def _memory_mb(pid: int) -> tuple[float, float]:
    """Tell what a process holds, and the most that it held; the kernel's figure at its end has the parent's in it."""
    told = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(told.split(f"{name}:")[1].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak
