"""From rows to live customer profiles: orders, accounts, identity, golden record.

`worker` runs the stages of one worker; each `*_stage` reads state, lets a decision beside it be made, and writes.
`from_rows` says what a row means here. `orders` and `order_partials`, `accounts`, `fold_aggregates` and
`aggregate_rows` fold; `identity` decides who is one customer; `golden_record` is the profile as it is published.

What may come in: what a customer's profile is made of. Stock is not known here.
"""
