"""Published profiles: Avro bodies with key and revision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedBatch:
    """Profiles to publish, in order; lists have equal length, and an id may occur again with a later revision.

    `values[i]` is the Avro body of `schemas/nurt.profiles-value.v2.avsc` without wire header; None is a tombstone.
    """

    ids: list[bytes]  # 16 bytes each
    revisions: list[int]
    values: list[bytes | None]

    def __len__(self) -> int:
        return len(self.ids)


PublishedHeads = dict[bytes, tuple[int, str] | None]
"""Last published heads: profile id -> (revision, realm), or None: the profile was erased."""
