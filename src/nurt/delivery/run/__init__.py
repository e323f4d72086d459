"""Carry deliveries out: rounds of calls, within the receiver's limits.

`deliverer` settles a batch (`batch`), `sender` makes the calls, `key_locks` keep two calls off one row,
`table_deliverer` serves analytics stores; `clock` and `context` are what all of these work with.

What may come in: how calls are made, for any receiver.
"""
