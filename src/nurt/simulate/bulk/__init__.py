"""Change events by the million, whole columns at once, for benchmarks.

`envelopes` writes them; `shop` and `stock` say what changes; `rows` remembers the row that was there.
"""
