"""From rows to live customer profiles: orders, accounts, identity, golden record.

`worker` runs the stages of one worker; each `*_stage` reads state, calls a pure module for the decision, and writes.
`from_rows` turns rows into contributions, `renormalise` compares stored ones with today's rules. `orders` and
`order_partials`, `accounts`, `fold_aggregates` and `aggregate_rows` fold; `identity` decides which accounts are one
customer; `golden_record` makes the published profile.

What may come in: logic of a customer's profile. Nothing here knows stock.
"""
