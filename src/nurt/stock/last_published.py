"""Last published figures of skus, and their side of the thresholds. Hot path; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nurt.columnar.digits import put_decimal
from nurt.columnar.text_codes import codes_of
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import Values
from nurt.model.stock.plan import UNIT
from nurt.state.column_major import Rows
from nurt.state.table import Raw, Table
from nurt.stock.routes import SalesRoutes

PUBLISHED = Table.stored("published")
"""Last published figures of a position, by route, and their side of the thresholds."""

_NUMBERS = ("available", "level", "oversold", "drifts")
assert [*PUBLISHED.columns] == ["sku", "channel", "market", *_NUMBERS], "`Codec.write` fills them in this order"
_TEXT_BYTES_MAX = 26


@dataclass(frozen=True, slots=True, eq=False)
class LastPublished:
    """Published figures of skus: (skus, sold routes) each; `there`: the sku was published before."""

    there: Bools
    available: Int64s
    level: Int64s
    oversold: Int64s
    drifts: Int64s

    def take(self, rows: Int64s) -> LastPublished:
        """Choose skus."""
        return LastPublished(self.there[rows], *(getattr(self, name)[rows] for name in _NUMBERS))

    def differs(self, before: LastPublished) -> Bools:
        """Return the skus whose figures differ from the last published ones."""
        others = [getattr(self, name) != getattr(before, name) for name in _NUMBERS]
        found: Bools = np.any([~before.there, *others], axis=(0, 2))
        return found


class Codec:
    """A codec of last published figures, for one plan."""

    def __init__(self, routes: SalesRoutes) -> None:
        self._names = routes.names[: routes.sold]
        self._channels = sorted({channel for channel, _ in self._names})
        self._markets = sorted({market for _, market in self._names})
        route_of = np.full((len(self._channels) + 1, len(self._markets) + 1), -1, dtype=np.int64)
        for route, (channel, market) in enumerate(self._names):
            route_of[self._channels.index(channel), self._markets.index(market)] = route
        self._route_of = route_of

    def read(self, values: Values) -> LastPublished:
        """Read last published figures; routes that are no longer sold are left out."""
        shape = len(values), len(self._names)
        there = np.zeros(shape, dtype=np.bool_)
        numbers = [np.zeros(shape, dtype=np.int64) for _ in _NUMBERS]
        if values.size_bytes:
            rows = Rows(PUBLISHED, PUBLISHED.locate(values.body, values.cuts))
            channel = codes_of(rows.texts("channel"), self._channels)
            route = self._route_of[channel, codes_of(rows.texts("market"), self._markets)]
            known = np.flatnonzero(route >= 0)
            place = rows.raw.owner[known], route[known]
            there[place] = True
            for name, into in zip(_NUMBERS, numbers, strict=True):
                into[place] = rows.number(name)[known]
        return LastPublished(there, *numbers)

    def skus(self, values: Values) -> dict[int, str]:
        """Name the skus of the stored figures, by place."""
        rows = PUBLISHED.unpack(values.plain(), ("sku",))
        return {owner: sku for owner, sku in rows.iter_rows() if sku is not None}

    def write(self, skus: Sequence[str], published: LastPublished) -> Values:
        """Write published figures, by sku."""
        sold = len(self._names)
        encoded = [sku.encode() for sku in skus]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        names = [name.encode() for pair in self._names for name in pair]
        cuts = ends[-1] + np.cumsum([0, *map(len, names)], dtype=np.int64)
        body = np.frombuffer(b"".join([*encoded, *names, bytes(8)]), dtype=np.uint8)
        owner, route = np.repeat(np.arange(len(skus)), sold), np.tile(np.arange(sold), len(skus))
        starts = np.stack([ends[owner], cuts[2 * route], cuts[2 * route + 1]])
        stops = np.stack([ends[owner + 1], cuts[2 * route + 1], cuts[2 * route + 2]])
        numbers = np.stack([np.ascontiguousarray(getattr(published, name)).reshape(-1) for name in _NUMBERS])
        present = np.concatenate([np.ones((3, len(owner)), dtype=np.bool_), numbers != 0])
        return PUBLISHED.pack_values(Raw(owner, numbers, present, starts, stops, body), len(skus))

    def shown(self, available: Int64s) -> Values:
        """Write the read model's texts: `{"channel/market":pieces,...}`."""
        keys = [f'"{channel}/{market}":'.encode() for channel, market in self._names]
        cuts = np.cumsum([0, *map(len, keys)], dtype=np.int64)
        joined = np.frombuffer(b"".join(keys) or b"\0", dtype=np.uint8)
        room_bytes = len(available) * (int(cuts[-1]) + 2 + len(keys) * _TEXT_BYTES_MAX) + _TEXT_BYTES_MAX
        out, ends = np.empty(room_bytes, dtype=np.uint8), np.zeros(len(available) + 1, dtype=np.int64)
        _write_shown(np.ascontiguousarray(available), joined, cuts, UNIT, out, ends)
        return Values(out, ends)


@numba.njit(nogil=True, cache=True)
def _write_shown(available: Int64s, keys: Bytes, cuts: Int64s, unit: int, out: Bytes, ends: Int64s) -> None:
    """Write the read model's texts.

    available  (n, r)  int64  by sku and route, in 1/unit of a piece
    keys       (k,)    uint8  the text before each number, end to end
    cuts       (r+1,)  int64  key of route i is keys[cuts[i]:cuts[i+1]]
    unit       scalar  int64  a power of ten
    out        (m,)    uint8  written
    ends       (n+1,)  int64  written: text i is out[ends[i]:ends[i+1]]
    """
    at = 0
    for row in range(len(available)):
        out[at] = 123
        at += 1
        for route in range(available.shape[1]):
            if route:
                out[at] = 44
                at += 1
            for i in range(cuts[route], cuts[route + 1]):
                out[at] = keys[i]
                at += 1
            number = available[row, route]
            at = put_decimal(out, at, number // unit)
            rest = number % unit
            if rest:
                out[at] = 46
                at += 1
                part = unit // 10
                while rest:
                    out[at] = 48 + rest // part
                    at += 1
                    rest %= part
                    part //= 10
        out[at] = 125
        at += 1
        ends[row + 1] = at
