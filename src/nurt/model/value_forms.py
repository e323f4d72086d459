"""Forms of the stored values, by kind of key: what `keys` names, `state.damage` checks by these."""

from __future__ import annotations

from collections.abc import Mapping

from nurt.model.entities import ENTITIES
from nurt.model.table_kinds import CODES, FIRST_CODE, width_of

_ROWS = {b"r%c" % entity.code: f"row.{kind}" for kind, entity in ENTITIES.items()} | {
    b"r%c" % code: width_of(code - FIRST_CODE).layout for code in CODES
}
PROFILES: Mapping[bytes, str] = _ROWS | {
    b"j": "assembly",
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
