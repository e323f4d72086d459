"""The stages of stock over state: read, decide, write, publish.

`worker` runs them. `stage` runs one moment: `documents` matches, `positions` nets, `kits` and `kit_holds`
count kits as their parts. `publisher` publishes changes, `backlog` publishes everything once, `view` reads for people.

What may come in: a read or a write. Decisions belong to `nurt.stock`.
"""
