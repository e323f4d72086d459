"""The bounds of nurt's core path, with their units. Past a bound the product says so and keeps working."""

SWEEP_ROWS_MAX = 5_000
"""Rows that one write of a sweep deletes, a truncate's or the operator's."""

SWEEP_WRITES_MAX = 4
"""Such writes of an operator's sweep in one epoch; the others wait for the next."""

NORMALISE_ROWS_MAX = 2_000
"""Stored rows that are read by new rules of normalisation in one epoch; the others wait for the next."""

REBUILD_UNREAD_MAX = 0.001
"""Share of a kind's rows that a rebuild lets go without `--yes` when no log holds them any more."""

DEPENDENTS_A_CHUNK = 128
"""Rows that look up one row and stand under one key: what one more of them rewrites."""

FAN_OUT_ROWS = 2_000
"""Rows that look up a changed row, which are made again in one write."""

DUE_PROFILES_MAX = 2_000
"""Profiles that one tick recomputes because of the clock; the others wait for the next tick."""

CHECKPOINT_EPOCHS = 300
"""Epochs between checkpoints in the control log: sparse, for the control log is kept for ever."""

CHECKPOINTS_KEPT = 10
"""Checkpoints back that a run may rewind; further back the state is rebuilt from the beginning."""

SHARDS_MAX = 256
"""Shards of a deployment: one byte of an id chooses."""

TABLE_COLUMNS_MAX = 62
"""Columns of one kind of state value: a row's bitmap holds them in one word."""

UNIONS_MAX = 4_096
"""Unions of routes that share locations: each bounds what can be promised, for every sku."""

MATCH_KEY_DOCUMENTS_MAX = 500
"""Orders, documents and shipments that one match key joins; a match key of more joins none (`0`, `-`, `n/a`)."""

PUBLISH_SKUS_MAX = 5_000
"""Skus, and orders, that are published at a time; the others wait, and their figures are then newer."""

ADDRESSES_SHOWN_MAX = 100
"""How many addresses a profile lists: those with a row of their own first, then the most frequent ones of orders."""
