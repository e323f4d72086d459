"""Redis or Valkey: keyed state, fenced.

`client` opens connections, `outage` waits, `errors` turns failures into nurt's errors. `store` implements the port
`Store` over `pipeline`, `commands` and `replies` (nurt's own parser, for whole batches); `layouts` records the layouts
that the state was written under, `normalisation` the rules of its identifiers; `embedded` runs a local server.
`delivery` holds the state of deliveries.

What may come in: all code that imports redis.
"""
