"""What of a deployment lies open: links that are not encrypted, and folders that other users of the machine may read.

Existing settings go on working: a warning at each start and in `nurt check` names what is open. Settings that
`nurt init` writes say `plain_links: refuse`; then a link must be encrypted, stay on this machine, or have
`insecure: true` beside it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from nurt.adapters.file_modes import PRIVATE
from nurt.adapters.redis.embedded import EMBEDDED
from nurt.adapters.secrets import fill_in
from nurt.errors import ConfigurationError
from nurt.settings import REFUSE, Settings

if TYPE_CHECKING:  # a run without destinations needs none of it
    from nurt.delivery.mapping import DestinationMapping

ENCRYPTED_POSTGRES = frozenset({"require", "verify-ca", "verify-full"})
PLAIN_KAFKA = frozenset({"plaintext", "sasl_plaintext"})
ADDRESS = re.compile(r"(url|uri|endpoint|path)$", re.IGNORECASE)
"""Options of destinations that hold addresses, by the end of their name."""

_SENTINELS = re.compile(r"redis\+sentinel://(?:[^/?#]*@)?([^/?#@]+)")
_SSLMODE = re.compile(r"\bsslmode\s*=\s*'?([a-z-]+)")
_HOST = re.compile(r"\bhost(?:addr)?\s*=\s*'?([^\s']+)")
_logger = logging.getLogger("nurt")


@dataclass(frozen=True, slots=True)
class PlainLink:
    """Link over which rows or credentials go unencrypted to another machine.

    Attributes:
        setting: the key that names it.
        found, remedy: what the link is, without secrets, and what would be encrypted.
        section: the key beside which `insecure: true` may stand.
    """

    setting: str
    found: str
    remedy: str
    section: str

    def __str__(self) -> str:
        return (
            f"{self.setting}: {self.found} is not encrypted, so whoever is between can read and change it; "
            f"{self.remedy}, or write `insecure: true` under `{self.section}`"
        )


def plain_links(settings: Settings) -> list[PlainLink]:
    """List the plain links of the settings file that nobody has allowed."""
    found = [*_redis(settings), *_kafka(settings), *_registry(settings)]
    return [link for link in found if link.section not in settings.insecure]


def plain_links_of(mapping: DestinationMapping) -> list[PlainLink]:
    """List the plain links of one destination, if nobody has allowed them."""
    if mapping.options.get("insecure") is True:
        return []
    section = f"destinations.{mapping.name}"
    return [
        PlainLink(f"{section}.{name}", found, remedy, section)
        for name, value in _texts(mapping.options)
        if ADDRESS.search(name)
        for found, remedy in _plain(name, value, mapping.kind)
    ]


def refuse_plain(settings: Settings, links: list[PlainLink]) -> None:
    """Refuse plain links where the settings say so. Raises ConfigurationError naming the first."""
    if settings.plain_links == REFUSE and links:
        raise ConfigurationError(f"connecting by {links[0]}")


def warn_of_exposure(settings: Settings, *mappings: DestinationMapping) -> None:
    """Log a warning for every plain link, and every folder that other users may read."""
    links = plain_links(settings) + [link for mapping in mappings for link in plain_links_of(mapping)]
    for text in [*map(str, links), *open_folders(settings)]:
        _logger.warning("%s", text)


def open_folders(settings: Settings) -> list[str]:
    """List the folders and files of nurt's that users of this machine may read though nobody shares them."""
    places = [settings.data, *([] if settings.shared != PRIVATE else _analysts(settings))]
    return [
        f"{path} can be read by other users of this machine (mode {path.stat().st_mode & 0o777:o}), and holds rows of "
        f"customers; `chmod -R go= {path}`"
        for path in places
        if path.exists() and path.stat().st_mode & 0o077
    ]


def _analysts(settings: Settings) -> list[Path]:
    return [path for path in (settings.duckdb, settings.parquet, settings.stock.duckdb) if path is not None]


def _redis(settings: Settings) -> Iterator[PlainLink]:
    url = _filled("state.url", settings.redis_url)
    if settings.redis_url == EMBEDDED or url is None:
        return
    by_sentinels = _SENTINELS.match(url)
    if by_sentinels is not None:
        hosts = [one.rpartition(":")[0] or one for one in by_sentinels[1].split(",")]
        if not all(map(is_here, hosts)):
            yield PlainLink("state.url", "redis+sentinel://", "write `rediss+sentinel://`", "state")
    elif url.startswith("redis://") and not is_here(_host(url)):
        yield PlainLink("state.url", "redis://", "write `rediss://`", "state")


def _kafka(settings: Settings) -> Iterator[PlainLink]:
    if settings.kafka is None:
        return
    written = settings.kafka.options.get("security.protocol", "plaintext")
    protocol = str(_filled("security.protocol", str(written))).lower()
    brokers = _filled("kafka.bootstrap", settings.kafka.bootstrap) or ""
    hosts = [one.rpartition("://")[2].strip().rpartition(":")[0] or one for one in brokers.split(",")]
    if protocol in PLAIN_KAFKA and not all(map(is_here, hosts)):
        remedy = "write `options: {security.protocol: SASL_SSL}` or `SSL` under `kafka`"
        yield PlainLink("kafka.bootstrap", f"Kafka by {protocol.upper()}", remedy, "kafka")


def _registry(settings: Settings) -> Iterator[PlainLink]:
    for url in (_filled("registry.url", settings.registry_url or "") or "").split(","):
        if url.strip().startswith("http://") and not is_here(_host(url.strip())):
            yield PlainLink("registry.url", "http://", "write `https://`", "registry")
            return


def _plain(name: str, value: str, kind: str) -> Iterator[tuple[str, str]]:
    """Yield what is plain in one option of a destination."""
    url = _filled(name, value)
    if url is None:
        return
    if url.startswith("http://") and not is_here(_host(url)):
        yield "http://", "write `https://`"
    elif kind == "postgres" and name == "url":
        mode, host = _postgres(url)
        if mode not in ENCRYPTED_POSTGRES and not is_here(host):
            found = f"sslmode={mode}" if mode else "PostgreSQL without sslmode"
            yield found, "write `sslmode=verify-full` into the URL"


def _postgres(url: str) -> tuple[str, str]:
    """Read sslmode and host of a URL, or of a text of keys and values, as libpq does."""
    default = os.environ.get("PGSSLMODE", "")
    if url.startswith(("postgresql://", "postgres://")):
        asked = parse_qs(urlsplit(url).query)
        return asked.get("sslmode", [default])[-1], asked.get("host", [_host(url)])[-1]
    mode, host = _SSLMODE.search(url), _HOST.search(url)
    return mode[1] if mode else default, host[1] if host else ""


def _texts(options: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of nested options, with its name."""
    for key, value in options.items():
        name = f"{of}.{key}" if of else str(key)
        if isinstance(value, Mapping):
            yield from _texts(value, name)
        elif isinstance(value, str):
            yield name, value


def is_here(host: str) -> bool:
    """Say whether a host is this machine: loopback, its name, or a unix socket's path; no host is a socket too."""
    host = host.strip().strip("[]").rstrip(".").lower()
    if host in ("", "localhost") or host.startswith(("/", "%2f")) or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "?"


def _filled(name: str, value: str) -> str | None:
    """Fill in secrets; None where one is missing, which is named when the link is opened."""
    try:
        return str(fill_in(f"`{name}`", value))
    except ConfigurationError:
        return None
