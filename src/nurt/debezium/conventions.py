"""Know what a system's connector is told to do: the zone of its clocks, what stands for values that did not come."""

from __future__ import annotations

import hashlib
import json
import uuid
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.columnar.types import Bools, Bytes, Int64s

UNAVAILABLE = "__debezium_unavailable_value"
"""Placeholder for a column that did not change, so the source did not send it.

Source: Debezium `unavailable.value.placeholder`, its default; PostgreSQL's TOAST, Oracle's LOBs.
"""

_HEX = "hex:"


class Placeholders:
    """Set of all texts and bytes that stand for values that the source did not send.

    The default placeholder is always among them: a topic goes on holding what was written before a connector got a
    placeholder of its own.

    Attributes:
        texts, blobs: the placeholders, in every form in which text columns and bytes columns hold them.
        body, cuts: the texts as UTF-8, text i is body[cuts[i]:cuts[i+1]].
        sizes: by length in bytes, whether any text is so long; the last one, for all longer ones, is False.
    """

    def __init__(self, settings: Iterable[str] = ()) -> None:
        """Take `unavailable.value.placeholder` of connectors, as their configuration has it."""
        blobs = list(dict.fromkeys(_placeholder(text) for text in (UNAVAILABLE, *settings)))
        texts = list(dict.fromkeys(form for blob in blobs for form in _forms(blob)))
        self.texts = pl.Series(texts, dtype=pl.String)
        self.blobs = pl.Series(blobs, dtype=pl.Binary)
        encoded = [text.encode() for text in texts]
        self.body: Bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self.cuts: Int64s = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self.sizes = _sizes(encoded)
        self._blob_sizes = _sizes(blobs)

    def marked(self, column: pl.Series) -> pl.Series | None:
        """Say where a String or Binary column is a placeholder, null counted as no; None: nowhere."""
        is_text = column.dtype == pl.String
        sizes = _lengths(column)
        asked = self.sizes if is_text else self._blob_sizes
        some = np.flatnonzero(asked[np.minimum(sizes, len(asked) - 1)])  # hot path: few values are so long
        if len(some):
            known = (self.texts if is_text else self.blobs).implode()
            some = some[column.gather(some).is_in(known).fill_null(False).to_numpy()]
        if not len(some):
            return None
        found = np.zeros(len(column), dtype=np.bool_)
        found[some] = True
        return pl.Series(found)


@dataclass(frozen=True, slots=True, eq=False)
class Conventions:
    """Conventions of one source system.

    Attributes:
        zone: IANA name of the zone in which its wall clocks stand.
        placeholders: what its connector writes for values that the source did not send.
    """

    zone: str = "UTC"
    placeholders: Placeholders = field(default_factory=Placeholders)


def _lengths(column: pl.Series) -> npt.NDArray[np.uint32]:
    """Return the lengths of texts or bytes, any number where null, without an operation of polars.

    Source: Arrow columnar format, variable-size binary view layout: the first 4 bytes of 16 are the length.
    """
    array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    views = np.frombuffer(array.buffers()[1], dtype=np.uint32).reshape(-1, 4)
    return views[array.offset : array.offset + len(array), 0]


def _sizes(texts: Sequence[bytes]) -> Bools:
    """Say of each length in bytes whether any text is so long; of the last, which no text has, too."""
    found = np.zeros(max(map(len, texts)) + 2, dtype=np.bool_)
    found[[len(text) for text in texts]] = True
    return found


def _placeholder(setting: str) -> bytes:
    return bytes.fromhex(setting.removeprefix(_HEX)) if setting.startswith(_HEX) else setting.encode()


def _forms(placeholder: bytes) -> Iterator[str]:
    """Write a placeholder as columns hold it: as text, and as JSON of an hstore or of an array.

    Arrays of integers hold a number for each byte, those of UUIDs one UUID made of all bytes.

    Source: Debezium UnchangedToastedPlaceholder; `hstore.handling.mode=json`.
    """
    text = placeholder.decode(errors="replace")
    yield text
    quoted = json.dumps(text, ensure_ascii=False)
    made = uuid.UUID(bytes=hashlib.md5(placeholder, usedforsecurity=False).digest(), version=3)
    numbers = [str(byte - 256 if byte > 127 else byte) for byte in placeholder]
    for blank in ("", " "):
        yield f"{{{quoted}:{blank}{quoted}}}"
        yield f"[{f',{blank}'.join(numbers)}]"
    yield f"[{quoted}]"
    yield f'["{made}"]'
    yield f'["{b64encode(placeholder).decode()}"]'
