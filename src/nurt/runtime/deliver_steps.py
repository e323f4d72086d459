"""The Bytewax sink of a delivery: it returns when all its messages are settled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from nurt.delivery.journal import Message
from nurt.delivery.run.key_locks import Stopping
from nurt.errors import frames_of
from nurt.model.raw import RawBatch
from nurt.runtime.deliver_source import Work

BACKLOG_ROWS = 2_000
"""Live messages at once from which a bulk interface is used, too: at a first start, or after a long pause."""

_logger = logging.getLogger(__name__)


class MessageDeliverer(Protocol):
    """Port that settles messages: rows call by call, or tables batch by batch."""

    def deliver(self, messages: Sequence[Message], bulk: bool = False) -> None:
        """Settle what messages ask for."""
        ...

    def retry_parked(self, rows_max: int = 500) -> int:
        """Try parked desired states that are due."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...


class DeliverySink(DynamicSink[Work]):
    """Sink with one delivering part a worker."""

    def __init__(
        self, open_deliverer: Callable[[int], MessageDeliverer], read: Callable[[RawBatch], list[Message]]
    ) -> None:
        self._open = open_deliverer
        self._read = read

    def build(self, step_id: str, worker_index: int, worker_count: int) -> DeliverySinkPart:
        """Open a worker's part."""
        try:
            return DeliverySinkPart(self._open(worker_index), self._read)
        except Exception as failed:
            _logger.error("opening the destination: failed; this run stops\n%s", frames_of(failed))
            raise


class DeliverySinkPart(StatelessSinkPartition[Work]):
    """Delivering part of one worker; live changes go before a back-fill's."""

    def __init__(self, to: MessageDeliverer, read: Callable[[RawBatch], list[Message]]) -> None:
        self._to = to
        self._read = read

    def write_batch(self, items: list[Work]) -> None:
        """Settle all items. Bytewax shows no text of an exception, so it is logged here."""
        try:
            for backfill in (False, True):
                works = [item for item in items if item.is_backfill is backfill]
                messages = [one for work in works for batch in work.batches for one in self._read(batch)]
                if messages:
                    self._to.deliver(messages, bulk=backfill or len(messages) >= BACKLOG_ROWS)
            self._to.retry_parked()
        except Stopping:
            raise
        except Exception as failed:
            _logger.error("delivering: failed; this run stops\n%s", frames_of(failed))
            raise

    def close(self) -> None:
        """Let go of the destination."""
        self._to.close()
