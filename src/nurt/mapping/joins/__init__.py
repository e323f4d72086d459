"""Joins: entries whose rows are made of several rows, as the mapping file says them under `with`.

`types` are the checked values; `words` reads them; `split` cuts an expression into what one row says alone and what
combines rows; `graph` orders entries by level and names circles; `plan` compiles for the stage that assembles rows.

What may come in: what the mapping says of joins. Which rows meet, and what they become, is the assembly's.
"""
