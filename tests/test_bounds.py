"""Kernels index nothing outside of their arrays: their tests once more, with numba's check of every index.

The check sees no read or write by address (docs/kernels.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITH_KERNELS = (
    *("tests/unit/test_rows.py", "tests/unit/test_row_contributions.py", "tests/unit/test_tables.py"),
    *("tests/unit/test_ids.py", "tests/unit/test_text_codes.py", "tests/unit/test_payloads.py"),
    *("tests/unit/test_positions.py", "tests/unit/test_timestamps.py", "tests/unit/test_avro_reading.py"),
    *("tests/properties/test_avro_reader.py", "tests/properties/test_avro_writer.py", "tests/properties/test_resp.py"),
    *("tests/properties/test_quick_rows.py", "tests/properties/test_resp_replies.py", "tests/properties/test_folds.py"),
    *("tests/properties/test_identity.py", "tests/properties/test_texts.py", "tests/properties/test_kept_bodies.py"),
    *("tests/properties/test_engine_equals_batch.py", "tests/properties/test_stock_equals_batch.py"),
)
CANARY = """
import numba, numpy
@numba.njit
def outside(numbers, at):
    return numbers[at]
try:
    outside(numpy.zeros(3), 3)
except IndexError:
    print("noticed")
"""


def _checked(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NURT_HYPOTHESIS_PROFILE": "quick"}
    for name in [name for name in environment if name.startswith("PYTEST")]:
        del environment[name]
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_no_kernel_leaves_its_arrays() -> None:
    assert _checked("-c", CANARY).stdout == "noticed\n"
    done = _checked("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *WITH_KERNELS)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]


def test_the_files_with_kernels_are_there() -> None:
    assert [name for name in WITH_KERNELS if not (ROOT / name).exists()] == []
