"""Name stored values that nurt did not write so: what a bad disk, or somebody between, made of them.

Off the hot path. Readers refuse what does not end where its value ends; here it is told which key that was. A value
that was changed into another sound one cannot be told: nothing is stored beside values to know them by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nurt.columnar.types import ID_BYTES
from nurt.errors import NurtError
from nurt.model.stored_profile import ERASED, HEAD_BYTES, KeptProfile
from nurt.state.table import Table

FENCE_BYTES, IDENTIFIER_BYTES = 24, 32

_FIXED = {"fence": FENCE_BYTES, "identifier": IDENTIFIER_BYTES}


@dataclass(frozen=True, slots=True)
class Damage:
    """Damage of one stored value.

    Attributes:
        kind: of the key, as a text; of a row with its entity's code.
        id: the key's hash in hex; empty for a key without one.
        why: what is wrong.
    """

    kind: str
    id: str
    why: str


def split_key(key: bytes) -> tuple[bytes, bytes]:
    """Split a key behind its place into kind and id."""
    rest = key[key.find(b"}") + 1 :]
    kind = rest[: 2 if rest[:1] == b"r" else 1]
    return kind, rest[len(kind) :]


def find_damage(forms: Mapping[bytes, str], keys: Iterable[bytes], values: Iterable[bytes | None]) -> list[Damage]:
    """Return the damage among some values.

    Args:
        forms: of the flow that wrote them: PROFILES or STOCK.
        keys: of the values; a value of another kind is not looked at, nor is a row's of an unknown entity.
        values: None is absent.
    """
    found = []
    for key, value in zip(keys, values, strict=True):
        kind, id_ = split_key(key)
        if value is None or kind not in forms:
            continue
        why = what_is_wrong(forms[kind], id_, value)
        if why is not None:
            shown = kind.decode() if len(kind) == 1 else f"r{kind[1]}"
            found.append(Damage(shown, id_.hex(), why))
    return found


def what_is_wrong(form: str, id_: bytes, value: bytes) -> str | None:
    """Say what is wrong with a value of a form; None: nothing that can be seen."""
    if form in _FIXED:
        return None if len(value) == _FIXED[form] else f"{len(value)} bytes (expected {_FIXED[form]})"
    if form == "profile":
        return _wrong_profile(id_, value)
    return _wrong_rows(_table(form), value)


def _wrong_profile(id_: bytes, value: bytes) -> str | None:
    if len(value) < HEAD_BYTES:
        return f"{len(value)} bytes (expected {HEAD_BYTES} at least)"
    kept = KeptProfile.decode(value)
    assert kept is not None
    if kept.state > ERASED or (kept.state == ERASED) != (not kept.body):
        return "a state that is none, or a body that does not fit it"
    if kept.body and kept.body[: 1 + 2 * ID_BYTES] != b"\x40" + id_.hex().encode():
        return "the body of another profile"
    return None


def _wrong_rows(table: Table, value: bytes) -> str | None:
    try:
        raw = table.unpack_raw([value])
    except NurtError as failed:
        return str(failed).partition(": ")[2].partition(" (")[0]
    slot = np.where(table.is_text, np.cumsum(table.is_text), 0) - 1
    for index, name in enumerate(table.columns):
        if not table.is_text[index] or table.is_id[index] or name in _NO_TEXT:
            continue
        for start, stop in zip(raw.starts[slot[index]].tolist(), raw.stops[slot[index]].tolist(), strict=True):
            try:
                raw.texts[start:stop].tobytes().decode()
            except UnicodeDecodeError:
                return f"a text in the column {name} that is no UTF-8"
    return None


_NO_TEXT = frozenset({"rank", "body"})
"""Columns of any bytes, of the table `references` alone."""

_TABLES: dict[str, Table] = {}


def _table(layout: str) -> Table:
    if layout not in _TABLES:
        _TABLES[layout] = Table.stored(layout)
    return _TABLES[layout]
