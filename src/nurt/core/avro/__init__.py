"""Avro, columnar: compile a schema once to a small program, then run it over a whole batch."""

from nurt.core.avro.decimals import decimal_to_amount
from nurt.core.avro.flaws import MEANINGS, Flaw
from nurt.core.avro.projection import ColumnType
from nurt.core.avro.reader import Joined, Reader, ReadFrame, compile_reader, join, list_paths

__all__ = [
    "MEANINGS",
    "ColumnType",
    "Flaw",
    "Joined",
    "ReadFrame",
    "Reader",
    "compile_reader",
    "decimal_to_amount",
    "join",
    "list_paths",
]
