"""Read e-mail addresses as people write and paste them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from nurt.normalise.visible import visible

EMAIL_LENGTH_MAX = 254  # characters; RFC 5321, 4.5.3.1
LOCAL_PART_LENGTH_MAX = 64  # characters
EMAILS_KEPT_MAX = 100_000  # distinct texts whose result is kept
TEXT_LENGTH_MAX = 1_000  # characters of a text that may hold an address
_LABEL_LENGTH_MAX = 63  # bytes; RFC 1035, 2.3.4
_ROUNDS_MAX = 4

_LOCAL_PART = re.compile(rf"[^\s@\x00-\x1f\x7f\"(),:;<>\[\]\\]{{1,{LOCAL_PART_LENGTH_MAX}}}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_\-]*[a-z0-9])?")
_LAST_LABEL = re.compile(r"[a-z][a-z0-9\-]*[a-z0-9]")
_DOTS = re.compile("[\u3002\uff61]")  # ideographic full stops; NFKC makes a dot of the full-width one
_NAMED = re.compile(r"([^<>]*)<([^<>]*)>")
_SCHEME = re.compile(r"(?:mailto|e-?mail)\s*:\s*(?://)?([^?]*)(?:\?.*)?")
_QUOTES = ('""', "''", "()", "[]", "<>", "„”", "“”", "‘’", "«»")


@lru_cache(maxsize=EMAILS_KEPT_MAX)
def to_email(text: str) -> str | None:
    """Return the one address in a text, in lower case and with its domain in ASCII; or None.

    Invisible characters, `mailto:`, a name before `<address>`, quotes, and a dot, comma or semicolon behind it are
    taken away. Two different addresses are none. The result is stable.

    Source: RFC 5321 and 5322 for the shape; RFC 3492 (Punycode) and UTS 46 for domains in other letters.
    """
    if len(text) > TEXT_LENGTH_MAX:
        return None
    found = _address_in(text)
    for _ in range(_ROUNDS_MAX):
        again = None if found is None else _address_in(found)
        if again == found:
            return found
        found = again
    return None


def _address_in(text: str) -> str | None:
    whole = visible(visible(text).lower())
    for _ in range(_ROUNDS_MAX):
        before = whole
        whole = whole.rstrip(";, \t\r\n")
        if len(whole) > 1 and whole[0] + whole[-1] in _QUOTES:
            whole = whole[1:-1].strip()
        if named := _NAMED.fullmatch(whole):
            name, whole = named[1], named[2].strip()
            if "@" in name and to_email(name) != to_email(whole):
                return None
        if written := _SCHEME.fullmatch(whole):
            whole = written[1].strip()
        if whole == before:
            break
    local, at, domain = whole.partition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        return None
    ascii_domain = _domain(_DOTS.sub(".", domain).removesuffix("."))
    if ascii_domain is None or len(local) + 1 + len(ascii_domain) > EMAIL_LENGTH_MAX:
        return None
    return f"{local}@{ascii_domain}"


def _domain(text: str) -> str | None:
    """Write a domain in ASCII, a label in other letters as `xn--` and its Punycode; None: it is no domain."""
    labels = []
    for label in text.split("."):
        encoded = label
        if not label.isascii():
            if label.startswith("xn--") or not all(
                sign in "-_" or unicodedata.category(sign)[0] in "LNM" for sign in label
            ):
                return None
            encoded = "xn--" + label.encode("punycode").decode()
        if len(encoded) > _LABEL_LENGTH_MAX or not _LABEL.fullmatch(encoded):
            return None
        labels.append(encoded)
    return ".".join(labels) if len(labels) > 1 and _LAST_LABEL.fullmatch(labels[-1]) else None
