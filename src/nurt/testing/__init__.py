"""What tests of nurt, and of mappings that users write, can be built on: the same decisions without servers.

`memory_store` is the port `Store` in memory, with crashes on demand, `ledger` the reservations' script in Python;
`chain` runs all stages of profiles one after another without Bytewax; `histories` draws and plays random adversarial
histories.

What may come in: a stand-in that passes the contract suite of what it stands for. The product imports nothing from
here.
"""
