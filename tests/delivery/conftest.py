"""What several suites of deliveries need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    """A webhook that takes everything but what it is told to refuse."""
    with running(FakeWebhook()) as fake:
        yield fake
