"""The newest event of every source row stays, and contributes to the row's parent.

`stage` is the entry. `read_frames` takes rows in, `positions` says which event is newer, `fold` keeps it; `layouts`
says how rows lie in the store. `children` holds what rows contribute to their parents. `guests` names the account of a
guest's order. `sweeps` and `sweeping` delete rows that vanished without a delete event; `counting` counts outcomes of
messages; `unsaid` has the values that a source did not send. `instances` keeps a row's topics apart where several hold
its table, by `topic_order`; `key_places` compares events of two partitions without positions; `silent_instances` names
what neither decides. `worker` is the base of every flow's worker: rows, epochs, the clock, and what earlier runs left
pending.

What may come in: logic of rows that depends on neither profiles nor stock.
"""
