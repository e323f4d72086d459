"""Redis keys of stock that a shop reads, or whose ledger it calls; nurt's `model/keys.py` lists all keys."""

from __future__ import annotations

PLAN, PROMISE, HELD = b"f", b"q", b"m"
"""Kinds of keys in a realm's place: the plan; by sku id: what is promised, what reservations hold."""


def stock_prefix(prefix: str) -> str:
    """Name the prefix of the flow of stock in a deployment."""
    return f"{prefix}-stock"


def realm_place(prefix: bytes, realm: str) -> bytes:
    """Name the place of a realm."""
    return b"%s{r:%s}" % (prefix, realm.encode())


def config_key(prefix: bytes) -> bytes:
    """Name the key that says what a state's keys depend on."""
    return prefix + b":config"


def config_text(shards: int, secret_fingerprint: str) -> str:
    """Say what a state's keys depend on."""
    return f"{shards} shards, secret {secret_fingerprint}"


def secret_of_config(text: str) -> str:
    """Read the secret's fingerprint back out of `config_text`; a state of later layouts says so behind it."""
    return text.partition(" secret ")[2].partition(";")[0]
