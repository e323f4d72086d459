"""MurmurHash2 of byte strings, as Kafka's default partitioner counts it.

Source: Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import load_byte
from nurt.columnar.types import Bytes, Int64s

_SEED, _FACTOR = np.uint32(0x9747B28C), np.uint32(0x5BD1E995)
_POSITIVE = np.uint32(0x7FFFFFFF)


def murmur2(body: Bytes, starts: Int64s, stops: Int64s) -> Int64s:
    """Hash texts, from 0 to 2^31 - 1; text i is body[starts[i]:stops[i]]."""
    found = np.empty(len(starts), dtype=np.int64)
    _hash(body, starts, stops, found)
    return found


@numba.njit(nogil=True, cache=True)
def _hash(body: Bytes, starts: Int64s, stops: Int64s, found: Int64s) -> None:
    """Hash texts.

    body           (b,)  uint8  texts
    starts, stops  (n,)  int64  text i is body[starts[i]:stops[i]]
    found          (n,)  int64  written: the hashes
    """
    for text in range(len(starts)):
        at, end = starts[text], stops[text]
        mixed = _SEED ^ np.uint32(end - at)
        while end - at >= 4:
            word = np.uint32(0)
            for byte in range(4):
                word |= np.uint32(load_byte(body, at + byte)) << np.uint32(8 * byte)
            word = np.uint32(word * _FACTOR)
            word ^= word >> np.uint32(24)
            word = np.uint32(word * _FACTOR)
            mixed = np.uint32(mixed * _FACTOR) ^ word
            at += 4
        if end > at:
            for byte in range(end - at):
                mixed ^= np.uint32(load_byte(body, at + byte)) << np.uint32(8 * byte)
            mixed = np.uint32(mixed * _FACTOR)
        mixed ^= mixed >> np.uint32(13)
        mixed = np.uint32(mixed * _FACTOR)
        mixed ^= mixed >> np.uint32(15)
        found[text] = np.int64(mixed & _POSITIVE)
