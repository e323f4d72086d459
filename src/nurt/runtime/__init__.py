"""The Bytewax shell: sources, steps and sinks around stages that know nothing of Bytewax.

A *stage* is logic over state; a *step* is its shell in the flow; a *worker* is all stages of one process. `source`
reads logs, `profile_steps` and `stock_steps` run stages, `deliver_source` and `deliver_steps` run deliveries.
`routing` says which worker owns what, `pickling` carries frames between processes, `failures` keeps why a process
ends, `compiled` and `process_memory` make a start quick and a worker small.

What may come in: whatever imports bytewax.
"""
