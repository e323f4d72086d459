"""The newest event of every source row stays, and says what it contributes to its parent.

`stage` is the door. `read_frames` takes rows in, `positions` says which event is newer, `fold` keeps it; `layouts`
and `child_tables` say how rows and their contributions lie in the store. `guests` names the account of a
guest's order. `contributions` are what flows to parents (`write_contributions` packs them, `child_records` keeps the
newest of each child there). `sweeps` and `sweeping` delete
rows that vanished silently; `counting` counts where messages end; `missing_values` names what a source did not send.
`worker` is what every flow's worker is: rows, epochs, the clock, and what earlier runs owed.

What may come in: what is true of a row whatever it means to profiles or stock.
"""
