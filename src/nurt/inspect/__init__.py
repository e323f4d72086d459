"""Look at what is stored and published, for people and metrics; nothing is changed but what is taken out of quarantine.

`profile_lookup` finds a customer, `counters` count, `metrics` export, `row_scan` counts rows; `quarantine` lists
refused messages.

What may come in: a question that somebody asks of the state.
"""
