"""Every Redis key, catalogued before it is used.

A key is `<prefix>{<place>}<kind><id>`. The place is the hash tag: a shard (two hex digits) or a realm (`r:` and its
name); everything that one write changes together lies in one place. Ids are 16 raw bytes of a keyed hash, so a key has
nothing personal. Nothing expires: tombstones are kept (see `limits.py`).

| kind | in the place of | holds | owner (writer) |
|---|---|---|---|
| `h` | itself | fence: run, epoch, sequence (24 bytes) | every stage of the place's worker |
| `r` and the entity's code | the row | table of the row's kind: newest event, former parents | rows |
| `r` and 128 + number | the row | row of the table with this number (`<prefix>:joins`): newest event | rows |
| `j` | the row | ASSEMBLY: records of rows beside it, rows that it has looked up, what it lacks | assemble |
| `q` and the use, id | shards of those who look up | digest heard last, full chunks, ids of the open chunk | assemble |
| `q` and the use, id, number | shards of those who look up | ids of those who look the row up: a chunk | assemble |
| `K` | the token | REFERENCES: orders that bear a value, rows that name it, former orders | references |
| `o` | the order | ORDER_RECORDS: own row, its children, former accounts | orders |
| `a` | the account | ACCOUNT_RECORDS: head record, customer row or guest order, addresses, consents | accounts |
| `s` | the account | AGGREGATES: what all children add up to | accounts |
| `c` | the account | AGGREGATES: one child's partial, under account xor child | accounts |
| `m` | the realm | MEMBERSHIPS: an account's component, profile and links; profiles that wait for it | identity |
| `d` | the realm | component and profile (32 bytes) of an identifier | identity |
| `g` | the realm | COMPONENTS: the accounts of a component | identity |
| `p` | the realm | MEMBERS: a profile's accounts, or its survivor | identity |
| `f` | the profile | revision, due day, state (17 bytes), then the Avro body as published | profiles |
| `w` | every place | zset: pending profiles, chunks of `q`, by run << 32 or epoch | identity, profiles, assemble |
| `u` | the shard | zset: profiles by the day on which the clock changes them | profiles |
| `t` | the shard | hash: table -> its truncate watermarks | rows |
| `v` | the shard | names of the notes below, each behind its length | rows |
| `v` and `h`, code, old id, new id | the old row | what a row knew whose key changed, until the new row has it | rows |
| `v` and `o`, code, new id | the new row | JSON: old id, bits of columns that are owed, position, topic | rows |
| `n` | the shard | hash: topic and partition -> and log -> highest counted offset; finished sweeps, rules | rows |
| `i` | the shard | rows that are said again by new rules, until their epoch is done | rows |
| `x` | the shard | profiles to publish again after a rewind | launch, profiles |
| `y` | every place | the latest day (text) for which its worker computed profiles | the place's worker |

The flow of stock has a prefix of its own (`<prefix>-stock`) with kinds `h r t v w y` as above, `j q` of rows that are
made of several in the places of shards, and these, all in the place of a realm, so that one checkout's values lie
together:

| kind | id | holds | owner (writer) |
|---|---|---|---|
| `g` | the sales document | SALES_DOCUMENTS: an order, document or shipment, and its lines | stock |
| `j` | the match key | documents that bear the key (`B` and id), then those that name it (`N` and id) | stock |
| `c` | the sales document | DOCUMENT_HOLDS: its holds of skus, and when the clock changes them | stock |
| `k` | the sku | POSITIONS: stock levels, open supplies, parts of a kit | stock |
| `d` | the sku | HOLDS: sums of documents' holds, bookings that on hand may not show, kits that use the sku | stock |
| `q` | the sku | text `plan;left by union,...;parts of the kit as JSON`: for the ledger to net | stock |
| `b` | the sku | PUBLISHED: the last published figures, and their side of the thresholds | publisher |
| `n` | the order | `1`: the order was published as stuck | publisher |
| `v` and the sku's text | none | read model: JSON `{"channel/market": pieces}` | publisher |
| `u` | none | zset: sales documents and skus by the ms of their timer; 0: a reservation changed them | stock, ledger |
| `e` | none | JSON: newest stock level by location that may become stale, and the stale locations | stock |
| `f` | none | the plan, compiled, as JSON | stock |
| `l` | the order | hash: reserved quantities, quantities of its own rows, route, until | ledger script |
| `m` | the sku | text: quantities that reservations hold, by route | ledger script |
| `x` | none | zset: reserved orders by the moment at which they expire | ledger script |
| `o` | none | when the worker was last seen, while reservations may be made | ledger script |
| `z` and the contract | none | hash: key of a figure or order -> revision, contract's version, body | sink |
| `i` and the contract | none | zset: these keys in the order of their publication, by run << 32 or number | sink |
| `i` | none | which contracts are kept whole, and their versions | publisher |

Without a place: `<prefix>:counts` (hash: message counts), `<prefix>:waiting` (hash: rows whose parent is not there, by
kind), `<prefix>:quarantine` (zset of ids by time), `<prefix>:q<id>` (one refused message), `<prefix>:config`
(fingerprint of the settings that state depends on), `<prefix>:layouts` (JSON: the columns of all stored tables, of the
latest version that wrote here), `<prefix>:joins` (JSON: numbers of tables that rows are joined with, of their columns
and their uses; see `mapping/joins/numbers.py`), `<prefix>:logs` (JSON: the control log's id, and of each topic the
number, generation and ids of its log; see `control/logs.py`), `<prefix>:normalisation` (JSON: the rules by which
identifiers are normalised, their number, the latest run with them).

Of deliveries, under `<prefix>:d:<destination>:`: `run` (its fence), `r<id>` (last known state of a
profile at the receiver), `parked` (zset: profiles by due time) and `p<hex>` (one of them), `refused` (zset: refusals by
time) and `q<hex>:<object>` (one, with the receiver's words), `k<hash>`
(the profile that last wrote a shared row), `a<account>` (set: profiles that claim an account), `o<account>` (set: its
orders), `b<hex>` (the message of an order, or of a refusal), `counts`, `status`, `generation`, `live`,
`backfill` (offsets noted before they are committed), `offsets` (of a delivery that reads the state itself), `kept`
(of a delivery that reads stored figures and orders), `w<worker>` (the number of its last write). Under
`<prefix>:d:<bucket>:` a number for each rate limit (the moment until which it is used up), and `until` (the receiver
asked to get no calls). Only the rates expire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from nurt.columnar.types import Bytes, KeyRows, Words
from nurt.limits import SHARDS_MAX
from nurt_client.keys import realm_place


class Keys:
    """A maker of keys for one deployment.

    Args:
        prefix: distinguishes deployments on one server.
        shards: how many shards; fixed when the state is first written.
    """

    def __init__(self, prefix: str, shards: int) -> None:
        assert 1 <= shards <= SHARDS_MAX, "a shard is chosen by one byte"
        self.prefix = prefix.encode()
        self.shards = shards
        self._tags = [self.shard_place(byte % shards) for byte in range(256)]
        self._tag_bytes = np.frombuffer(b"".join(self._tags), dtype=np.uint8).reshape(256, -1)

    def shard_place(self, shard: int) -> bytes:
        """Name the place of a shard."""
        return b"%s{%02x}" % (self.prefix, shard)

    def realm_place(self, realm: str) -> bytes:
        """Name the place of a realm."""
        return realm_place(self.prefix, realm)

    def is_every_shard(self, places: Iterable[bytes]) -> bool:
        """Return whether these places include all shards: then there is only one worker."""
        return {*map(self.shard_place, range(self.shards))} <= {*places}

    def day_of(self, place: bytes) -> bytes:
        """Name the key of a place's day."""
        return place + b"y"

    def place_of(self, one: bytes) -> bytes:
        """Name the place of an id's shard."""
        return self._tags[one[0]]

    def of(self, kind: bytes, ids: Iterable[bytes]) -> list[bytes]:
        """Name the keys of ids in their shards."""
        tags = self._tags
        return [tags[one[0]] + kind + one for one in ids]

    def rows_of(self, kind: bytes, ids: Words, beside: Words | None = None) -> KeyRows:
        """Name the keys of ids, shape (n, 2), in their shards, or in the shards of other ids (`beside`)."""
        first = _plain(ids if beside is None else beside)[:, 0]
        return _rows(self._tag_bytes[first], kind, _plain(ids))

    def rows_in(self, kind: bytes, realm: str, ids: Words) -> KeyRows:
        """Name the keys of ids, shape (n, 2), in a realm."""
        return _rows(np.frombuffer(self.realm_place(realm), dtype=np.uint8), kind, _plain(ids))

    def in_realm(self, kind: bytes, realm: str, ids: Iterable[bytes]) -> list[bytes]:
        """Name the keys of ids in a realm."""
        tag = self.realm_place(realm) + kind
        return [tag + one for one in ids]

    def named(self, name: str) -> bytes:
        """Name a key that has no place."""
        return self.prefix + b":" + name.encode()


def realm_worker(realm: str, workers: int) -> int:
    """Return the worker that owns a realm; the same in every process."""
    return int.from_bytes(blake2b(realm.encode(), digest_size=4).digest()) % workers


def words_of(ids: Sequence[bytes]) -> Words:
    """Join ids into an array of shape (n, 2)."""
    return np.frombuffer(b"".join(ids), dtype=np.uint64).reshape(-1, 2)


def _plain(ids: Words) -> Bytes:
    return np.ascontiguousarray(ids).view(np.uint8)


def _rows(tags: Bytes, kind: bytes, ids: Bytes) -> KeyRows:
    begin = tags.shape[-1]
    keys = np.empty((len(ids), begin + len(kind) + ids.shape[1]), dtype=np.uint8)
    keys[:, :begin] = tags
    keys[:, begin : begin + len(kind)] = np.frombuffer(kind, dtype=np.uint8)
    keys[:, begin + len(kind) :] = ids
    return keys
