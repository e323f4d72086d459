"""A shop's connections: `Stock`, and `AsyncStock` for asyncio. Both only carry what `questions.py` asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

from redis.exceptions import RedisError

from nurt_client.connecting import open_async_client, open_client, place_of
from nurt_client.ledger import EXPIRES_S
from nurt_client.questions import Command, Held, Line, Pause, Questions, Step
from nurt_client.settings import read_settings

TASKS_MAX = 64
"""Commands that an AsyncStock has under way at once; others wait. redis-py refuses more than 100 connections."""

Answer = TypeVar("Answer")


class Stock:
    """A shop's connection; not for several threads at once, but as many as you like may be open.

    Args:
        client: of redis-py, giving bytes; closed with this.
    """

    def __init__(self, client: Any, secret: bytes, prefix: str = "nurt", realm: str = "default") -> None:
        self._client = client
        self._questions = Questions(secret, prefix, realm, place_of(client))

    @classmethod
    def open(
        cls,
        url: str | None = None,
        *,
        secret: str | bytes | None = None,
        prefix: str | None = None,
        realm: str | None = None,
    ) -> Stock:
        """Open a deployment's stock; nothing is sent yet.

        Args:
            url: as `state.url` in nurt.yaml; None: the environment variable NURT_REDIS_URL.
            secret: the deployment's, 32 hex digits, or 16 bytes; None: NURT_SECRET.
            prefix: as `state.prefix`; None: NURT_PREFIX, or `nurt`.
            realm: of the systems; None: NURT_REALM, or `default`.

        A text `file:PATH` stands for the content of that file. Raises ConfigurationError when something is missing or
        cannot be used.
        """
        own = read_settings(url, secret, prefix, realm)
        return cls(open_client(own.url, "url"), own.secret, own.prefix, own.realm)

    def available(self, skus: Sequence[str], channel: str, market: str = "") -> dict[str, Decimal]:
        """Say how many of each sku can be sold, reservations and kits counted in; one round trip, two with kits."""
        return self._ask(self._questions.available(skus, channel, market))

    def reserve(
        self, order: str, lines: Sequence[Line], channel: str, market: str = "", expires_s: float = EXPIRES_S
    ) -> Held:
        """Hold all lines of an order, or none.

        Args:
            order: the order's number or reference, as its row will have it.
            lines: what it sells; a kit holds its parts.
            channel, market: as the order's row will have them.
        """
        return self._ask(self._questions.reserve(order, lines, channel, market, expires_s))

    def release(self, order: str, channel: str) -> bool:
        """Let go of what an order reserved; False: it held nothing."""
        return self._ask(self._questions.release(order, channel))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def __enter__(self) -> Stock:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()

    def _ask(self, question: Generator[Step, Any, Answer]) -> Answer:
        try:
            step = next(question)
            while True:
                try:
                    answer = self._do(step)
                except RedisError as failed:
                    step = question.throw(failed)
                else:
                    step = question.send(answer)
        except StopIteration as ended:
            told: Answer = ended.value
            return told

    def _do(self, step: Step) -> Any:
        if isinstance(step, Command):
            return self._client.execute_command(*step.words)
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        return self._client.connection_pool.disconnect()


class AsyncStock:
    """A shop's connection for asyncio; one serves all tasks of one event loop.

    Args:
        client: of redis.asyncio, giving bytes; closed with this.
    """

    def __init__(self, client: Any, secret: bytes, prefix: str = "nurt", realm: str = "default") -> None:
        self._client = client
        self._questions = Questions(secret, prefix, realm, place_of(client))
        self._free = asyncio.Semaphore(min(TASKS_MAX, client.connection_pool.max_connections))

    @classmethod
    def open(
        cls,
        url: str | None = None,
        *,
        secret: str | bytes | None = None,
        prefix: str | None = None,
        realm: str | None = None,
    ) -> AsyncStock:
        """Open a deployment's stock, as `Stock.open` does; nothing is awaited."""
        own = read_settings(url, secret, prefix, realm)
        return cls(open_async_client(own.url, "url"), own.secret, own.prefix, own.realm)

    async def available(self, skus: Sequence[str], channel: str, market: str = "") -> dict[str, Decimal]:
        """Say how many of each sku can be sold; see `Stock.available`."""
        return await self._ask(self._questions.available(skus, channel, market))

    async def reserve(
        self, order: str, lines: Sequence[Line], channel: str, market: str = "", expires_s: float = EXPIRES_S
    ) -> Held:
        """Hold all lines of an order, or none; see `Stock.reserve`."""
        return await self._ask(self._questions.reserve(order, lines, channel, market, expires_s))

    async def release(self, order: str, channel: str) -> bool:
        """Let go of what an order reserved; False: it held nothing."""
        return await self._ask(self._questions.release(order, channel))

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> AsyncStock:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _ask(self, question: Generator[Step, Any, Answer]) -> Answer:
        try:
            step = next(question)
            while True:
                try:
                    answer = await self._do(step)
                except RedisError as failed:
                    step = question.throw(failed)
                else:
                    step = question.send(answer)
        except StopIteration as ended:
            told: Answer = ended.value
            return told

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Command):
            async with self._free:
                return await self._client.execute_command(*step.words)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await self._client.connection_pool.disconnect(inuse_connections=False)
