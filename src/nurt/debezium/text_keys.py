"""Read keys that are not Avro: JSON, with or without its schema, Connect's text of a struct, or plain text.

An unreadable key has no fields, and a value of an unexpected type is null: a later check finds the row without key.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any

_STRUCT = re.compile(r"Struct\{(.*)\}", re.DOTALL)
_DIGITS = re.compile(r"[+-]?[0-9]{1,19}")
_EXACT = Context(prec=200)
_EXPONENT_MAX = 60


def fields_of(text: bytes, columns: Sequence[str]) -> dict[str, Any]:
    """Read a key's fields; a text of one value is the only column of `columns`."""
    try:
        plain = text.decode()
    except UnicodeDecodeError:
        return {}
    if struct := _STRUCT.fullmatch(plain):
        names = "|".join(map(re.escape, columns))
        pairs = re.findall(rf"(?:^|,)({names})=([^,]*)", struct.group(1))
        return dict(pairs) if len(pairs) == len(columns) else {}
    try:
        value = json.loads(plain, parse_float=str)
    except (ValueError, RecursionError):
        value = plain
    if isinstance(value, dict) and value.keys() == {"schema", "payload"}:
        value = value["payload"]
    if isinstance(value, dict):
        return value
    return {columns[0]: value} if len(columns) == 1 and value is not None and not isinstance(value, list) else {}


def plain_text(value: Any) -> str | None:
    """Return texts and numbers as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def integer(value: Any) -> int | None:
    """Return an integer, or digits, that fit 64 bits."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and -(2**63) <= value < 2**63 else None


def real(value: Any) -> float | None:
    """Return a number as a float."""
    try:
        return None if value is None or isinstance(value, bool | dict | list) else float(value)
    except (ValueError, OverflowError):
        return None


def boolean(value: Any) -> bool | None:
    """Return a truth value, also from its text."""
    return {"true": True, "false": False}.get(value) if isinstance(value, str) else value if value in (0, 1) else None


def from_base64(value: Any) -> bytes | None:
    """Return the bytes that JSON holds as base64."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:
        return None


def decimal_text(value: Any, scale: int) -> str | None:
    """Read a decimal as JSON holds it: a number, digits, base64 of unscaled bytes, or {scale, value} of them."""
    if isinstance(value, dict):
        own = integer(value.get("scale"))
        return None if own is None or isinstance(value.get("value"), dict) else decimal_text(value.get("value"), own)
    if value is None or isinstance(value, bool | list):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        unscaled = from_base64(value)
        if unscaled is None or len(unscaled) > 32 or abs(scale) > _EXPONENT_MAX:
            return None
        number = Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale, _EXACT)
    return format(number, "f") if number.is_finite() and abs(number.adjusted()) <= _EXPONENT_MAX else None
