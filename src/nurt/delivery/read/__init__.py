"""From published messages to what a destination should hold.

`bodies` reads bodies of any version, `profiles` and `contracts` map them, `families` makes batches of tables,
`logs_in_order` lets profiles lead.

What may come in: another thing that nurt publishes.
"""
