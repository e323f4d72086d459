"""Joins: entries whose rows are made of several rows, as the mapping file says them under `with`.

`types` are the checked values; `words` reads them; `split` cuts an expression into what one row says alone and what
combines rows; `graph` orders entries by level and finds circles; `check` finds mistakes between entries; `numbers` are
what the state calls tables, columns and uses; `compile` makes of all this what `plan` holds for the stage that joins.

What may come in: what the mapping says of joins. Which rows meet, and what they become, is the assembly's.
"""
