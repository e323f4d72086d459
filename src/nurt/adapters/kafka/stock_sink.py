"""Stock on Kafka: figures and orders on compacted topics, events beside them; one transaction a batch and topic."""

from __future__ import annotations

from typing import Any

from nurt.adapters.kafka.profile_sink import KafkaProfileSink
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.contracts.stock_messages import EVENTS, ORDERS, STOCK, StockMessages
from nurt.model.stock.published import StockBatch
from nurt.ports.registry import SchemaRegistry


class KafkaStockSink:
    """Sink of figures, orders and events, each to its topic if it has one; implements `ports.sinks.StockSink`."""

    def __init__(
        self,
        settings: KafkaSettings,
        registry: SchemaRegistry,
        topic: str | None,
        orders_topic: str | None,
        events_topic: str | None,
        *,
        deployment: str,
        **place: Any,
    ) -> None:
        self._sinks: list[tuple[StockMessages, KafkaProfileSink]] = []
        for name, chosen in ((STOCK, topic), (ORDERS, orders_topic), (EVENTS, events_topic)):
            if chosen is None:
                continue
            messages = StockMessages(name)
            sink = KafkaProfileSink(
                settings,
                registry,
                messages.value_schema,
                messages.key_schema,
                deployment=f"{deployment}-{name}",
                topic=chosen,
                key_of=_as_it_is,
                **place,
            )
            self._sinks.append((messages, sink))

    def write(self, batch: StockBatch) -> None:
        """See ports.sinks.StockSink."""
        for messages, sink in self._sinks:
            sink.write(messages.of(batch))

    def close(self) -> None:
        """See ports.sinks.StockSink."""
        for _, sink in self._sinks:
            sink.close()


def _as_it_is(key: bytes) -> bytes:
    return key
