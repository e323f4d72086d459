"""What the product asks of the outside world; adapters implement it, contract suites run over every adapter.

`log` is where messages come from, and the list of records that all workers share; `store` is keyed state; `registry`
keeps schemas; `sinks` take what the flows publish; `clock` is what they call now. What deliveries ask stands with them,
in `nurt.delivery.ports`.

What may come in: a Protocol that a room above needs and an adapter fulfils, with the contract that its tests hold.
"""
