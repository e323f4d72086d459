"""What deliveries decide, without any I/O: what a receiver should hold, and what to do next.

`mapping` reads what a destination is told. `diff` compares it with `last_known`, `order_links` joins orders to
profiles, `calls` cuts writes into calls; `retry`, `breaker` and `rate_limit` decide what follows an answer; `journal`
is what is read and noted; `table_family` is the same for whole tables; `ports` is what it asks of the outside. `read`
makes desired states of messages, `run` carries them out.

What may come in: a decision. What one receiver's protocol needs belongs to its adapter.
"""
