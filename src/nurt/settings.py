"""The settings of a deployment: one YAML file, every key with a default, every mistake named."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nurt.adapters.file_modes import PRIVATE, Sharing, sharing
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.secrets import Option, fill_in
from nurt.errors import ConfigurationError
from nurt.mapping.yaml_lines import BadYaml, load_yaml
from nurt_client.keys import stock_prefix

SECRET_BYTES = 16
SECRET_WAIT_S = 2.0
ROWS_MAX = 8_000
WARN, REFUSE = "warn", "refuse"
"""What follows where a link to another machine is not encrypted."""
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True, slots=True)
class KafkaInput:
    """Topics of a Kafka cluster, names or patterns that begin with `^`."""

    topics: tuple[str, ...]
    group: str = "nurt"
    stop_at_end: bool = False


@dataclass(frozen=True, slots=True)
class StockSettings:
    """Outputs of the stock flow; an output that is None is not written.

    Attributes:
        conflate_ms: a sku or order that changes more often is published at this interval; its last message is exact.
        kept: whether figures and orders that go to no topic are kept in Redis, for deliveries; None: without Kafka.
    """

    topic: str | None = None
    orders_topic: str | None = None
    events_topic: str | None = None
    duckdb: Path | None = None
    conflate_ms: int = 250
    kept: bool | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Deployment, as `nurt.yaml` describes it; paths are relative to that file.

    Attributes:
        mapping: the mapping file.
        mappings: further ones; `mapping:` may be a list.
        data: where the embedded control log, commits, schemas and the ids' secret are kept.
        redis_url: of Redis or Valkey, or of Sentinels (docs/redis.md); credentials may be written as `${VARIABLE}`.
        prefix: tells deployments that share a server apart.
        shards: fixed when state is first written.
        archives: folders to read; either these or `kafka_input`.
        rows_max: messages in a micro-batch.
        epoch_ms: how often what is done is committed.
        linger_ms: how long a profile waits for more changes before it is published; 0: not at all.
        destinations: the file of destinations; it need not exist.
        shared: who may read the files that analysts read.
        plain_links: WARN or REFUSE links that are not encrypted.
        insecure: the sections (state, kafka, registry) whose plain link the operator has allowed.
    """

    mapping: Path
    data: Path
    redis_url: str = DEFAULT_REDIS_URL
    prefix: str = "nurt"
    shards: int = 16
    workers: int = 1
    rows_max: int = ROWS_MAX
    epoch_ms: int = 100
    linger_ms: int = 0
    kafka: KafkaSettings | None = None
    kafka_input: KafkaInput | None = None
    archives: tuple[Path, ...] = ()
    follow: bool = False
    registry_url: str | None = None
    registry_options: Mapping[str, Option] = field(default_factory=dict)
    topic: str | None = None
    partitions: int = 6
    control_topic: str = "nurt.control"
    duckdb: Path | None = None
    parquet: Path | None = None
    secret: str | None = None
    destinations: Path = Path("delivery.yaml")
    stock: StockSettings = StockSettings()
    mappings: tuple[Path, ...] = ()
    shared: Sharing = PRIVATE
    plain_links: str = WARN
    insecure: frozenset[str] = frozenset()

    @property
    def mapping_files(self) -> tuple[Path, ...]:
        """The mapping files, in order."""
        return (self.mapping, *self.mappings)

    def stock_kept(self) -> tuple[str, ...]:
        """Say which contracts of stock are kept in Redis because no topic takes them."""
        wanted = self.kafka is None if self.stock.kept is None else self.stock.kept
        topics = {"nurt.stock": self.stock.topic, "nurt.orders": self.stock.orders_topic}
        return tuple(name for name, topic in topics.items() if wanted and topic is None)

    def ids_secret(self) -> bytes:
        """Return the secret under which ids are hashed: `secret`, or one made once in the data folder.

        Raises ConfigurationError when it has not 32 hex digits.
        """
        own = self.data / "secret"
        text = _shared_secret(own) if self.secret is None else str(fill_in("`secret`", self.secret))
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) != SECRET_BYTES:
            raise ConfigurationError("reading `secret`: it is not 32 hex digits; make one with `openssl rand -hex 16`")
        return secret


def stock_settings(settings: Settings) -> Settings:
    """Derive the settings of the flow of stock: the same input, state of its own, none of the profiles' outputs."""
    source = settings.kafka_input
    return replace(
        settings,
        secret=settings.ids_secret().hex(),
        prefix=stock_prefix(settings.prefix),
        data=settings.data / "stock",
        kafka_input=None if source is None else replace(source, group=f"{source.group}-stock"),
        control_topic=f"{settings.control_topic}-stock",
        topic=None,
        duckdb=None,
        parquet=None,
    )


def _shared_secret(path: Path) -> str:
    """Read the secret of a data folder, made by the first process that needs it; only its owner may read it."""
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES))
    until_s = time.monotonic() + SECRET_WAIT_S
    while not (text := path.read_text(encoding="ascii").strip()) and time.monotonic() < until_s:
        time.sleep(0.01)  # another process has made it and is about to write it
    return text


_SECTIONS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "": {"mapping": (str, list), "data": str, "workers": int, "secret": str, "destinations": str, "plain_links": str},
    "state": {"url": str, "prefix": str, "shards": int, "insecure": bool},
    "kafka": {"bootstrap": str, "options": dict, "insecure": bool},
    "input": {"topics": list, "group": str, "archives": list, "follow": bool, "rows_max": int, "epoch_ms": int},
    "registry": {"url": str, "options": dict, "insecure": bool},
    "stock": {"topic": str, "orders_topic": str, "events_topic": str, "duckdb": str, "conflate_ms": int, "kept": bool},
    "output": {
        **{"topic": str, "partitions": int, "control_topic": str, "linger_ms": int},
        **{"duckdb": str, "parquet": str, "group": (str, int), "mode": (str, int)},
    },
}


def load_settings(path: Path) -> Settings:
    """Read a settings file.

    Raises ConfigurationError naming the key, what was found and the nearest right name.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as failed:
        raise ConfigurationError(
            f"reading settings {path}: {failed.strerror}; name the file with --config, or start with `nurt init`"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"reading settings {path}: it is no UTF-8; write it as UTF-8") from None
    try:
        written = load_yaml(text) or {}
    except BadYaml as failed:
        raise ConfigurationError(f"reading settings {path}: it is no YAML ({failed}); correct it") from None
    if not isinstance(written, dict):
        raise ConfigurationError(f"reading settings {path}: it is no mapping of keys (expected `mapping: ...`)")
    return _settings(written, path)


def _settings(written: dict[str, Any], path: Path) -> Settings:
    top = {key: value for key, value in written.items() if key not in _SECTIONS}
    _check(top, "", path, [*_SECTIONS[""], *(name for name in _SECTIONS if name)])
    parts = {name: written.get(name) or {} for name in _SECTIONS if name}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ConfigurationError(
                f"reading settings {path}: `{name}` is no mapping of keys; write `{name}:` and keys"
            )
        _check(part, name, path, list(_SECTIONS[name]))
    mappings = [top["mapping"]] if isinstance(top.get("mapping"), str) else top.get("mapping")
    if not mappings or not all(isinstance(name, str) for name in mappings):
        raise ConfigurationError(f"reading settings {path}: `mapping` is missing; name the mapping file, or several")
    state, kafka, source = parts["state"], parts["kafka"], parts["input"]
    registry, output = parts["registry"], parts["output"]
    if bool(source.get("topics")) == bool(source.get("archives")):
        raise ConfigurationError(f"reading settings {path}: `input` needs either `topics` or `archives`; name one")
    if (source.get("topics") or output.get("topic")) and "bootstrap" not in kafka:
        raise ConfigurationError(f"reading settings {path}: topics need `kafka: {{bootstrap: host:port}}`; add it")
    if top.get("plain_links", WARN) not in (WARN, REFUSE):
        raise ConfigurationError(
            f"reading settings {path}: `plain_links` is {top['plain_links']!r} (expected {WARN}, {REFUSE}); correct it"
        )
    home = path.parent
    return Settings(
        mapping=home / mappings[0],
        mappings=tuple(home / name for name in mappings[1:]),
        data=home / top.get("data", "nurt-data"),
        redis_url=state.get("url", DEFAULT_REDIS_URL),
        prefix=state.get("prefix", "nurt"),
        shards=state.get("shards", 16),
        workers=top.get("workers", 1),
        rows_max=source.get("rows_max", ROWS_MAX),
        epoch_ms=source.get("epoch_ms", 100),
        linger_ms=output.get("linger_ms", 0),
        kafka=KafkaSettings(kafka["bootstrap"], kafka.get("options", {})) if "bootstrap" in kafka else None,
        kafka_input=KafkaInput(tuple(source["topics"]), source.get("group", "nurt")) if source.get("topics") else None,
        archives=tuple(home / folder for folder in source.get("archives", ())),
        follow=source.get("follow", False),
        registry_url=registry.get("url"),
        registry_options=registry.get("options", {}),
        topic=output.get("topic"),
        partitions=output.get("partitions", 6),
        control_topic=output.get("control_topic", "nurt.control"),
        duckdb=home / output["duckdb"] if "duckdb" in output else None,
        parquet=home / output["parquet"] if "parquet" in output else None,
        secret=top.get("secret"),
        stock=_stock(parts["stock"], home),
        destinations=home / top.get("destinations", "delivery.yaml"),
        shared=sharing(output.get("group"), output.get("mode")),
        plain_links=top.get("plain_links", WARN),
        insecure=frozenset(name for name in ("state", "kafka", "registry") if parts[name].get("insecure")),
    )


def _stock(written: dict[str, Any], home: Path) -> StockSettings:
    return StockSettings(
        written.get("topic"),
        written.get("orders_topic"),
        written.get("events_topic"),
        home / written["duckdb"] if "duckdb" in written else None,
        written.get("conflate_ms", 250),
        written.get("kept"),
    )


def _check(found: dict[str, Any], section: str, path: Path, known: list[str]) -> None:
    where = f"`{section}`" if section else "the top level"
    for key, value in found.items():
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            raise ConfigurationError(f"reading settings {path}: {where} has no key `{key}`; {hint}")
        wanted = _SECTIONS[section].get(key)
        if wanted is not None and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
            raise ConfigurationError(
                f"reading settings {path}: `{key}` in {where} is {type(value).__name__} (expected {wanted}); correct it"
            )
