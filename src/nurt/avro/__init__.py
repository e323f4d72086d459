"""Avro by compiled loops: a schema becomes a small program once, then runs over whole batches.

`schema` reads a schema, `compile` makes the reading program (`opcodes` are its instructions), `decode_loop` runs it
and `reader` is the door: messages in, columns out. `writer` compiles and `encode_loop` runs the other way. `scan` and
`primitives` are the few forms that Avro's bytes consist of; `errors` says why one message could not be read;
`raw_column` is a column as the loop left it; `compatibility` checks the rule BACKWARD.

What may come in: rules of Avro in general. What Debezium puts into Avro belongs to `nurt.debezium`.
"""

from nurt.avro.compile import ColumnType
from nurt.avro.errors import MEANINGS, DecodeErrorCode
from nurt.avro.reader import JoinedMessages, Reader, ReadFrame, compile_reader, join, list_paths
from nurt.avro.writer import Writer, compile_writer

__all__ = [
    "MEANINGS",
    "ColumnType",
    "DecodeErrorCode",
    "JoinedMessages",
    "ReadFrame",
    "Reader",
    "Writer",
    "compile_reader",
    "compile_writer",
    "join",
    "list_paths",
]
