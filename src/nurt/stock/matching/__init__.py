"""Which orders, ERP documents and shipments belong together, and what that leaves held.

`match_keys` are the numbers they bear and name (`single_keys` settles those that only one document has), `references`
says who names whom, `components` what hangs together, `documents` what a component holds of each sku.

What may come in: another way in which documents name each other.
"""
