"""Law: whatever databases and connectors went through, profiles equal those of the final rows alone.

Histories are messages of genuine form here, so that decoding, source epochs and positions are a part of the law. `make
histories` plays a thousand of them.
"""

from __future__ import annotations

import os

import pytest

from nurt.simulate.connector.messages import batches_of
from nurt.simulate.connector.schemas import SchemaBook
from nurt.testing.histories.history import arrivals, messages
from nurt.testing.histories.random import random_history
from tests.hypothesis_profiles import examples
from tests.oracle.wire import batch_messages, compared, published

HISTORIES = int(os.environ.get("NURT_HISTORIES", "100"))
A_TEST = 20
"""Seeds of one test: many are slow to name, and one failure should name a few."""


@pytest.mark.parametrize("first", range(0, examples(HISTORIES), A_TEST))
def test_messages_of_a_history_give_what_its_final_rows_give(first: int) -> None:
    for seed in range(first, first + min(A_TEST, examples(HISTORIES))):
        history, of_stream, of_batch = random_history(seed, 40), SchemaBook(), SchemaBook()
        sent = arrivals(messages(history, of_stream, partitions=3), seed)
        stream = published(batches_of(sent, 1 + seed % 90), of_stream, seed, 1 + seed % 3)
        batch = published(batches_of(batch_messages(history, of_batch)), of_batch)
        assert not compared(batch, stream), f"seed {seed}"
