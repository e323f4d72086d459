"""Keyed ids in plain Python: the same bytes as nurt's compiled loops compute."""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol

SECRET_BYTES = 16
_MASK = (1 << 64) - 1


class NamesOne(Protocol):
    """Anything that turns one text into its 16-byte id."""

    def one(self, text: str) -> bytes:
        """Hash one text."""
        ...


class Ids:
    """Turns texts into 16-byte ids: SipHash-2-4-128 of their UTF-8 bytes under a deployment's secret.

    Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", with the 128-bit finalisation of the
    reference implementation (veorq/SipHash).
    """

    __slots__ = ("_k0", "_k1")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(
                f"keying ids secret: {len(secret)} bytes (expected {SECRET_BYTES}); give the deployment's secret whole"
            )
        self._k0, self._k1 = int.from_bytes(secret[:8], "little"), int.from_bytes(secret[8:], "little")

    def one(self, text: str) -> bytes:
        """Hash one text."""
        body = text.encode()
        k0, k1 = self._k0, self._k1
        v = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
        whole = len(body) & ~7
        for at in range(0, whole, 8):
            v = _absorb(v, int.from_bytes(body[at : at + 8], "little"))
        v = _absorb(v, int.from_bytes(body[whole:], "little") | (len(body) & 0xFF) << 56)
        v = _rounds(4, v[0], v[1], v[2] ^ 0xEE, v[3])
        first = v[0] ^ v[1] ^ v[2] ^ v[3]
        v = _rounds(4, v[0], v[1] ^ 0xDD, v[2], v[3])
        return (first | (v[0] ^ v[1] ^ v[2] ^ v[3]) << 64).to_bytes(16, "little")


_State = tuple[int, int, int, int]


def _absorb(v: _State, word: int) -> _State:
    v0, v1, v2, v3 = _rounds(2, v[0], v[1], v[2], v[3] ^ word)
    return v0 ^ word, v1, v2, v3


def _rounds(count: int, v0: int, v1: int, v2: int, v3: int) -> _State:
    for _ in range(count):
        v0 = v0 + v1 & _MASK
        v2 = v2 + v3 & _MASK
        v1 = (v1 << 13 & _MASK | v1 >> 51) ^ v0
        v3 = (v3 << 16 & _MASK | v3 >> 48) ^ v2
        v0 = v0 << 32 & _MASK | v0 >> 32
        v2 = v2 + v1 & _MASK
        v0 = v0 + v3 & _MASK
        v1 = (v1 << 17 & _MASK | v1 >> 47) ^ v2
        v3 = (v3 << 21 & _MASK | v3 >> 43) ^ v0
        v2 = v2 << 32 & _MASK | v2 >> 32
    return v0, v1, v2, v3


def sku_id(ids: NamesOne, sku: str) -> bytes:
    """Name a sku."""
    return ids.one(f"sku\x1f{sku}")


def ledger_token(ids: NamesOne, channel: str, number: str) -> bytes:
    """Name the token of an order of a channel: what its reservations are kept under."""
    return ids.one(f"r\x1f{channel}\x1f{number}")


def fingerprint(secret: bytes) -> str:
    """Tell secrets apart without showing them."""
    return blake2b(secret, digest_size=8).hexdigest()
