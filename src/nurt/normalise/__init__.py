"""Identifiers as equal people write them unequally: one form for each e-mail, phone and tax id.

`identifiers` chooses the rule of a kind; `phone` and `tax_id` are the two with many countries; `already_normal` finds
the values that need no rule. `context` is what folds need of the mapping: realms, defaults, rules.

What may come in: a normaliser of a new kind of identifier. It is pure, and total: what it cannot read becomes null.
"""
