"""Match orders, ERP documents and shipments, and compute what they hold.

`match_keys` lists the numbers that documents bear and name (`single_keys` settles keys of only one document),
`references` finds the named orders, `components` groups connected documents, `documents` computes a component's holds.

What may come in: another way in which documents name each other.
"""
