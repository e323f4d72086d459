"""The outside world, one room for each technology; none knows another.

`kafka`, `redis`, `files`, `analytics` (stores that take whole tables) and `receivers` (systems that take rows and may
refuse them). `durable` writes files that survive a crash.

What may come in: an implementation of a port. It decides nothing that another adapter would have to decide again.
"""
