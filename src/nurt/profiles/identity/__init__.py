"""Which accounts are one customer.

`resolve` decides merges and splits of one component; `memberships` reads what is stored of the graph; `singletons`
settles accounts that share nothing, whole batches at a time; `links`, `cut_links` and `write_links` are the texts of
links.

What may come in: a rule of who is who. It is a pure function of the component.
"""
