"""The harness names each input that raises or ends its process, and goes on behind it."""

from __future__ import annotations

import subprocess
import sys

from tests.fuzz.harness import run

READS_BEHIND = """
from tests.fuzz.harness import guarded
body = guarded(b"abc", 2)
print(bytes(body), flush=True)
import ctypes
ctypes.string_at(body.ctypes.data, {size})
"""


def test_what_raises_and_what_crashes_is_named_and_the_rest_is_tried() -> None:
    report = run("crashing", 0, 60)
    assert report.outcomes == {"fine": 57, "raised": 1, "crashed": 2}
    named = sorted(finding.split(":")[0] for finding in report.findings)
    assert named == ["crashing 23", "crashing 41", "crashing 7"]


def test_what_lies_behind_guarded_bytes_cannot_be_read() -> None:
    for size, code in ((5, 0), (6, -11)):
        done = subprocess.run([sys.executable, "-c", READS_BEHIND.format(size=size)], capture_output=True, check=False)
        assert done.stdout == b"b'abc\\x00\\x00'\n"
        assert done.returncode == code
