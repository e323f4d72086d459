"""Name the instructions of a compiled schema; the compilers and the loops read this table.

An instruction is a row of int64: OP, OPTIONAL, NULL, PRESENT, A, B, JUMP, SPARE. With OPTIONAL set, a union's
branch number comes first: NULL (as written, zig-zag) continues at JUMP, PRESENT goes on with the instruction.
"""

from __future__ import annotations

OP, OPTIONAL, NULL, PRESENT, A, B, JUMP, SPARE = range(8)
WIDTH = 8
NEVER = -1  # a NULL that no message holds: the union has one branch only

END = 0
SKIP_VARINTS = 1  # A: how many
SKIP_TEXTS = 2  # A: how many strings or bytes
SKIP_BYTES = 3  # A: how many bytes
SKIP_OPTIONAL_VARINTS = 4  # A: how many, each with a branch before it: NULL or PRESENT
SKIP_OPTIONAL_TEXTS = 5  # as above
READ_LONG = 6  # A: row of `words`, B: column; so are all that read
READ_FLOAT = 7
READ_DOUBLE = 8
READ_TEXT = 9  # A: row of `views`
READ_BYTES = 10
READ_FIXED = 11  # SPARE: how many bytes
READ_ENUM = 12  # A: row of `views`, SPARE: its place in `enums`
READ_BOOLEAN = 13  # A: row of `flags`
ENTER = 14  # A: row of `flags` that says "present", or -1
CALL = 15  # A: where the routine begins
RETURN = 16
UNION = 17  # A: how many branches, B: where in `targets` their addresses begin
GOTO = 18  # A: where
LOOP = 19  # blocks of items behind this instruction up to its REPEAT; JUMP: where to go on
LOOP_EMPTY = 20  # blocks of items that take no bytes
REPEAT = 21  # A: its LOOP
SKIP_ENUM = 22  # A: how many symbols

DEPTH_MAX = 512
"""How deep arrays, maps and records may nest in one message before it is refused; a guard, not a promise."""

CALLS_A_BYTE = 16
"""So many routines may be called for each byte of a message, besides one for each instruction of the program: records
that name each other twice, n deep, take no bytes and 2^n calls."""
