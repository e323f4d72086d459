"""From raw messages to rows of canonical entities.

`translator` is the entry: it decodes messages, recognises them and sets their source epochs. `topic` translates the
messages of one topic, by `fast_path` (whole upserts, in compiled loops: `fast_columns`, `fast_keys`) or, for everything
else, by `general_path`. A property test holds the two paths equal. `key_places` notes where keys lie of events without
a position.

What may come in: a faster way for a common case. The general path defines the result.
"""
