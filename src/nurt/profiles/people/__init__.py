"""Addresses, consents and interactions of orders: what an order tells of them to its account.

`of_orders` writes it, `join_fields` is the form of an address as a key.

What may come in: what is true of such rows of any order. A guest's order also tells their identifiers.
"""
