"""What a client must know: given by its caller, or by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from nurt_client.errors import ConfigurationError
from nurt_client.ids import SECRET_BYTES

URL, SECRET, PREFIX, REALM = "NURT_REDIS_URL", "NURT_SECRET", "NURT_PREFIX", "NURT_REALM"
"""Environment variables that are read where the caller says nothing."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Where a deployment's stock lies. This value shows neither the URL, which may hold a password, nor the secret."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    prefix: str
    realm: str


def read_settings(url: str | None, secret: str | bytes | None, prefix: str | None, realm: str | None) -> ClientSettings:
    """Fill in from the environment what is None.

    Raises ConfigurationError naming what is missing or cannot be used, never its value.
    """
    where = _filled("url", url, URL, "write it as `state.url` in nurt.yaml")
    if where.endswith((".yaml", ".yml")):
        raise ConfigurationError(
            "reading `url`: it names a YAML file, which this client does not read (expected redis://host:6379/0 or "
            "another URL); give `state.url` of that file, and `secret`"
        )
    if not isinstance(secret, bytes):
        text = _filled("secret", secret, SECRET, "it is `secret` of nurt.yaml, or the file `secret` in its data folder")
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            "reading `secret`: it is not 32 hex digits; give the one of nurt.yaml, or `file:` and the path of the file "
            "`secret` in nurt's data folder"
        )
    return ClientSettings(
        where, secret, prefix or os.environ.get(PREFIX) or "nurt", realm or os.environ.get(REALM) or "default"
    )


def _filled(name: str, value: str | None, variable: str, step: str) -> str:
    text = os.environ.get(variable) if value is None else value
    if not text:
        raise ConfigurationError(
            f"reading `{name}`: it is not given (expected an argument, or the environment variable {variable}); {step}"
        )
    if not text.startswith("file:"):
        return text
    path = Path(text.removeprefix("file:"))
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as failed:
        raise ConfigurationError(
            f"reading `{name}`: the file {path} cannot be read ({type(failed).__name__}); create it or correct the path"
        ) from None
