"""Read keys that are no Avro: JSON, with or without its schema, Connect's text of a struct, or plain text.

What cannot be read has no fields, and a value of another type than expected is null: a key that cannot be read is
found out later, as a row without key.
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
    """Read a key's fields; a text that is one value belongs to the one column of `columns`."""
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
    """Give texts and numbers as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def integer(value: Any) -> int | None:
    """Give an integer, or the digits of one, that fits 64 bits."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and -(2**63) <= value < 2**63 else None


def real(value: Any) -> float | None:
    """Give a number as a float."""
    try:
        return None if value is None or isinstance(value, bool | dict | list) else float(value)
    except (ValueError, OverflowError):
        return None


def boolean(value: Any) -> bool | None:
    """Give a truth value, also when it is a text."""
    return {"true": True, "false": False}.get(value) if isinstance(value, str) else value if value in (0, 1) else None


def from_base64(value: Any) -> bytes | None:
    """Give the bytes that JSON holds as base64."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:
        return None


def decimal_text(value: Any, scale: int) -> str | None:
    """Read a decimal as JSON holds it: a number, digits, base64 of the unscaled bytes, or {scale, value} of these."""
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
