"""Which accounts are one customer.

`resolve` decides merges and splits of one component; `memberships` reads the stored graph; `singletons`
settles accounts that share nothing, in whole batches; `links`, `cut_links` and `write_links` are the texts of
links.

What may come in: a rule of identity that is a pure function of the component.
"""
