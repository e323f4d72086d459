"""Carry deliveries out: rounds of calls, within what the receiver allows.

`deliverer` settles a batch (`batch`), `sender` makes the calls, `key_locks` keep two calls off one row,
`table_deliverer` serves analytics stores; `clock` and `context` are what they work with.

What may come in: how calls are made, whoever receives them.
"""
