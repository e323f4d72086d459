"""The SQL expressions of a mapping: parsed, let through or refused, written out again, evaluated.

`compile` is the door. `syntax` is the whitelist over the parsed tree; `dialect` writes what was let through, as
polars reads it; `evaluate` runs expressions so that one bad row harms no other.

What may come in: a function that looks at one row only, with the test that it does.
"""
