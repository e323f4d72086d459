"""Published profiles on a compacted Kafka topic: one transaction a batch, and zombies kept out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, Producer

from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import ensure_topic, open_admin
from nurt.errors import ConfigurationError, ConnectionFailed, Fenced, NurtError, frames_of
from nurt.model.published import PublishedBatch
from nurt.ports.registry import SchemaRegistry

TRANSACTION_TIMEOUT_MS = 300_000
"""How long a broker keeps a transaction open for a silent producer; a broker outage may last as long."""

PROFILE_BYTES_MAX = 8 * 1024 * 1024
"""The largest published message: on the topic when nurt creates it, and in the producer."""

SEND_ROWS_MAX = 20_000
QUEUED_ROWS_MAX = 500_000
QUEUED_BYTES_MAX = 256 * 1024 * 1024
"""Both limits keep librdkafka's queue from filling up: in a full queue later messages would overtake."""

ANSWER_S = 5.0

TAKEN_OVER = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
"""Errors when a newer producer has our transactional id. A broker that ended our old transaction answers the same."""

TOO_LARGE = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG}
)

_logger = logging.getLogger(__name__)


class _Aborted(Exception):
    """Abort of a transaction: nothing of it will be read; `error` is librdkafka's reason, None a full queue."""

    def __init__(self, error: KafkaError | None) -> None:
        self.error = error


class KafkaProfileSink:
    """Sink of profiles keyed by id (Avro `string`, hex); read_committed readers see each batch whole or not at all.

    The transactional id is the deployment and the worker: opening a sink fences any older sink of the same id. A worker
    also fences ids of the last run that this run does not have (`fence_workers` above `workers`).

    Args:
        registry: where key and value schema are registered (subjects `<topic>-key`, `<topic>-value`).
        fence_workers: how many workers any earlier run had, at most.
        partitions, replication: for a topic that is created; -1 is the broker's default.
        key_of: writes an id as the Avro body of the key.
        answer_max_s: how long brokers may be silent at start; afterwards nurt waits.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        registry: SchemaRegistry,
        value_schema: Mapping[str, Any],
        key_schema: Mapping[str, Any],
        *,
        deployment: str,
        topic: str = "nurt.profiles",
        worker: int = 0,
        workers: int = 1,
        fence_workers: int = 0,
        partitions: int = 6,
        replication: int = -1,
        answer_max_s: float = 60.0,
        transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS,
        key_of: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._topic = topic
        self._doing = f"publishing to topic {topic}"
        self._outage = Outage(self._doing, settings.bootstrap)
        self._timeout_s = transaction_timeout_ms / 1000
        self._began_s = 0.0
        config = {"cleanup.policy": "compact", "max.message.bytes": str(PROFILE_BYTES_MAX)}
        self._admin = open_admin(settings, self._outage)
        ensure_topic(self._admin, self._outage, topic, partitions, replication, config, answer_max_s)
        self._key_header = _wire_header(registry.register(f"{topic}-key", key_schema))
        self._key_of = key_of or _hex_key
        self._value_header = _wire_header(registry.register(f"{topic}-value", value_schema))
        orphans = range(workers + worker, fence_workers, workers)
        fence(settings, (transactional_id(deployment, orphan) for orphan in orphans), self._outage, answer_max_s)
        self._id = transactional_id(deployment, worker)
        self._producer = _open_producer(settings, self._id, self._outage, transaction_timeout_ms)
        self._outage.until_answered(lambda: self._producer.init_transactions(ANSWER_S), answer_max_s)

    def write(self, batch: PublishedBatch) -> None:
        """Publish the batch in one transaction; return when readers can see the whole batch.

        Waits while brokers are away. Raises Fenced when another run has taken over: nothing of this batch is, or will
        be, read. Raises ConnectionFailed when brokers were away so long that they ended the transaction.
        """
        if not len(batch):
            return
        key_header, value_header = self._key_header, self._value_header
        messages = [
            {"key": key_header + self._key_of(id_), "value": None if body is None else value_header + body}
            for id_, body in zip(batch.ids, batch.values, strict=True)
        ]
        while True:
            try:
                self._began_s = time.monotonic()
                self._answered(self._producer.begin_transaction)
                self._send(messages)
                self._deliver()
                self._answered(lambda: self._producer.commit_transaction(ANSWER_S))
            except _Aborted as aborted:
                self._refuse_hopeless(aborted.error, messages)
                continue
            self._outage.end()
            return

    def close(self) -> None:
        """Close the connections; brokers abort an unfinished transaction later."""
        try:
            with contextlib.suppress(KafkaException):  # a fenced producer repeats here that it is fenced
                self._producer.purge()
                self._producer.flush(ANSWER_S)
        except Exception as failed:
            _logger.error("closing the Kafka producer %s: failed\n%s", self._id, frames_of(failed))

    def _send(self, messages: list[dict[str, Any]]) -> None:
        queued_bytes = 0
        for start in range(0, len(messages), SEND_ROWS_MAX):
            some = messages[start : start + SEND_ROWS_MAX]
            some_bytes = sum(len(message["value"] or b"") for message in some)
            if queued_bytes + some_bytes > QUEUED_BYTES_MAX or len(self._producer) > QUEUED_ROWS_MAX:
                self._deliver()
                queued_bytes = 0
            queued_bytes += some_bytes
            if self._answered(partial(self._producer.produce_batch, self._topic, some)) != len(some):
                self._take_refused(some)

    def _take_refused(self, messages: list[dict[str, Any]]) -> NoReturn:
        """Abort because the client refused a message; the message holds the client's reason."""
        errors = [message.pop("_error") for message in messages if "_error" in message]
        self._abort()
        raise _Aborted(errors[0])

    def _deliver(self) -> None:
        """Wait until the broker has every queued message, or the client gave one up (then the commit aborts)."""
        while self._answered(lambda: self._producer.flush(ANSWER_S)):
            self._outage.begin(KafkaError(KafkaError._TIMED_OUT))

    def _answered(self, call: Callable[[], Any]) -> Any:
        """Repeat one step of a transaction until it is answered; abort and raise when it must not go on."""
        try:
            return self._outage.until_answered(call, local=True)
        except BufferError:
            self._abort()
            raise _Aborted(None) from None
        except KafkaException as failed:
            error = failed.args[0]
            if error.txn_requires_abort():
                self._outage.begin(error)
                self._abort()
                raise _Aborted(error) from None
            self._give_up(error)

    def _abort(self) -> None:
        try:
            self._outage.until_answered(lambda: self._producer.abort_transaction(ANSWER_S), local=True)
        except KafkaException as failed:
            self._give_up(failed.args[0])

    def _refuse_hopeless(self, error: KafkaError | None, messages: list[dict[str, Any]]) -> None:
        """Raise when sending the batch again would fail again, for ever."""
        if error is not None and error.code() in TOO_LARGE:
            size, key = max((len(message["value"] or b""), message["key"]) for message in messages)
            raise ConfigurationError(
                f"{self._doing}: a batch was refused ({error.name()}; its largest profile is {key[-32:].decode()} with "
                f"{size} bytes) and not published; raise the topic's max.message.bytes, and message.max.bytes under "
                "`kafka.options`"
            )
        self._require_topic()

    def _require_topic(self) -> None:
        topics = self._outage.until_answered(lambda: self._admin.list_topics(timeout=ANSWER_S).topics)
        if self._topic not in topics:
            raise NurtError(
                f"{self._doing}: the topic is gone (it was there when this run started); start `nurt run --rebuild` to "
                "make it anew and publish every profile again"
            ) from None

    def _give_up(self, error: KafkaError) -> NoReturn:
        lasted_s = time.monotonic() - self._began_s
        if error.code() in TAKEN_OVER and lasted_s > self._timeout_s:
            raise ConnectionFailed(
                f"{self._doing}: the transaction {self._id} lasted {lasted_s:.0f} s and was ended by the broker "
                f"(at most {self._timeout_s:.0f} s); restart nurt, nothing of it was published"
            ) from None
        if error.code() in TAKEN_OVER:
            raise Fenced(
                f"{self._doing}: another run has taken over transactional id {self._id} (a single run of a "
                "deployment may publish); stop one of them, or give them different deployment names"
            ) from None
        self._require_topic()
        raise NurtError(f"{self._doing}: librdkafka cannot go on ({error.name()}); restart nurt") from None


def _hex_key(id_: bytes) -> bytes:
    """Write an id as Avro `string` of 32 hex digits."""
    return b"\x40" + id_.hex().encode()


def transactional_id(deployment: str, worker: int) -> str:
    """Return the name under which one worker's transactions are fenced."""
    return f"{deployment}-{worker}"


def fence(settings: KafkaSettings, ids: Iterable[str], outage: Outage, seconds_max: float | None = None) -> None:
    """Fence producers that still publish under these transactional ids, and end their open transactions."""
    for id_ in ids:
        producer = _open_producer(settings, id_, outage, TRANSACTION_TIMEOUT_MS)
        outage.until_answered(partial(producer.init_transactions, ANSWER_S), seconds_max)


def _open_producer(settings: KafkaSettings, id_: str, outage: Outage, timeout_ms: int) -> Any:
    fixed = {
        "error_cb": outage.on_error,
        "transactional.id": id_,
        "transaction.timeout.ms": timeout_ms,
        "message.timeout.ms": timeout_ms,
        "message.max.bytes": PROFILE_BYTES_MAX,
        "queue.buffering.max.messages": 2 * QUEUED_ROWS_MAX,
        "queue.buffering.max.kbytes": 2 * QUEUED_BYTES_MAX // 1024,
        "linger.ms": 5,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
    }
    return settings.open(Producer, "producer", settings.client_options(fixed))


def _wire_header(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big")
