"""Text from outside made safe to show: what steers a terminal, or turns around what stands beside it, becomes a sign.

A customer's name, a sku or a receiver's words may hold anything: escape sequences set titles and clipboards, and a
right-to-left override shows a number backwards. Source: Unicode, UAX #9 (explicit directional characters), C0 and C1.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

from nurt.errors import frames_of

_STEERING = (
    "\x00-\x1f\x7f-\x9f"  # control characters: C0, DELETE, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # they turn directions around
    "\u2028\u2029"  # ends of lines and paragraphs
    "\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # nothing is seen, two texts look alike
    "\ud800-\udfff"  # halves of a character: they cannot be written
)
_ANY = re.compile(f"[{_STEERING}]")
_ANY_BUT_LINES = re.compile(f"(?![\n\t])[{_STEERING}]")
_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def visible(text: str) -> str:
    """Make every steering character of one value visible; a value has one line."""
    return _ANY.sub(_sign, text)


def visible_lines(text: str) -> str:
    """Do as `visible`, for text whose lines and tabs are nurt's own."""
    return _ANY_BUT_LINES.sub(_sign, text)


def visible_json(document: bytes) -> bytes:
    """Escape what orjson leaves as it is and terminals obey; the document means the same."""
    if document.isascii() and b"\x7f" not in document:
        return document
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document.decode()).encode()


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


class VisibleFormatter(logging.Formatter):
    """Format of log lines in which no value steers a terminal, and of an exception only kinds and frames are told."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return visible_lines(super().format(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """See logging.Formatter."""
        return frames_of(ei[1]) if ei[1] is not None else ""


def tell_no_values() -> None:
    """Let neither a thread that fails, nor a log line that cannot be written, print what values were at hand."""
    threading.excepthook = _thread_failed
    logging.raiseExceptions = False


def _thread_failed(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        name = found.thread.name if found.thread is not None else "a thread"
        logging.getLogger("nurt").error("%s has ended\n%s", name, frames_of(found.exc_value))
