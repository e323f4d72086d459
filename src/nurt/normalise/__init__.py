"""One form for each e-mail, phone and tax id, however people write it.

`identifiers` chooses the rule of a kind; `phone` and `tax_id` have rules for many countries; `already_normal`
finds values that need no rule. `context` has the mapping's facts for folds: realms, defaults, rules.

What may come in: a normaliser of a new kind of identifier: pure, and total (an unreadable value becomes null).
"""
