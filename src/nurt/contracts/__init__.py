"""The Avro contracts of nurt's published topics, and their messages as columns.

`schemas` loads a contract by its name and version; `avro_columns` reads many bodies at once; `profile_reader` reads one
profile for people; `profile_tables` makes flat tables of profiles; `stock_messages` writes figures, orders and events.

What may come in: a new version of a contract. A published version never changes.
"""
