"""Note of events without any position whether their key lies where it hashes now, or in a former place.

A topic that got more partitions holds a key's older events in another partition than its newer ones. Positions compare
them; of an event without a position (a lone tombstone, a connector whose order is unknown) only the place tells: where
the key hashes now nothing is older than elsewhere. So such an event keeps its key's hash, and the number of partitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nurt.columnar.murmur2 import murmur2
from nurt.columnar.types import Bools, Int64s
from nurt.debezium.payloads import Payloads
from nurt.debezium.translation_batch import Group
from nurt.model.entity_frame import DELETE
from nurt.model.log import KeyPlaces

UNTOLD = -1
"""Value of the hash where the topic's keys do not lie where they hash, or nobody can say."""


def note_places(groups: Sequence[Group], keys: Sequence[bytes | None], places: KeyPlaces) -> None:
    """Set the last two parts of positions of events without any: the number of partitions, the key's hash and 1."""
    if places.partitions == 1:
        return
    joined = None
    for group in groups:
        position = group.changes.position
        bare = np.flatnonzero(without_position(group))
        if not len(bare):
            continue
        hashes = np.full(len(bare), UNTOLD, dtype=np.int64)
        if places.hashed:
            joined = joined or Payloads.of(keys)
            hashes = key_hashes(joined, group.rows[bare]) + 1
            if joined.nulls is not None:
                hashes[joined.nulls[group.rows[bare]]] = UNTOLD
        position.numbers[2, bare], position.numbers[3, bare] = places.partitions, hashes
        position.known[2:, bare] = True


def without_position(group: Group) -> Bools:
    """Return which changes of rows have no position: lone tombstones, rows of connectors whose order is unknown."""
    known = group.changes.position.known
    found: Bools = ~(known[0] | known[1]) & (group.changes.op <= DELETE)
    return found


def key_hashes(keys: Payloads, rows: Int64s) -> Int64s:
    """Hash the keys of some messages as Kafka's default partitioner does."""
    joined = keys.joined
    return murmur2(np.frombuffer(joined.data, dtype=np.uint8), joined.starts[rows], joined.ends[rows])


def lies_where_it_hashed(hash_: int, partition: int, partitions: int) -> bool:
    """Return whether a key lay in a partition under some number of partitions, from `partition + 1` to this one."""
    return any(hash_ % count == partition for count in range(partition + 1, partitions + 1))


KEYS_ENOUGH = 8
"""So many keys that lie where they hash show that all do."""


def are_hashed(keys: Mapping[int, Sequence[bytes]], partitions: int) -> bool:
    """Return whether a topic's recent keys lie where Kafka's default partitioner puts them.

    The highest partitions tell most: their messages were written when there were as many partitions.

    Args:
        keys: partition -> keys of some recent messages in it.
        partitions: how many the topic has.
    """
    seen = 0
    for partition in sorted(keys, reverse=True):
        some = Payloads.of(keys[partition])
        hashes = key_hashes(some, np.arange(len(some), dtype=np.int64))
        if not all(lies_where_it_hashed(one, partition, partitions) for one in hashes.tolist()):
            return False
        seen += len(some)
        if seen >= KEYS_ENOUGH:
            break
    return seen > 0
