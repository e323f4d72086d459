"""The Bytewax shell: sources, steps and sinks around stages that know nothing of Bytewax.

A *stage* is logic over state; a *step* is its shell in the flow; a *worker* is all stages of one process. `assembly`
says which pieces a flow needs. `source` reads logs, `translating` is the first step, `steps` are the shells of stages
and outputs around `profile_steps` and `stock_steps`; `deliver_source` and `deliver_steps` run deliveries. `routing`
says which worker owns what, `pickling` carries frames between processes, `failures` keeps why a process ends,
`stopping` ends it on signals; `compiled` and `process_memory` make a start fast and a worker small.

What may come in: all code that imports bytewax.
"""
