"""One atomic write of a stage, together with the new fences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nurt.columnar.types import Bools, Int64s, KeyRows
from nurt.columnar.values import Values
from nurt.model.refusal import Refused
from nurt.model.units import Millis


@dataclass(frozen=True, slots=True)
class Call:
    """Call of the ledger's script as part of a write (see `stock/ledger.py`).

    Attributes:
        now_ms: None: the server's clock.
    """

    place: bytes
    what: str
    arguments: tuple[bytes | str | int, ...]
    now_ms: Millis | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Values to put under keys of one length.

    Attributes:
        keys: by value.
        values: more values than those to put.
        rows: which values to put.
    """

    keys: KeyRows
    values: Values
    rows: Int64s


@dataclass(slots=True)
class StateWrite:
    """Atomic write of a stage.

    Attributes:
        blocks: values of the hot path, put under their keys.
        gone: keys of the hot path to delete.
        put: key -> value.
        drop: keys to delete.
        pending: place -> member -> score (run << 32 | epoch); published again at a start until behind the horizon.
        timers: place -> profile -> day, or None to remove the timer.
        watermarks: shard place -> table -> encoded watermarks.
        counts: (topic, outcome, reason) -> messages to add.
        counted: shard place -> name of a count -> highest counted offset; see `control/counted_offsets.py`.
        refused: messages for the quarantine.
        calls: of the ledger's script, after everything else.
    """

    blocks: list[Block] = field(default_factory=list)
    gone: list[KeyRows] = field(default_factory=list)
    put: dict[bytes, bytes] = field(default_factory=dict)
    drop: list[bytes] = field(default_factory=list)
    pending: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    timers: dict[bytes, dict[bytes, int | None]] = field(default_factory=dict)
    watermarks: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    counted: dict[bytes, dict[str, int]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def keep(self, keys: KeyRows, values: Values, changed: Bools | None = None, there: Bools | None = None) -> None:
        """Put every key with a value (or with `there`) and drop the others; where not `changed`, leave it alone."""
        there = values.there if there is None else there
        puts, drops = (there, ~there) if changed is None else (there & changed, ~there & changed)
        if puts.any():
            self.blocks.append(Block(keys, values, np.flatnonzero(puts)))
        if drops.any():
            self.gone.append(keys[drops])

    def store(self, keys: list[bytes], values: Sequence[bytes | None]) -> None:
        """Put every key with a value, drop the others. Not for the hot path."""
        for key, value in zip(keys, values, strict=True):
            if value is None:
                self.drop.append(key)
            else:
                self.put[key] = value

    def flatten(self) -> StateWrite:
        """Turn blocks into plain keys and values: for stores of plain values, and for tests. Returns this change."""
        for block in self.blocks:
            values: list[Any] = block.values.plain()
            keys = cut_keys(block.keys)
            self.put.update((keys[row], values[row]) for row in block.rows.tolist())
        for keys_gone in self.gone:
            self.drop += cut_keys(keys_gone)
        self.blocks, self.gone = [], []
        return self


def cut_keys(keys: KeyRows) -> list[bytes]:
    """Cut out every key, one by one."""
    whole, size = keys.tobytes(), keys.shape[1]
    return [whole[at : at + size] for at in range(0, len(whole), size)]
