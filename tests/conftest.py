"""Fixtures of real services for every suite; see tests/services/stack."""

from __future__ import annotations

pytest_plugins = ["tests.services.stack.fixtures", "tests.hypothesis_profiles"]
