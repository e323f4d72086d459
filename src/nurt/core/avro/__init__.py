"""Avro, columnar: compile a schema once to a small program, then run it over a whole batch."""

from nurt.core.avro.decimals import decimal_to_amount
from nurt.core.avro.flaws import MEANINGS, Flaw
from nurt.core.avro.projection import ColumnType
from nurt.core.avro.reader import Joined, Reader, ReadFrame, compile_reader, join, list_paths
from nurt.core.avro.writer import Writer, compile_writer

__all__ = [
    "MEANINGS",
    "ColumnType",
    "Flaw",
    "Joined",
    "ReadFrame",
    "Reader",
    "Writer",
    "compile_reader",
    "compile_writer",
    "decimal_to_amount",
    "join",
    "list_paths",
]
