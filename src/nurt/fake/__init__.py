"""Receivers to rehearse with: small HTTP servers that answer, and refuse, as their originals are documented to.

`python -m nurt.fake webhook --port 8300` runs one. Nothing of them is real but the protocol: they keep rows in memory.
"""
