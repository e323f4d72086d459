"""One form for each e-mail, phone and tax id, however people write it.

`identifiers` chooses the rule of a kind; `email`, `phone` (with `extension`) and `tax_id` read what people write, as
they see it (`visible`); `already_normal` finds values that need no rule, phones by the tables of `numbering_plan`.
`version` names the rules. `context` has the mapping's facts for folds: realms, defaults, rules.

What may come in: a normaliser of a new kind of identifier: pure, and total (an unreadable value becomes null).
"""
