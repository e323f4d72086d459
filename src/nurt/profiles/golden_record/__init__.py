"""A profile, recomputed from its accounts and written in its published form.

`survivorship` chooses one value of many; `aggregates` adds up; `write` with `write_fields` and `write_aggregates`
makes the Avro body; `check_schema` checks the published contract against these loops; `compare` finds what
changed.

What may come in: a field or an aggregate of the profile.
"""
