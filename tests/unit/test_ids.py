from __future__ import annotations

import struct

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.columnar.ids import Ids

SECRET = bytes(range(16))
MASK = (1 << 64) - 1

# From the reference implementation's vectors for 16 bytes of output: the input is 00 01 02 .. of that length.
PUBLISHED = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    7: "a1f1ebbed8dbc153c0b84aa61ff08239",
    8: "3b62a9ba6258f5610f83e264f31497b4",
    9: "264499060ad9baabc47f8b02bb6d71ed",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
    16: "6ee2a4ca67b054bbfd3315bf85230577",
    63: "5150d1772f50834a503e069a973fbd7c",
}


def siphash128(key: bytes, message: bytes) -> bytes:
    """Follow the paper word for word, in Python's own integers."""

    def rotl(x: int, b: int) -> int:
        return (x << b | x >> (64 - b)) & MASK

    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = message + b"\0" * (7 - len(message) % 8) + bytes([len(message) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", low, v[0] ^ v[1] ^ v[2] ^ v[3])


@pytest.mark.parametrize("length", PUBLISHED)
def test_an_id_is_the_published_siphash_of_its_text(length: int) -> None:
    assert Ids(SECRET).one(bytes(range(length)).decode()).hex() == PUBLISHED[length]


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16), st.lists(st.none() | st.text(), max_size=20))
def test_a_column_of_ids_equals_the_paper_and_one_by_one(secret: bytes, texts: list[str | None]) -> None:
    ids = Ids(secret)
    column = ids.of(pl.Series("key", texts, dtype=pl.String))
    assert column.dtype == pl.Binary
    assert column.name == "key"
    assert column.to_list() == [None if text is None else siphash128(secret, text.encode()) for text in texts]
    assert all(ids.one(text) == siphash128(secret, text.encode()) for text in texts if text is not None)


def test_slices_and_chunks_of_a_column_hash_as_the_whole() -> None:
    ids = Ids(SECRET)
    texts = pl.Series("t", [f"shop\x1forder\x1f{i}" if i % 7 else None for i in range(1000)])
    whole = ids.of(texts)
    assert ids.of(texts.slice(333, 100)).equals(whole.slice(333, 100))
    assert ids.of(texts.slice(0, 10).append(texts.slice(10))).equals(whole)


def test_another_secret_gives_other_ids() -> None:
    assert Ids(SECRET).one("a") != Ids(bytes(16)).one("a")


def test_a_secret_of_the_wrong_size_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="6 bytes") as refused:
        Ids(b"secret")
    assert "secret" not in str(refused.value).replace("ids secret", "").replace("secret whole", "")
