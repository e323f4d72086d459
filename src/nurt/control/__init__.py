"""The life of a run and of its sources: pure functions that decide from the records of the control log.

`launch` decides where a run begins; `reconcile` finds unreconciled publications. `logs` knows which log has a topic's
name, and `log_judgement` judges whether it is the one that was read. `source_epochs` numbers the stretches within which
a source's positions can be compared, `generations` says how the number is made, `source_survey` looks at a batch for
what is out of order, `source_watch` detects a new order that a partition does not show, and `source_records` are their
records. `counted_offsets` keeps counts exact under replay.

What may come in: a decision that depends on earlier runs.
"""
