"""Forms of the stored values, by kind of key: what `keys` names, `state.damage` checks by these."""

from __future__ import annotations

from collections.abc import Mapping

from nurt.model.entities import ENTITIES

_ROWS = {b"r%c" % entity.code: f"row.{kind}" for kind, entity in ENTITIES.items()}
PROFILES: Mapping[bytes, str] = _ROWS | {
    b"o": "order_slots",
    b"K": "references",
    b"a": "account_slots",
    b"s": "sums",
    b"c": "sums",
    b"m": "memberships",
    b"g": "components",
    b"p": "members",
    b"h": "fence",
    b"d": "identifier",
    b"f": "profile",
}
"""By kind of key, see `model/keys.py`: the layout of its values, or another form that `state.damage` checks."""
STOCK: Mapping[bytes, str] = _ROWS | {
    b"g": "papers",
    b"c": "share",
    b"k": "shelves",
    b"d": "holds",
    b"b": "published",
    b"h": "fence",
}
