"""The newest event of every source row stays, and contributes to the row's parent.

`stage` is the entry. `read_frames` takes rows in, `positions` says which event is newer, `fold` keeps it; `layouts`
and `child_tables` say how rows and their contributions lie in the store. `guests` names the account of a
guest's order. `contributions` flow to parents (`write_contributions` packs them, `child_records` keeps the newest of
each child). `sweeps` and `sweeping` delete rows that vanished without a delete event; `counting` counts outcomes of
messages; `missing_values` names values that a source did not send.
`worker` is the base of every flow's worker: rows, epochs, the clock, and what earlier runs left pending.

What may come in: logic of rows that depends on neither profiles nor stock.
"""
