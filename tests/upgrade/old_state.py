"""What commit f00477a stored (tests/fixtures/f00477a), put into a Redis and a folder, and gone on from."""

from __future__ import annotations

import base64
import gzip
import tarfile
import threading
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from nurt.inspect.profile_reader import read_profile
from redis import Redis

from flows.deliver import deliver
from flows.profiles import profiles
from flows.stock import stock
from nurt import wiring, wiring_stock
from nurt.app.delivery import Delivery, run_delivery
from nurt.app.delivery_config import destination_named
from nurt.app.running import run_here, run_stock_here
from nurt.model.stored_profile import ERASED, KeptProfile
from nurt.settings import Settings, load_settings
from tests.services.stack.redis_server import RedisServer

FIXTURE = Path(__file__).parents[1] / "fixtures" / "f00477a"
TODAY = (date(2026, 4, 8) - date(1970, 1, 1)).days
"""A week after the day on which the fixture was made."""
NOW_MS = 2**42
"""Long after every moment that the fixture waits for."""


@cache
def facts() -> dict[str, Any]:
    """Say what the code that wrote the fixture read in it."""
    found: dict[str, Any] = orjson.loads(gzip.decompress((FIXTURE / "facts.json.gz").read_bytes()))
    return found


@dataclass
class OldState:
    """One deployment that an older version left, on a server of its own."""

    home: Path
    server: RedisServer
    webhook_url: str = "http://127.0.0.1:9"

    @classmethod
    def load(cls, home: Path, server: RedisServer) -> OldState:
        """Put everything where it was."""
        loaded = cls(home, server)
        loaded.unpack("home", home)
        loaded.configure()
        with loaded.client() as client, gzip.open(FIXTURE / "redis.jsonl.gz") as lines:
            client.flushall()
            for line in lines:
                _restore(client, orjson.loads(line))
        return loaded

    def configure(self) -> None:
        """Name the servers of today in the settings."""
        for name in ("nurt.yaml", "delivery.yaml"):
            with tarfile.open(FIXTURE / "home.tar.xz") as packed:
                text = packed.extractfile(name).read().decode()  # type: ignore[union-attr]
            text = text.replace("REDIS_URL", self.server.url).replace("WEBHOOK_URL", self.webhook_url)
            text = text.replace("rows_max: 60", "rows_max: 300").replace("rows_max: 1,", "rows_max: 50,")
            (self.home / name).write_text(text)

    @staticmethod
    def unpack(name: str, folder: Path) -> None:
        with tarfile.open(FIXTURE / f"{name}.tar.xz") as packed:
            packed.extractall(folder, filter="data")

    def client(self) -> Redis:
        return Redis.from_url(self.server.url)

    @property
    def config(self) -> Path:
        return self.home / "nurt.yaml"

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    def receive_later_messages(self, scratch: Path) -> None:
        """Let the archive hold the rest, and every schema."""
        self.unpack("later", scratch)
        with (self.archive / "messages.jsonl").open("ab") as messages:
            messages.write((scratch / "messages.jsonl").read_bytes())
        (self.archive / "schemas.json").write_bytes((scratch / "schemas.json").read_bytes())

    def messages(self) -> int:
        """Count the messages of the archive."""
        return (self.archive / "messages.jsonl").read_bytes().count(b"\n")

    def run(self, flow: str) -> None:
        """Run a flow until its input ends, by a clock that stands still."""
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr(wiring.SystemClock, "today", lambda _: TODAY)
            clock.setattr(wiring_stock.MomentClock, "today", lambda _: NOW_MS)
            if flow == "profiles":
                run_here(profiles, self.settings)
            else:
                run_stock_here(stock, self.settings)

    def deliver(self) -> None:
        """Deliver what waits until there is no more."""
        settings = self.settings
        mapping = destination_named(settings, "crm")
        run_delivery(deliver, Delivery(settings, mapping, threading.Event(), until_end=True))

    def kept(self) -> dict[str, tuple[KeptProfile, dict[str, Any] | None]]:
        """Read every profile that the state holds, and its content; None when erased."""
        found = {}
        with self.client() as client:
            keys = [key for key in client.scan_iter(match="nurt{??}f*", count=1_000) if len(key) == 25]
            for key in keys:
                kept = KeptProfile.decode(client.get(key))  # type: ignore[arg-type]
                assert kept is not None
                content = None if kept.state == ERASED else read_profile(kept.body, kept.version)
                found[key[9:].hex()] = kept, content
        return found


def _restore(client: Any, one: dict[str, Any]) -> None:
    key, value = base64.b64decode(one["key"]), one["value"]
    if one["type"] == "string":
        client.set(key, base64.b64decode(value))
    elif one["type"] == "hash":
        client.hset(key, mapping={base64.b64decode(name): base64.b64decode(text) for name, text in value})
    elif one["type"] == "set":
        client.sadd(key, *map(base64.b64decode, value))
    else:
        client.zadd(key, {base64.b64decode(name): float(score) for name, score in value})
