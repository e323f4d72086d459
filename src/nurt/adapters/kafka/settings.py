"""How nurt reaches Kafka: the address, any librdkafka option, and secrets that stay outside of both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from nurt.adapters.secrets import Option, fill_in
from nurt.errors import ConfigurationError

Client = TypeVar("Client")

RESERVED: Mapping[str, str] = {
    "bootstrap.servers": "it is set by `bootstrap`",
    "group.id": "it is set by `group`",
    "enable.auto.commit": "nurt commits what is done, not what was read",
    "enable.auto.offset.store": "nurt commits what is done, not what was read",
    "enable.partition.eof": "nurt needs it to know where a partition ends",
    "auto.offset.reset": "a lost offset must be said, not skipped",
    "isolation.level": "an aborted transaction never happened",
    "enable.idempotence": "a retried publication must not appear twice",
    "transactional.id": "nurt derives it from the deployment and the worker, to keep zombies out",
    "queue.buffering.max.messages": "a queue that fills up would let later profiles overtake",
    "queue.buffering.max.kbytes": "a queue that fills up would let later profiles overtake",
    "acks": "a publication counts when all in-sync replicas have it",
    "error_cb": "nurt reports outages itself",
    "logger": "nurt logs what librdkafka says",
}
"""librdkafka options that nurt's guarantees depend on, and the reason why users cannot set each."""

EVERY_CLIENT: Mapping[str, Any] = {
    "log_level": 2,  # nurt logs lost connections itself, once
    "reconnect.backoff.max.ms": 1000,  # a broker that is back is used within a second
    "socket.keepalive.enable": True,
}

_logger = logging.getLogger("nurt.kafka")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Brokers' address and librdkafka options as they were written, secrets not yet filled in.

    In a text, `${NAME}` stands for an environment variable and `$$` for a dollar sign; a text that begins with `file:`
    stands for the content of that file. This value shows only the address; what `client_options` returns is secret.
    """

    bootstrap: str
    options: Mapping[str, Option] = field(default_factory=dict, repr=False)

    def client_options(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Return options for a client: the user's over our own.

        The result holds secrets: pass it only to librdkafka.
        Raises ConfigurationError naming an option that is reserved, or a variable or file that is not there.
        """
        for key in self.options:
            if reason := RESERVED.get(key):
                raise ConfigurationError(f"reading Kafka option {key}: it cannot be set ({reason}); remove it")
        options = {**fixed, **{key: fill_in(f"Kafka option {key}", value) for key, value in self.options.items()}}
        return {
            "bootstrap.servers": fill_in("Kafka option bootstrap.servers", self.bootstrap),
            "client.id": "nurt",
            **EVERY_CLIENT,
            **options,
        }

    def open(self, make: Callable[..., Client], kind: str, options: Mapping[str, Any]) -> Client:
        """Make a librdkafka client; raises ConfigurationError, without any option's value, for a refused one."""
        try:
            return make(dict(options), logger=_logger)
        except KafkaException as refused:
            reason = self._without_values(str(refused.args[0].str()), options)
            raise ConfigurationError(
                f"opening a Kafka {kind}: librdkafka refuses an option ({reason}); correct it under `kafka.options`"
            ) from None

    def _without_values(self, text: str, options: Mapping[str, Any]) -> str:
        for key in self.options:
            if isinstance(options[key], str) and options[key]:
                text = text.replace(options[key], "***")
        return text
