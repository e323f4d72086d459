"""Values that a source did not send again: `missing_values` names rows that lack one, `held_values` keeps what a row
knew until the row of its new key has it.

What may come in: what happens to a value between the event that said it and the row that needs it.
"""
