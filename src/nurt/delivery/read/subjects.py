"""Subjects of messages, checked: whoever may write a topic of nurt's chooses its keys, and subjects go on to stores."""

from __future__ import annotations

import re
from hashlib import blake2b

from nurt.delivery.read.bodies import WIRE_BYTES

ID_LETTERS = 32
KEY_IS_NO_ID = "key_is_no_id"
VALUE_IS_OF_ANOTHER = "value_is_of_another_id"
VALUE_UNREADABLE = "value_cannot_be_read"

_ID = re.compile(rb"[0-9a-f]{%d}" % ID_LETTERS)
_LENGTH = bytes([2 * ID_LETTERS])
"""How Avro writes the length of an id."""


def subject_of(key: bytes) -> tuple[str, str]:
    """Read the id in a key in Confluent's wire format; return it with what is wrong with the key, or nothing.

    A key that is no id of 32 hex digits is named by its hash: its own text goes nowhere.
    """
    written = key[WIRE_BYTES + 1 :]
    if _ID.fullmatch(written):
        return written.decode("ascii"), ""
    return blake2b(key, digest_size=ID_LETTERS // 2).hexdigest(), KEY_IS_NO_ID


def is_id(text: str | None) -> bool:
    """Say whether a text is an id of 32 hex digits."""
    return text is not None and _ID.fullmatch(text.encode()) is not None


def is_body_of(body: bytes, subject: str) -> bool:
    """Say whether a profile's body begins with its own id, as the contract's first field."""
    return body.startswith(_LENGTH + subject.encode("ascii"))
