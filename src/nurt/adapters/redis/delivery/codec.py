"""What a delivery remembers, as bytes: parked wishes, messages that were kept, refusals."""

from __future__ import annotations

import zlib
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from nurt.contracts import schemas
from nurt.contracts.profile_reader import current_body
from nurt.delivery.journal import Message, Parked
from nurt.model.delivery import PROFILES, Life, Refusal, Row, Wish


def encode_parked(parked: Parked) -> bytes:
    """Write a parked wish."""
    wish = parked.wish
    rows = [[row.object, row.key, {name: _plain(value) for name, value in row.fields.items()}] for row in wish.rows]
    who = (wish.subject, wish.revision, wish.place, wish.life)
    return orjson.dumps([*who, rows, wish.heir, parked.times, parked.code, wish.of, wish.accounts])


def decode_parked(value: bytes) -> Parked:
    """Read a parked wish."""
    subject, revision, place, life, rows, heir, times, code, *more = orjson.loads(value)
    of, accounts = more or (PROFILES, ())
    made = tuple(Row(object_, key, {name: _value(one) for name, one in held.items()}) for object_, key, held in rows)
    wish = Wish(subject, revision, tuple(place), Life(life), made, heir, of, tuple(accounts))
    return Parked(wish, times, code)


def pack_message(message: Message) -> bytes:
    """Write a message, compressed; a profile's body has the version of its contract beside it, if that is not 1."""
    head = [message.of, message.place, message.revision, message.body is not None]
    if message.of == PROFILES and schemas.PROFILE_VERSION > 1:
        head.append(schemas.PROFILE_VERSION)
    return zlib.compress(orjson.dumps(head) + b"\n" + (message.body or b""), 1)


def unpack_message(subject: str, value: bytes) -> Message:
    """Read a message; a profile's body comes by the contract of today.

    Raises StateTooNew when a later nurt wrote it.
    """
    head, _, body = zlib.decompress(value).partition(b"\n")
    of, place, revision, is_there, *more = orjson.loads(head)
    if is_there and of == PROFILES:
        body = current_body(body, more[0] if more else 1)
    return Message(subject, tuple(place), revision, body if is_there else None, of)


def _plain(value: Any) -> Any:
    """Write a value so that it comes back with its type."""
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
