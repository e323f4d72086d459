"""Change events as connectors write them: what changed, which row, and at which position of the source.

`wire` and `envelope` recognise what a message is; `change_reader` reads changes as columns, with `operations`,
`semantics`, `timestamps` and `decimals` for what columns mean. `message_keys`, `text_keys` and `change_keys` find the
changed row's key; `positions` reads the source's own order; `tombstones` tells repeats from deletes; `payloads` are
keys, values and headers of many messages; `translation_batch` is a batch on its way.

What may come in: a form that a connector or converter really writes, with its documentation named.
"""
