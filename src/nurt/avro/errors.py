"""Reasons why a message could not be read: small codes in a column, and the meaning of each."""

from __future__ import annotations

from enum import IntEnum

from nurt.columnar import varint


class DecodeErrorCode(IntEnum):
    """Code of what is wrong with a message's bytes; 0: nothing."""

    NONE = 0
    ENDS_EARLY = varint.ENDS_EARLY
    VARINT_TOO_LONG = varint.TOO_LONG
    NEGATIVE_LENGTH = 3
    BYTES_LEFT_OVER = 4
    NO_SUCH_BRANCH = 5
    NO_SUCH_SYMBOL = 6
    NOT_UTF8 = 7
    NOT_BOOLEAN = 8
    TOO_DEEP = 9
    WRONG_BLOCK_SIZE = 10
    TOO_MUCH = 11


MEANINGS: dict[int, str] = {
    DecodeErrorCode.NONE: "fine",
    DecodeErrorCode.ENDS_EARLY: "the message ends before its schema does",
    DecodeErrorCode.VARINT_TOO_LONG: "a number takes more than 64 bits",
    DecodeErrorCode.NEGATIVE_LENGTH: "a length is negative",
    DecodeErrorCode.BYTES_LEFT_OVER: "bytes are left over behind the value",
    DecodeErrorCode.NO_SUCH_BRANCH: "a union has no such branch",
    DecodeErrorCode.NO_SUCH_SYMBOL: "an enum has no such symbol",
    DecodeErrorCode.NOT_UTF8: "a text is not UTF-8",
    DecodeErrorCode.NOT_BOOLEAN: "a boolean is neither 0 nor 1",
    DecodeErrorCode.TOO_DEEP: "values are nested too deep",
    DecodeErrorCode.WRONG_BLOCK_SIZE: "a block's size disagrees with its items",
    DecodeErrorCode.TOO_MUCH: "its schema makes far more work than the message has bytes",
}
