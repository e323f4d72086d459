"""Arrays of bytes and numbers, without any domain: what compiled loops work on.

`types` names the arrays. `memory` loads, stores and compares bytes at any alignment; `varint` and `digits` are the
only writers and readers of numbers. `texts` and `values` are columns of texts and of stored values, `series` leads
from polars to plain buffers and back; `text_codes` and `distinct` number what repeats; `sorting` orders; `ids` names
things by a keyed hash, `murmur2` hashes without a key.

What may come in: a loop or a column that would serve any program. Nothing here knows an entity, Avro, Kafka or Redis.
"""
