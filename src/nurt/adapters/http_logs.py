"""Logs of HTTP clients: these write the address of every request, and an address may name a person."""

from __future__ import annotations

import logging

CLIENTS = ("httpx2", "httpcore2", "httpx", "httpcore", "urllib3", "requests")


def silence_http_clients() -> None:
    """Let no HTTP client log, at any level: nurt itself logs a service's answer, without addresses."""
    for name in CLIENTS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
