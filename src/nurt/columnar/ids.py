"""Name rows, accounts and profiles by a keyed hash, so that no key of a store holds anything personal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from numba import njit

from nurt.columnar.memory import copy_bytes
from nurt.columnar.types import ID_BYTES, INLINE_BYTES, Bytes, Int64s, Words

SECRET_BYTES = 16

_M0, _M1 = np.uint64(0x736F6D6570736575), np.uint64(0x646F72616E646F6D)
_M2, _M3 = np.uint64(0x6C7967656E657261), np.uint64(0x7465646279746573)
_EE, _DD = np.uint64(0xEE), np.uint64(0xDD)
_R13, _R16, _R17, _R21, _R32 = np.uint64(13), np.uint64(16), np.uint64(17), np.uint64(21), np.uint64(32)
_R64 = np.uint64(64)


class Ids:
    """A hash that turns texts into 16-byte ids: SipHash-2-4-128 of their UTF-8 bytes under a deployment's secret.

    Equal texts have equal ids for ever, so the secret must never change while state or published profiles live.

    Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", with the 128-bit finalisation of the
    reference implementation (veorq/SipHash).
    """

    __slots__ = ("_k0", "_k1")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(
                f"keying ids secret: {len(secret)} bytes (expected {SECRET_BYTES}); give the deployment's secret whole"
            )
        self._k0, self._k1 = (np.uint64(part) for part in np.frombuffer(secret, dtype="<u8"))

    def of(self, texts: pl.Series) -> pl.Series:
        """Hash a String series into a Binary series of 16 bytes each, null to null, in the same order."""
        n = len(texts)
        if n == 0:
            return pl.Series(texts.name, [], dtype=pl.Binary)
        array: Any = texts.cast(pl.String).rechunk().to_arrow()
        _, offsets_buffer, text_buffer = array.cast(pa.large_string()).buffers()
        offsets = np.frombuffer(offsets_buffer, dtype=np.int64, count=array.offset + n + 1)[array.offset :]
        bodies = _bytes_of(text_buffer)
        hashes = np.empty((n, 2), dtype=np.uint64)
        _hash_each(bodies, offsets, self._k0, self._k1, hashes)
        validity = None
        if texts.null_count():
            validity = pa.py_buffer(np.packbits(texts.is_not_null().to_numpy(), bitorder="little"))
        starts = np.arange(0, (n + 1) * ID_BYTES, ID_BYTES, dtype=np.int64)
        ids = pa.Array.from_buffers(pa.large_binary(), n, [validity, pa.py_buffer(starts), pa.py_buffer(hashes)])
        return pl.Series(texts.name, ids)

    def of_joined(self, body: npt.NDArray[np.uint8], cuts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Hash texts that lie one after another, each in `body[cuts[i]:cuts[i + 1]]`, into two words each."""
        hashes = np.empty((len(cuts) - 1, 2), dtype=np.uint64)
        _hash_each(_read_only(body), _read_only(cuts), self._k0, self._k1, hashes)
        return hashes

    def of_views(self, prefix: bytes, views: npt.NDArray[np.uint64], body: Any, bitmap: Any = None) -> Any:
        """Hash `prefix` and each text, given as Arrow views over a buffer; returns Arrow, null where `bitmap` says so.

        The hashes equal those of `of` for the prefixed texts.
        """
        hashes = np.empty((len(views), 2), dtype=np.uint64)
        id_views = np.empty((len(views), 2), dtype=np.uint64)
        start = np.frombuffer(prefix, dtype=np.uint8)
        longest = int((views[:, 0] & np.uint64(0xFFFFFFFF)).max(initial=0))
        scratch = np.zeros(len(prefix) + longest + 8, dtype=np.uint8)
        _hash_views(start, views, body.address, self._k0, self._k1, scratch, hashes, id_views)
        buffers = [None if bitmap is None else pa.py_buffer(bitmap), pa.py_buffer(id_views), pa.py_buffer(hashes)]
        return pa.Array.from_buffers(pa.binary_view(), len(views), buffers)

    def one(self, text: str) -> bytes:
        """Hash one text; the hash equals that of `of`."""
        body = _bytes_of(text.encode())
        hashes = np.empty((1, 2), dtype=np.uint64)
        _hash_each(body, _bounds(len(body)), self._k0, self._k1, hashes)
        return hashes.tobytes()


def _bounds(size_bytes: int) -> npt.NDArray[np.int64]:
    return _read_only(np.array([0, size_bytes], dtype=np.int64))


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give a read-only view, as Arrow's buffers are read-only: one compiled signature for all callers."""
    view = array.view()
    view.setflags(write=False)
    return view


def _bytes_of(buffer: Any) -> npt.NDArray[np.uint8]:
    return np.frombuffer(buffer if buffer is not None and len(buffer) else b"\0", dtype=np.uint8)[
        : len(buffer) if buffer is not None else 0
    ]


@njit(cache=True, nogil=True, inline="always")
def _round(v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    """Do one SipRound with the four words (uint64) of SipHash's state; returns them."""
    v0 += v1
    v2 += v3
    v1 = (v1 << _R13) | (v1 >> (_R64 - _R13))
    v3 = (v3 << _R16) | (v3 >> (_R64 - _R16))
    v1 ^= v0
    v3 ^= v2
    v0 = (v0 << _R32) | (v0 >> (_R64 - _R32))
    v2 += v1
    v0 += v3
    v1 = (v1 << _R17) | (v1 >> (_R64 - _R17))
    v3 = (v3 << _R21) | (v3 >> (_R64 - _R21))
    v1 ^= v2
    v3 ^= v0
    v2 = (v2 << _R32) | (v2 >> (_R64 - _R32))
    return v0, v1, v2, v3


@njit(cache=True, nogil=True)
def _hash_each(bodies: Bytes, offsets: Int64s, k0: np.uint64, k1: np.uint64, hashes: Words) -> None:
    """Hash texts.

    bodies   (b,)    uint8   texts; nothing behind them is read
    offsets  (n+1,)  int64   text i is bodies[offsets[i]:offsets[i+1]]
    k0, k1   scalar  uint64  the secret's 16 bytes as little-endian words
    hashes   (n, 2)  uint64  written: ids, as little-endian words
    """
    for i in range(hashes.shape[0]):
        hashes[i, 0], hashes[i, 1] = _hash_one(bodies, offsets[i], offsets[i + 1] - offsets[i], k0, k1)


@njit(cache=True, nogil=True)
def _hash_views(prefix, views, text, k0, k1, scratch, hashes, id_views):  # type: ignore[no-untyped-def]
    """Hash a prefix and each text, and write the Arrow views of the ids.

    prefix    (p,)    uint8   stands in front of every text
    views     (n, 2)  uint64  Arrow views of the texts
    text      scalar  int64   address of the buffer of texts of more than INLINE_BYTES
    k0, k1    scalar  uint64  the secret's 16 bytes as little-endian words
    scratch   (s,)    uint8   used up; room for the prefix and the longest text
    hashes    (n, 2)  uint64  written: ids, as little-endian words
    id_views  (n, 2)  uint64  written: Arrow views of the ids over `hashes` as the one buffer
    """
    here, to = views.ctypes.data, scratch.ctypes.data
    for i in range(len(prefix)):
        scratch[i] = prefix[i]
    for i in range(hashes.shape[0]):
        size = np.int64(views[i, 0] & np.uint64(0xFFFFFFFF))
        source = here + 16 * i + 4
        if size > INLINE_BYTES:
            source = text + np.int64(views[i, 1] >> _R32)
        copy_bytes(to + len(prefix), source, size)
        hashes[i, 0], hashes[i, 1] = _hash_one(scratch, 0, len(prefix) + size, k0, k1)
        id_views[i, 0] = np.uint64(ID_BYTES) | (hashes[i, 0] << _R32)
        id_views[i, 1] = np.uint64(ID_BYTES * i) << _R32


@njit(cache=True, nogil=True)
def _hash_one(bodies: Bytes, at: int, length: int, k0: np.uint64, k1: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Hash one text.

    bodies      (b,)    uint8   the text is bodies[at:at+length]; nothing behind it is read
    at, length  scalar  int64   index and bytes
    k0, k1      scalar  uint64  the secret's 16 bytes as little-endian words
    Returns the id as two little-endian words (uint64).
    """
    v0, v1, v2, v3 = k0 ^ _M0, k1 ^ _M1 ^ _EE, k0 ^ _M2, k1 ^ _M3
    end = at + (length & ~7)
    while at < end:
        word = np.uint64(0)
        for b in range(8):
            word |= np.uint64(bodies[at + b]) << np.uint64(8 * b)
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
        at += 8
    word = np.uint64(length) << np.uint64(56)
    for b in range(length & 7):
        word |= np.uint64(bodies[at + b]) << np.uint64(8 * b)
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= _EE
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    first = v0 ^ v1 ^ v2 ^ v3
    v1 ^= _DD
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return first, v0 ^ v1 ^ v2 ^ v3
