"""The outside world, one room for each technology; none knows another.

`kafka`, `redis`, `files`, `analytics` (stores that take whole tables) and `receivers` (systems that take rows and may
refuse them). What several rooms use stands beside them: `durable` writes files that survive a crash, `http` is a client
with tokens and what a bad answer means, `secrets` reads environment variables and files, `clock` is the machine's,
`requeued` says what a message from quarantine is when it comes back.

What may come in: an implementation of a port. It decides nothing that another adapter would have to decide again.
"""
