"""Bytes from outside never raise, crash, hang or change what lies beside them; millions of them in `make fuzz`."""

from __future__ import annotations

import importlib
import os

import pytest

from tests.fuzz.harness import run

TARGETS = ["avro_bytes", "resp", "state_values", "registry_schemas", "archive_files"]
SHORT = {"avro_bytes": 1_500, "resp": 4_000, "state_values": 1_500, "registry_schemas": 120, "archive_files": 400}
"""Inputs of a short run: some seconds each, when the kernels are compiled."""
SHORT_MIN = 300

SHARE = float(os.environ.get("NURT_FUZZ", "0"))
"""The part of COUNT that is tried; 0: a short run."""
FROM = int(os.environ.get("NURT_FUZZ_FROM", "0"))


@pytest.mark.slow
@pytest.mark.timeout(0 if SHARE else 1_200)
@pytest.mark.parametrize("target", TARGETS)
def test_bytes_that_nobody_meant_are_read_or_refused(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole: int = importlib.import_module(f"tests.fuzz.{target}").COUNT
    report = run(target, FROM, max(1, int(whole * SHARE)) if SHARE else SHORT.get(target, SHORT_MIN))
    if SHARE:
        with capsys.disabled():
            print(f"\n{report}")
    assert not report.findings, "\n".join(report.findings)
