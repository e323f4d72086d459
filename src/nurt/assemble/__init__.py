"""Assembly: rows that are made of several rows, as the mapping's `with` says.

`emitter` lets rows of tables speak to the rows beside which they lie; `slots` says how that lies in the value of such
a row; `beside` and `choose` take one of several; `evaluate` makes a row of them; `said` compares it with what was said
before; `stage` does all of it for a micro-batch.

What may come in: which rows meet, and what they become. What the mapping says of joins is the mapping's; what the rows
that are made contribute is the flow's.
"""
