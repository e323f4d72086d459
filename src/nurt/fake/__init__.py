"""Fake receivers for rehearsals: small HTTP servers that answer, and refuse, as the originals' documentation says.

`python -m nurt.fake webhook --port 8300` runs one. Only the protocol is real: they keep rows in memory.
"""
