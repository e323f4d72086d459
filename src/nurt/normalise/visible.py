"""Read a text as people see it: without characters that take no room, and each letter in one form."""

from __future__ import annotations

import re
import unicodedata

INVISIBLE = (
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]"
)
"""Soft hyphens, zero-width spaces and joiners, bidi marks, variation selectors, the byte order mark.

Source: Unicode, property Default_Ignorable_Code_Point.
"""
_INVISIBLE = re.compile(INVISIBLE)
_ROUNDS_MAX = 4


def visible(text: str) -> str:
    """Return a text without invisible characters, in NFKC, without blanks at its ends."""
    if text.isascii():
        return text.strip()
    for _ in range(_ROUNDS_MAX):
        again = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).strip()
        if again == text:
            break
        text = again
    return text
