"""The words that all layers share: values without behaviour beyond small conversions.

`entities` are the canonical kinds and their fields; `entity_frame` holds rows of them. `raw` and `refusal` are
messages before they are read and when they cannot be; `published`, `stock_published` and `delivery` are what goes
out. `keys` is the catalogue of all Redis keys, `fence` says who may write, `state_write` is one atomic write;
`stored_profile` is a profile as Redis has it; `log` are positions in message logs; `tick` begins an epoch; `stock_plan`
is what a deployment says of its stock.

What may come in: a value that two rooms above must agree on.
"""
