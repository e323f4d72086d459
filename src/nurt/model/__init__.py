"""Types that all layers share: values with small conversions only.

`entities` are the canonical kinds and their fields; `entity_frame` holds rows of them. `raw` has messages before
decoding, `refusal` those that cannot be folded; `published` and `delivery` have the output, `stock` has the same for
stock, and the plan of a deployment's stock. `keys` is the catalogue of all Redis keys, `fence` says who may write,
`state_write` is one atomic write; `stored_profile` is a profile in Redis; `log` has positions in message logs; `tick`
begins an epoch; `units` names days, moments and amounts; `value_forms` names the forms of stored values.

What may come in: a value that two packages above must agree on.
"""
