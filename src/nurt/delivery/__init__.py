"""What deliveries decide, without any I/O: what a receiver should hold, and what to do next.

`mapping` reads the mapping of a destination. `diff` compares rows with `last_known`, `order_links` joins orders to
profiles, `gone` is about rows that others took away at the receiver, `calls` cuts writes into calls; `retry`, `breaker`
and `rate_limit` decide what follows a call result; `journal` is what is read and written down; `table_family` is the
same for whole tables; `ports` is what a delivery asks of the outside. `read` makes desired states of
messages, `run` carries them out.

What may come in: a decision. What one receiver's protocol needs belongs to its adapter.
"""
