"""The life of a run and of its sources, decided from records: pure functions over the control log.

`launch` decides where a run begins, `reconcile` what was published that the state no longer knows. `source_epochs`
numbers the stretches within which a source's positions can be compared, `source_watch` notices what sources do not
say, and `source_records` are the words of both. `counted_offsets` keeps counts exact under replay.

What may come in: a decision that needs what happened in earlier runs.
"""
