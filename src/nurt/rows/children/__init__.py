"""What a row adds to its parent, and how that lies there.

`contributions` are the arrays that flow to parents; `write` packs them out of folded rows. `tables` names the stored
columns of child records and aggregates; `records` keeps the newest record of each child in its parent. `renormalising`
finds rows that say their contribution again, because their identifiers read otherwise by new rules; `waiting` counts
children whose parent is not there.

What may come in: what is true of every child, whatever it means to orders, accounts or stock.
"""
