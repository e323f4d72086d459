"""A delivery's stored values as bytes: parked desired states, kept messages, refusals."""

from __future__ import annotations

import zlib
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from nurt.contracts import schemas
from nurt.contracts.profile_reader import current_body
from nurt.delivery.journal import Message, Parked
from nurt.model.delivery import PROFILES, DesiredState, Lifecycle, Refusal, Row


def encode_parked(parked: Parked) -> bytes:
    """Write a parked desired state."""
    desired = parked.desired
    rows = [[row.object, row.key, {name: _plain(value) for name, value in row.fields.items()}] for row in desired.rows]
    origin = (desired.subject, desired.revision, desired.place, desired.lifecycle)
    return orjson.dumps([*origin, rows, desired.survivor, parked.times, parked.code, desired.of, desired.accounts])


def decode_parked(value: bytes) -> Parked:
    """Read a parked desired state."""
    subject, revision, place, lifecycle, rows, survivor, times, code, *more = orjson.loads(value)
    of, accounts = more or (PROFILES, ())
    made = tuple(
        Row(object_, key, {name: _value(one) for name, one in fields.items()}) for object_, key, fields in rows
    )
    desired = DesiredState(subject, revision, tuple(place), Lifecycle(lifecycle), made, survivor, of, tuple(accounts))
    return Parked(desired, times, code)


def pack_message(message: Message) -> bytes:
    """Write a message, compressed; the version of a profile's contract is beside its body, if that is not 1."""
    head = [message.of, message.place, message.revision, message.body is not None]
    if message.of == PROFILES and schemas.PROFILE_VERSION > 1:
        head.append(schemas.PROFILE_VERSION)
    return zlib.compress(orjson.dumps(head) + b"\n" + (message.body or b""), 1)


def unpack_message(subject: str, value: bytes) -> Message:
    """Read a message; a profile's body is converted to today's contract.

    Raises StateTooNew when a later nurt wrote it.
    """
    head, _, body = zlib.decompress(value).partition(b"\n")
    of, place, revision, is_there, *more = orjson.loads(head)
    if is_there and of == PROFILES:
        body = current_body(body, more[0] if more else 1)
    return Message(subject, tuple(place), revision, body if is_there else None, of)


def _plain(value: Any) -> Any:
    """Write a value so that its type can be read back."""
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    return value


def _value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    ((kind, text),) = plain.items()
    makers: dict[str, Any] = {"decimal": Decimal, "datetime": datetime.fromisoformat, "date": date.fromisoformat}
    return makers[kind](text)


def encode_refusal(refusal: Refusal) -> bytes:
    """Write a refusal, without the destination."""
    return orjson.dumps(
        [
            *(refusal.subject, refusal.object, refusal.op, refusal.key, refusal.revision, refusal.code, refusal.words),
            *(refusal.fields, refusal.at_ms),
        ],
        default=str,
    )
