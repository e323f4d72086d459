"""Try numbered inputs of a target in a child process, and name the input that raised, crashed or hung."""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import resource
import select
import subprocess
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

SECONDS_MAX = 20.0
"""An input that takes longer hangs. (The first one of a process compiles, and has COMPILE_SECONDS_MAX.)"""
COMPILE_SECONDS_MAX = 900.0
BEAT_S = 1.0
"""How often a child says where it is; and how many inputs one child tries, so that its memory shows."""
INPUTS_A_CHILD = 100_000
FINDINGS_MAX = 20


@dataclass
class Report:
    """What became of the inputs: how many ended how, findings by number, and the children's peak of memory."""

    target: str
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: int = 0

    def __str__(self) -> str:
        counted = ", ".join(f"{count:,} {how}" for how, count in self.outcomes.most_common())
        total = sum(self.outcomes.values())
        return f"{self.target}: {total:,} inputs in {self.seconds:.0f} s ({counted}); {self.peak_mb} MB at most"


def run(target: str, first: int, count: int) -> Report:
    """Try inputs `first` and following in children; a crash or a hang costs one input, then the next ones are tried."""
    report, began = Report(target), time.monotonic()
    number, end = first, first + count
    while number < end and len(report.findings) < FINDINGS_MAX:
        number = _one_child(report, number, min(end, number + INPUTS_A_CHILD))
    report.seconds = time.monotonic() - began
    report.peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return report


def _one_child(report: Report, first: int, end: int) -> int:
    """Let one child try inputs; return the number of the next input."""
    command = [sys.executable, "-m", "tests.fuzz.harness", report.target, str(first), str(end - first), "--beats"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    told: dict[str, Any] = {"next": first, "outcomes": {}, "findings": []}
    limit_s, began, how = COMPILE_SECONDS_MAX, time.monotonic(), ""
    while True:
        if not select.select([child.stdout], [], [], max(0.0, began + limit_s - time.monotonic()))[0]:
            child.kill()
            how = f"took more than {limit_s:.0f} s"
            break
        line = child.stdout.readline()
        if not line:
            break
        told, limit_s, began = json.loads(line), SECONDS_MAX + BEAT_S, time.monotonic()
    child.wait()
    report.outcomes.update(told["outcomes"])
    report.findings += told["findings"]
    if told["next"] >= end:
        return end
    # it ended between two beats: find the input by trying them one by one
    bad = told["next"] if how else _crashing(report, told["next"], end)
    report.outcomes["crashed"] += 1
    report.findings.append(f"{report.target} {bad}: {how or f'ended the process with {child.returncode}'}")
    return bad + 1


def _crashing(report: Report, first: int, end: int) -> int:
    """Find the input behind `first` that ends a process, by halves."""
    low, high = first, min(end, first + INPUTS_A_CHILD)
    while high - low > 1:
        middle = (low + high) // 2
        command = [sys.executable, "-m", "tests.fuzz.harness", report.target, str(low), str(middle - low), "--beats"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        last = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"next": low}
        if done.returncode == 0:
            report.outcomes.update(last["outcomes"])
            report.findings += last["findings"]
            low = middle
        else:
            high = middle
    return low


def attempts(target: str, first: int, count: int, beats: bool) -> int:
    """Try inputs in this process; print where it is. Return how many findings there were."""
    module = importlib.import_module(f"tests.fuzz.{target}")
    shared = module.prepare()
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    beaten = 0.0
    for number in range(first, first + count):
        if beats and time.monotonic() - beaten > BEAT_S:
            _beat(number, outcomes, findings)
            beaten = time.monotonic()
        try:
            outcomes[module.attempt(Random(f"{target} {number}"), shared)] += 1
        except Exception as failed:
            if not beats:
                raise
            where = traceback.extract_tb(failed.__traceback__)[-1]
            what = f"{type(failed).__name__}: {str(failed)[:200]}"
            findings.append(f"{target} {number}: {what} ({where.filename}:{where.lineno})")
            outcomes["raised"] += 1
            if len(findings) >= FINDINGS_MAX:
                break
        if beats and beaten == 0.0:
            beaten = time.monotonic()  # the first input compiled
    _beat(first + count, outcomes, findings)
    return len(findings)


def _beat(number: int, outcomes: Counter[str], findings: list[str]) -> None:
    print(json.dumps({"next": number, "outcomes": outcomes, "findings": findings}), flush=True)


# -- tools of targets


def mutated(random: Random, sound: bytes, most: int = 4) -> bytes:
    """Damage bytes in some places: flipped, changed, left out, doubled, numbers made huge, the end cut off."""
    body = bytearray(sound)
    for _ in range(random.randint(1, most)):
        at = random.randrange(len(body) + 1)
        kind = random.randrange(8)
        if kind == 0 and at < len(body):
            body[at] ^= 1 << random.randrange(8)
        elif kind == 1 and at < len(body):
            body[at] = random.choice((0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 2:
            del body[at : at + random.choice((1, 2, 3, 8, 40))]
        elif kind == 3:
            body[at:at] = random.randbytes(random.choice((1, 2, 5, 17)))
        elif kind == 4:
            body[at : at + random.randrange(3)] = random.choice(HUGE)
        elif kind == 5:
            other = random.randrange(len(body) + 1)
            body[at:at] = body[other : other + random.randrange(24)]
        elif kind == 6:
            del body[at:]
        elif at < len(body):
            body[at] = random.randrange(256)
    return bytes(body)


HUGE = [
    b"\xff" * 9 + b"\x01",
    b"\xff" * 9 + b"\x7f",
    b"\xfe" * 9 + b"\x01",
    b"\xff" * 12,
    b"\x80" * 9 + b"\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x40",
]
"""Varints of 2^63, of more than 64 bits, of nothing in ten bytes, of 2^31, 2^62."""

_ROOM_BYTES = 1 << 20


@cache
def _guarded_room() -> tuple[mmap.mmap, npt.NDArray[np.uint8]]:
    page = mmap.PAGESIZE
    room = mmap.mmap(-1, _ROOM_BYTES + page)
    whole = np.frombuffer(room, dtype=np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(whole.ctypes.data + _ROOM_BYTES), ctypes.c_size_t(page), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    return room, whole[:_ROOM_BYTES]


def guarded(content: bytes, padding: int) -> npt.NDArray[np.uint8]:
    """Lay bytes and `padding` zeros before a page that cannot be read; valid until the next call."""
    _, room = _guarded_room()
    size = len(content) + padding
    place = room[_ROOM_BYTES - size :]
    place[: len(content)] = np.frombuffer(content, dtype=np.uint8)
    place[len(content) :] = 0
    return place


if __name__ == "__main__":
    beats = "--beats" in sys.argv
    name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    found = attempts(name, first, count, beats)
    sys.stdout.flush()
    os._exit(0 if beats else bool(found))
