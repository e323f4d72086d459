"""Change events by the million, whole columns at once, for benchmarks.

`envelopes` writes events; `shop` and `stock` choose the changes; `rows` remembers earlier rows.
"""
