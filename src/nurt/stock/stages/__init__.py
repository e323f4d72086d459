"""The stages of stock over state: read, decide, write, publish.

`worker` runs them. `stage` is the whole of one moment: `documents` are matched, `positions` netted, `kits` and
`kit_holds` counted as their parts. `publisher` says what changed, `backlog` says everything once, `view` reads for
people.

What may come in: a read or a write. Decisions belong to `nurt.stock`.
"""
