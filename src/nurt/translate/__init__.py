"""From raw messages to rows of canonical entities.

`translator` is the door: it decodes, recognises and places in time. `topic` translates the messages of one topic, by
`fast_path` (whole upserts, in compiled loops: `fast_columns`, `fast_keys`) or, for everything else, by
`general_path`. The two agree; a property test holds them equal.

What may come in: a faster way for a common case. The general path is the meaning.
"""
