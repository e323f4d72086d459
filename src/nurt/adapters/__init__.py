"""The outside world, one package for each technology; no package knows another.

`kafka`, `redis`, `files`, `analytics` (stores that take whole tables) and `receivers` (systems that take rows and may
refuse them). What several packages use stands beside them: `durable` writes files that survive a crash, `http` is a
client with tokens and reads bad answers, `secrets` reads environment variables and files, `clock` is the machine's
clock, `requeued` marks messages from quarantine.

What may come in: an implementation of a port. An adapter makes no decision that another adapter would have to repeat.
"""
