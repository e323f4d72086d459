"""Rows that name their order by another field than its key, and the orders that bear its value, meet at a token.

`speak` makes contributions of rows to tokens, `fold` decides which order is meant, `stage` reads and writes. May import
what `profiles` may.
"""
