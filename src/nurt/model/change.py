"""What one stage writes: all of it or nothing, with the new heads."""

from __future__ import annotations

from dataclasses import dataclass, field

from nurt.model.refusal import Refused


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
    """

    put: dict[bytes, bytes] = field(default_factory=dict)
    drop: list[bytes] = field(default_factory=list)
    owed: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    due: dict[bytes, dict[bytes, int | None]] = field(default_factory=dict)
    floors: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    counted: dict[bytes, dict[str, int]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def store(self, keys: list[bytes], values: list[bytes | None]) -> None:
        """Put every key whose value is there, drop the others."""
        for key, value in zip(keys, values, strict=True):
            if value is None:
                self.drop.append(key)
            else:
                self.put[key] = value
