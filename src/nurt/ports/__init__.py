"""Protocols of the outside world; adapters implement them, contract suites run over every adapter.

`log` is the input of messages, and the control log that all workers share; `store` is keyed state; `registry` keeps
schemas; `sinks` take the flows' publications; `clock` is the flows' current time. Protocols of deliveries are in
`nurt.delivery.ports`.

What may come in: a Protocol that a package above needs and an adapter implements, with a contract suite.
"""
