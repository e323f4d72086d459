"""Wait for brokers that are away: log it once, try again until they answer, never give up silently."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from nurt.errors import ConfigurationError, ConnectionFailed

Result = TypeVar("Result")

AWAY = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_COORD,
        KafkaError._RESOLVE,
        KafkaError._WAIT_CACHE,
        KafkaError._NOENT,
        KafkaError._IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_CONTROLLER,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
"""Errors that pass by themselves: a broker is away, restarts, or hands over."""

FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
    }
)
"""Errors that last until an operator changes something."""

REPORTED = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE})

BLIP_S = 2.0
"""A shorter silence is no outage: a topic was just created, or a leader moves."""

PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 2.0

_logger = logging.getLogger(__name__)


class Outage:
    """Memory of whether brokers answer: the log says once that brokers went away and once that they are back."""

    def __init__(self, doing: str, bootstrap: str) -> None:
        self._doing = doing
        self._bootstrap = bootstrap
        self._since: float | None = None
        self._reported: set[int] = set()

    def on_error(self, error: KafkaError) -> None:
        """Take an error that librdkafka reports by `error_cb`."""
        if error.code() in REPORTED:
            self.begin(error)

    def begin(self, error: KafkaError) -> None:
        """Take note that a broker does not answer; log it when it lasts, once for each kind of total failure."""
        code = error.code()
        if self._since is None:
            self._since = time.monotonic()
        lasts = time.monotonic() - self._since >= BLIP_S
        if (code in REPORTED and code not in self._reported) or (lasts and not self._reported):
            self._reported.add(code)
            _logger.warning(
                "%s at %s: no answer (%s); nurt waits and tries again", self._doing, self._bootstrap, error.name()
            )

    def end(self) -> None:
        """Take note of an answer; log it when the outage was logged."""
        since, self._since = self._since, None
        if since is not None and self._reported:
            self._reported.clear()
            _logger.warning(
                "%s at %s: answered again after %.1f s", self._doing, self._bootstrap, time.monotonic() - since
            )

    def until_answered(
        self, call: Callable[[], Result], seconds_max: float | None = None, local: bool = False
    ) -> Result:
        """Repeat `call` until brokers answer it; `local`: a success does not prove that brokers are there.

        Raises ConfigurationError when brokers refuse, ConnectionFailed when `seconds_max` pass (None: waits for ever);
        other failures pass through as they are.
        """
        began, pause = time.monotonic(), PAUSE_MIN_S
        while True:
            try:
                answer = call()
            except KafkaException as failed:
                error: Any = failed.args[0]
                refuse(self._doing, error)
                passes = error.code() in AWAY or error.retriable()
                if not passes or error.fatal() or error.txn_requires_abort():
                    raise
                self.begin(error)
                waited_s = time.monotonic() - began
                if seconds_max is not None and waited_s > seconds_max:
                    raise ConnectionFailed(
                        f"{self._doing} at {self._bootstrap}: no answer for {waited_s:.0f} s ({error.name()}); "
                        "check the address, the network and the credentials"
                    ) from None
                time.sleep(pause)
                pause = min(PAUSE_MAX_S, pause * 2)
            else:
                if not local:
                    self.end()
                return answer


def refuse(doing: str, error: KafkaError) -> None:
    """Raise ConfigurationError when the broker forbids the call."""
    if error.code() in FORBIDDEN:
        raise ConfigurationError(f"{doing}: the broker refuses ({error.name()}); grant it, or correct the settings")
