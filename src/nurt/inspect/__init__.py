"""Look at what is stored and published, for people and metrics; nothing is changed but by `requeue`.

`profile_lookup` finds a customer, `profile_reader` shows a body, `counters` count, `metrics` export, `row_scan`
counts rows; `quarantine` lists refused messages and `requeue` puts them on the input again; `published_back` reads
what the outside was told, `duckdb_tables` what analysts see.

What may come in: a question that somebody asks of the state.
"""
