"""The SQL expressions of a mapping: parsed, accepted or refused, written out again, evaluated.

`compile` is the door. `syntax` is the whitelist over the parsed tree, and writes the checked tree out; `dialect` has
the words that polars reads; `evaluate` runs expressions so that one bad row harms no other.

What may come in: a function over one row only, with the test that proves it.
"""
