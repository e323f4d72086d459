"""What deliveries keep in Redis, and what they read from it.

`store` is a destination's memory, `codec` its bytes. `state_log` reads profiles out of the state; `stock_sink` keeps
figures and orders as a compacted topic (`kept_topic`), which `kept_log` reads.

What may come in: what a delivery must remember over its end.
"""
