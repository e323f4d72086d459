"""A profile recomputed from its accounts, and written as it is published.

`survivorship` chooses one value of many; `aggregates` adds up; `write` with `write_fields` and `write_aggregates`
makes the Avro body; `check_schema` holds the published contract and these loops together; `compare` tells what
changed.

What may come in: a field or an aggregate of the profile.
"""
