"""What one stage writes: all of it or nothing, with the new heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nurt.model.refusal import Refused


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the ledger's script as part of a write (see `core/stock/ledger.py`).

    Attributes:
        now_ms: None: the server's clock.
    """

    place: bytes
    what: str
    arguments: tuple[bytes | str | int, ...]
    now_ms: int | None = None


@dataclass(slots=True)
class Change:
    """One atomic write.

    Attributes:
        put: key -> value.
        drop: keys that go.
        owed: place -> member -> score (run << 32 | epoch); to be said again at start until it is behind the horizon.
        due: place -> profile -> day, or None to forget it.
        floors: shard place -> table -> encoded floor.
        counts: (topic, outcome, reason) -> messages to add.
        counted: shard place -> what is counted of -> highest counted offset; see `core/counted.py`.
        refused: messages for the quarantine.
        calls: of the ledger's script, after everything else.
    """

    put: dict[bytes, bytes] = field(default_factory=dict)
    drop: list[bytes] = field(default_factory=list)
    owed: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    due: dict[bytes, dict[bytes, int | None]] = field(default_factory=dict)
    floors: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    counted: dict[bytes, dict[str, int]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def store(
        self, keys: list[bytes], values: Sequence[bytes | None], before: Sequence[bytes | None] | None = None
    ) -> None:
        """Put every key whose value is there, drop the others; what is the very same as before is left alone."""
        put = dict(zip(keys, values, strict=True))
        if before is not None:
            put = {key: value for (key, value), was in zip(put.items(), before, strict=True) if value is not was}
        gone = [key for key, value in put.items() if value is None]
        for key in gone:
            del put[key]
        self.drop += gone
        self.put.update(put)  # type: ignore[arg-type]  # no value is None any more
