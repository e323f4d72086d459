"""Logs of HTTP clients: they write every request with its address, which may name a person."""

from __future__ import annotations

import logging

CLIENTS = ("httpx2", "httpcore2", "httpx", "httpcore", "urllib3", "requests")


def silence_http_clients() -> None:
    """Let no HTTP client log, whatever the level: nurt says itself what a service answered, without addresses."""
    for name in CLIENTS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
