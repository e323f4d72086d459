"""Redis or Valkey: keyed state, fenced.

`client` opens connections, `outage` waits, `errors` says failures in our words. `store` implements the port `Store`
over `pipeline`, `commands` and `replies` (a parser of ours, for whole batches); `layouts` records what the state was
written under; `embedded` brings a server along. `delivery` holds what deliveries keep.

What may come in: whatever imports redis.
"""
