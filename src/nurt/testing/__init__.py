"""Tools for tests of nurt, and of users' mappings: the same decisions without servers.

`memory_store` is the port `Store` in memory, with crashes on demand, `ledger` is the script of reservations in Python;
`chain` runs all stages of profiles one after another without Bytewax; `histories` draws and plays random adversarial
histories.

What may come in: a fake that passes the contract suite of its original. The product imports nothing from
here.
"""
