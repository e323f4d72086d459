"""What a shop asks, and how the answers are read; sends nothing itself, so that sync and async clients share it.

A question is a generator: it yields what is to be done (a command for Redis, a pause, another connection), is sent the
answer or thrown the error, and returns what the shop wanted to know.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha1
from typing import Any

import orjson
from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from nurt_client.connecting import is_no_writes
from nurt_client.errors import ConfigurationError, ConnectionFailed
from nurt_client.ids import Ids, fingerprint, ledger_token, sku_id
from nurt_client.keys import HELD, PLAN, PROMISE, config_key, realm_place, secret_of_config, stock_prefix
from nurt_client.ledger import LEDGER_SCRIPT, read_held
from nurt_client.quantities import UNIT, Quantity, to_decimal, to_units

LEDGER_SHA = sha1(LEDGER_SCRIPT, usedforsecurity=False).hexdigest()
"""The name by which a server knows the ledger's script."""
KITS_KNOWN_S = 2.0
"""For how long the parts of a kit are believed."""
LINES_MAX = 500
"""Lines of one reservation."""
NAMES_MAX = 100_000
"""Skus whose ids and parts are remembered."""
STALE_TRIES, STALE_PAUSE_S = 50, 0.01
"""How often a reservation is asked for again while a new plan is weighed; each pause is longer by the same."""
AVAILABLE_TRIES = 5
"""How often figures are read again meanwhile."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order: its name within the order, a sku and how many."""

    line: str
    sku: str
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class Reservation:
    """Answer to `reserve`; true when the lines may be sold.

    Attributes:
        status: `accepted`; `known`: the order's own rows are here already and hold by themselves; `refused`: `sku` is
            short; `differs`: a line was reserved otherwise before, release it first; `closed`: the flow of stock does
            not run, or has not caught up; `unknown route`: no such channel and market; `stale`: a new plan is being
            weighed, ask again.
        sku: which is short.
        available: how many of it can still be had.
        until_ms: when it expires, milliseconds since 1970 by the server's clock.
    """

    status: str
    sku: str | None = None
    available: Decimal | None = None
    until_ms: int | None = None

    def __bool__(self) -> bool:
        return self.status in ("accepted", "known")


@dataclass(frozen=True, slots=True)
class Command:
    """A command for Redis; its answer is sent back, or its error thrown."""

    words: tuple[bytes | str | int, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait before the next step."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reconnect:
    """A wish to drop all connections: another server may be the primary by now."""


Step = Command | Pause | Reconnect
Plan = dict[str, Any]
"""As the flow writes it: version, `around` (by route: the unions around it), `buffers` (by route)."""
Kit = list[tuple[str, int]]
"""Parts of a kit: sku, and ten-thousandths of it in one kit."""
Promise = tuple[list[int] | None, Kit]
"""What is left of a sku, by union, and its parts; None: nothing is known of it, or it is being weighed."""


class StockProtocol:
    """All questions of one shop to one place.

    Args:
        secret: under which skus and orders are named.
        prefix: of the deployment.
        where: the server's address, for errors.
    """

    def __init__(self, secret: bytes, prefix: str, realm: str, where: str) -> None:
        self._ids, self._fingerprint, self._where = Ids(secret), fingerprint(secret), where
        own = stock_prefix(prefix)
        self._about = f"realm {realm!r} under the prefix {prefix!r}"
        self._place, self._config = realm_place(own.encode(), realm), config_key(own.encode())
        self._is_checked = False
        self._plan: Plan | None = None
        self._names: dict[str, bytes] = {}
        self._kits: dict[str, tuple[float, Kit]] = {}

    def available(self, skus: Sequence[str], channel: str, market: str) -> Generator[Step, Any, dict[str, Decimal]]:
        """Ask how many of each sku can be sold."""
        plan, promises = yield from self._promises(dict.fromkeys(skus))
        route = f"{channel}/{market}"
        if route not in plan["around"]:
            known = ", ".join(sorted(name for name in plan["around"] if "*" not in name))
            raise ConfigurationError(
                f"asking for stock of {route}: no such channel and market (expected {known}); correct it, or add it to "
                "the mapping's section `stock`"
            )
        around, buffer = plan["around"][route], plan["buffers"][route]
        free = {
            sku: 0 if slack is None else max(0, min(slack[union] for union in around) - buffer)
            for sku, (slack, _) in promises.items()
        }
        quantities = {}
        for sku in skus:
            kit = promises[sku][1]
            whole = min((free[part] // pieces for part, pieces in kit if pieces > 0), default=0) * UNIT
            quantities[sku] = to_decimal(whole if kit else free[sku])
        return quantities

    def reserve(
        self, order: str, lines: Sequence[Line], channel: str, market: str, expires_s: float
    ) -> Generator[Step, Any, Reservation]:
        """Ask to hold all lines of an order, or none."""
        if not 0 < len(lines) <= LINES_MAX:
            raise ConfigurationError(
                f"reserving for an order: {len(lines)} lines (expected 1 to {LINES_MAX}); leave out an order without "
                "lines, split one that is larger"
            )
        wanted = [(line, to_units(line.quantity)) for line in lines]
        kits = yield from self._parts({line.sku for line in lines})
        arguments: list[bytes | str | int] = []
        by_id: dict[bytes, str] = {}
        for line, quantity in wanted:
            for sku, pieces in kits[line.sku] or [(line.sku, UNIT)]:
                one = self._id(sku)
                by_id[one] = sku
                arguments += [line.line, one, quantity * pieces // UNIT]
        token = ledger_token(self._ids, channel, order)
        for attempt in range(STALE_TRIES):
            answer = yield from self._call("reserve", token, f"{channel}/{market}", int(expires_s * 1000), *arguments)
            status = answer[0].decode()
            if status != "stale":
                break
            yield Pause(STALE_PAUSE_S * (attempt + 1))
        if status == "refused":
            return Reservation(status, by_id[answer[1]], to_decimal(int(answer[2])))
        return Reservation(status, until_ms=int(answer[1]) if status == "accepted" else None)

    def release(self, order: str, channel: str) -> Generator[Step, Any, bool]:
        """Ask to let go of what an order reserved."""
        yield from self._check()
        answer = yield from self._call("release", ledger_token(self._ids, channel, order))
        return bool(answer[0] == b"released")

    def _promises(self, skus: Iterable[str]) -> Generator[Step, Any, tuple[Plan, dict[str, Promise]]]:
        """Read what is promised of skus and of the parts of kits among them, all of it under one plan."""
        wanted = list(skus)
        for attempt in range(AVAILABLE_TRIES):
            if attempt > 1:  # the first time, only the plan that we know may be old
                yield Pause(STALE_PAUSE_S * attempt)
            plan = yield from self._read_plan()
            found, is_stale = yield from self._read(wanted, plan)
            parts = dict.fromkeys(part for _, kit in found.values() for part, _ in kit if part not in found)
            of_parts, is_part_stale = yield from self._read(list(parts), plan)
            found |= of_parts
            if not (is_stale or is_part_stale):
                break
            self._plan = None
        return plan, found

    def _read(self, skus: list[str], plan: Plan) -> Generator[Step, Any, tuple[dict[str, Promise], bool]]:
        """Read promises under a plan, and say whether one was weighed under another."""
        ids = [self._id(sku) for sku in skus]
        values = yield from self._get([self._place + kind + one for kind in (PROMISE, HELD) for one in ids])
        found: dict[str, Promise] = {}
        is_stale = False
        for sku, promise, held in zip(skus, values[: len(ids)], values[len(ids) :], strict=True):
            if promise is None:
                found[sku] = None, []
                continue
            version, texts, kit = promise.decode().split(";", 2)
            slack: list[int] | None = None
            if version == plan["version"]:
                slack = [int(text) for text in texts.split(",")]
                for route, quantity in read_held(held).items():
                    for union in plan["around"].get(route, plan["around"]["*/*"]):
                        slack[union] -= quantity
            else:
                is_stale = True
            found[sku] = slack, _kit(kit)
        return found, is_stale

    def _parts(self, skus: Iterable[str]) -> Generator[Step, Any, dict[str, Kit]]:
        """Read which parts skus are made of; none: the sku is no kit."""
        yield from self._check()
        wanted = list(skus)
        now = time.monotonic()
        seen = {sku: self._kits[sku] for sku in wanted if sku in self._kits}
        known = {sku: kit for sku, (at, kit) in seen.items() if now - at <= KITS_KNOWN_S}
        unknown = [sku for sku in wanted if sku not in known]
        values = yield from self._get([self._place + PROMISE + self._id(sku) for sku in unknown])
        if len(self._kits) > NAMES_MAX:
            self._kits.clear()
        for sku, promise in zip(unknown, values, strict=True):
            known[sku] = [] if promise is None else _kit(promise.decode().split(";", 2)[2])
            self._kits[sku] = now, known[sku]
        return known

    def _read_plan(self) -> Generator[Step, Any, Plan]:
        """Read the plan once, until a promise was weighed under another."""
        yield from self._check()
        if self._plan is not None:
            return self._plan
        (text,) = yield from self._get([self._place + PLAN])
        if text is None:
            raise ConfigurationError(
                f"asking for stock of {self._about}: nothing is known yet (the flow of stock has not run); start "
                "`nurt run --flow stock`, or correct prefix and realm"
            )
        plan: Plan = orjson.loads(text)
        self._plan = plan
        return plan

    def _check(self) -> Generator[Step, Any, None]:
        """Look once whether the flow of stock names skus under the same secret."""
        if self._is_checked:
            return
        try:
            (text,) = yield from self._get([self._config])
        except ConfigurationError:
            text = None  # a shop may be kept from reading this key; what it may not do else is said when it is tried
        if text is not None and secret_of_config(text.decode()) != self._fingerprint:
            raise ConfigurationError(
                f"asking for stock of {self._about}: `secret` is not the one that the flow of stock runs with; give "
                "the one of its nurt.yaml, or of the file `secret` in its data folder"
            )
        self._is_checked = True

    def _get(self, keys: Sequence[bytes]) -> Generator[Step, Any, list[bytes | None]]:
        if not keys:
            return []
        values: list[bytes | None] = yield from self._twice(Command(("MGET", *keys)))
        return values

    def _call(self, what: str, *arguments: bytes | str | int) -> Generator[Step, Any, list[bytes]]:
        """Call the ledger's script by the server's clock."""
        words = (1, self._place, what, "", *arguments)
        try:
            answer: list[bytes] = yield from self._twice(Command(("EVALSHA", LEDGER_SHA, *words)))
        except NoScriptError:
            answer = yield from self._twice(Command(("EVAL", LEDGER_SCRIPT, *words)))
        return answer

    def _twice(self, command: Command) -> Generator[Step, Any, Any]:
        """Ask again when a connection breaks. Every command may be repeated: what it asks for twice happens once."""
        for _ in range(2):
            try:
                return (yield command)
            except (AuthenticationError, NoPermissionError) as refused:
                raise ConfigurationError(
                    f"asking Redis for stock at {self._where}: the server refuses us ({type(refused).__name__}); "
                    "correct the credentials in the URL, or what its user may do"
                ) from None
            except (RedisConnectionError, RedisTimeoutError) as failed:
                error = type(failed).__name__
            except NoScriptError:
                raise
            except RedisError as refused:
                if not is_no_writes(refused):
                    raise ConnectionFailed(
                        f"asking Redis for stock at {self._where}: the server answers with an error "
                        f"({type(refused).__name__}); look into its log"
                    ) from refused
                error = "it takes no writes"
                yield Reconnect()
        raise ConnectionFailed(
            f"asking Redis for stock at {self._where}: {error}, twice (expected an answer); check the URL and the "
            "server (a failover takes some seconds), then ask again: a reservation asked for twice is held once"
        ) from None

    def _id(self, sku: str) -> bytes:
        if sku not in self._names:
            if len(self._names) > NAMES_MAX:
                self._names.clear()
            self._names[sku] = sku_id(self._ids, sku)
        return self._names[sku]


def _kit(text: str) -> Kit:
    return [(part, pieces) for part, pieces in orjson.loads(text)] if text else []
