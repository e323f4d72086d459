"""Figures and orders kept in Redis, in the realm's place; deliveries read them where there is no topic.

The first run that keeps them publishes everything once, so that they are complete; a mark tells later runs so.
"""

from __future__ import annotations

from redis import Redis

from nurt.adapters.redis.delivery.topic import RedisTopic
from nurt.contracts.stock_messages import ORDERS, STOCK, StockMessages
from nurt.model.keys import Keys
from nurt.model.stock.published import StockBatch


class RedisStockSink:
    """Sink that keeps what is published; implements `ports.sinks.StockSink`. `client` returns bytes."""

    def __init__(self, client: Redis, keys: Keys, names: tuple[str, ...] = (STOCK, ORDERS)) -> None:
        self._client, self._keys = client, keys
        self._messages = [StockMessages(name) for name in names]
        self._topics: dict[tuple[str, str], RedisTopic] = {}

    @property
    def mark(self) -> bytes:
        """See stock.stages.backlog.Keeper: everything is published again under a newer contract."""
        return ",".join(f"{one.name}.v{one.version}" for one in self._messages).encode()

    def clear(self, realm: str) -> None:
        """See stock.stages.backlog.Keeper."""
        for messages in self._messages:
            self._topic(realm, messages.name).clear()

    def write(self, batch: StockBatch) -> None:
        """See ports.sinks.StockSink."""
        if not batch.realm:
            return  # events only
        for messages in self._messages:
            published = messages.of(batch)
            if len(published):
                self._topic(batch.realm, messages.name).append(published, messages.version)

    def _topic(self, realm: str, name: str) -> RedisTopic:
        if (realm, name) not in self._topics:
            self._topics[realm, name] = RedisTopic(self._client, self._keys.realm_place(realm), name)
        return self._topics[realm, name]

    def close(self) -> None:
        """See ports.sinks.StockSink."""
        self._client.close()
