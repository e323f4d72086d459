"""What deliveries keep in Redis, and what deliveries read from it.

`store` is a destination's memory, `codec` its bytes. `state_log` reads profiles from the state; `stock_sink` keeps
figures and orders as a compacted topic (`topic`), and `topic_log` reads this topic.

What may come in: what a delivery must remember after its end.
"""
