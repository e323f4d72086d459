"""Analytics stores: they take whole tables and keep the newest revision of every row.

`duckdb`, `duckdb_stock` (with `duckdb_tables`) and `parquet` are outputs of the flows, and `duckdb_reading` reads such
files; `postgres`, `clickhouse`, `delta` and `iceberg` are destinations of deliveries; `shared_sink` lets several
threads use one sink in turn.

What may come in: one module a store, and a line in the contract suite.
"""
