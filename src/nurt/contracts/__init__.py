"""The Avro contracts of what nurt publishes, and messages of them as columns.

`schemas` loads a contract by its name and version; `avro_columns` reads bodies at once; `profile_reader` reads one
profile for people; `profile_tables` makes flat tables of profiles; `stock_messages` writes figures, orders and events.

What may come in: a new version of a contract. A published version never changes.
"""
