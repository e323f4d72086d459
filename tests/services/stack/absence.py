"""What to say when a service cannot be had here: tests skip at a desk and fail in CI, benchmarks stop."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


class ServiceAbsent(RuntimeError):
    """A service cannot be started on this machine; the message names what to install or which variable to set."""


def in_ci() -> bool:
    """Say whether this is a CI run, where an absent service is a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def skip_or_fail(absent: ServiceAbsent) -> NoReturn:
    """End the test: skipped at a desk, failed in CI, with the remedy either way."""
    if in_ci():
        pytest.fail(str(absent), pytrace=False)
    pytest.skip(str(absent))
