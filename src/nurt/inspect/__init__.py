"""Read what is stored and published, for people and metrics; only messages taken out of quarantine are changed.

`profile_lookup` finds a customer, `counters` count, `metrics` export, `row_scan` counts rows; `quarantine` lists
refused messages, `waiting` rows whose parents never came.

What may come in: a question of users about the state.
"""
