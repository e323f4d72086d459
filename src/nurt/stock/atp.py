"""Net positions against holds, as arrays: stock by location, holds, available to promise. Hot path; pure."""

from __future__ import annotations

from collections.abc import Mapping

import numba
import numpy as np

from nurt.columnar.digits import DECIMAL_BYTES_MAX, put_decimal
from nurt.columnar.text_codes import codes_of, same_text
from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import Values
from nurt.model.units import Millis
from nurt.state.column_major import Rows
from nurt.state.row_major import Layout, RowArrays, read_values
from nurt.stock.from_rows import LEVEL, POSITIONS, SUPPLY
from nurt.stock.holds import BOOKING, DAY_MS, HOLDS, KIT, NetStock
from nurt.stock.routes import ANY, SalesRoutes

POSITION_LAYOUT = Layout(POSITIONS)
_SYSTEM, _LOCATION = POSITION_LAYOUT.place("system"), POSITION_LAYOUT.place("location")
_QUANTITY, _RESERVED, _EXPECTED = (
    POSITION_LAYOUT.place(name) for name in ("quantity", "reserved_quantity", "expected_on")
)
_PART, _TS = POSITION_LAYOUT.place("part"), POSITION_LAYOUT.place("ts_ms")
_P = tuple(POSITION_LAYOUT.place(f"p{part}") for part in range(4))
_P_BITS = tuple(POSITION_LAYOUT.column(f"p{part}") for part in range(4))
_EXPECTED_BIT, _TS_BIT = POSITION_LAYOUT.column("expected_on"), POSITION_LAYOUT.column("ts_ms")
assert tuple(range(_P[0], _P[0] + 4)) == _P, "a position's parts lie side by side"
_NO_SYSTEM = -2


class AtpCalculator:
    """A calculator of available to promise for one plan.

    Args:
        priority: by system; the smallest wins where several systems report one location.
    """

    def __init__(self, routes: SalesRoutes, priority: Mapping[str, int]) -> None:
        self.routes = routes
        plan = routes.plan
        systems = {one.system for one in plan.locations.values() if one.system is not None}
        self._systems = sorted({*priority, *systems}, key=lambda name: (priority.get(name, 100), name))
        # by location: the system that counts, or the one of smallest rank; an unknown system ranks last
        wanted = [plan.locations[name].system for name in routes.locations]
        self._wanted = np.array(
            [_NO_SYSTEM if one is None else self._systems.index(one) for one in wanted], dtype=np.int64
        )
        self._channels = list(plan.channels)
        self._markets = sorted({market for _, market in routes.names} - {ANY})
        self._route_of = np.array(
            [[routes.route_of(one, other) for other in (*self._markets, "")] for one in (*self._channels, "")],
            dtype=np.int64,
        )

    def net(
        self, positions: Values, hold_values: Values, as_of_ms: Millis, stale: frozenset[str] = frozenset()
    ) -> NetStock:
        """Net positions against holds.

        Args:
            positions, hold_values: POSITIONS and HOLDS by sku; rows of part KIT do not count, because holds of kits are
                counted at their parts.
            as_of_ms: bookings due by this moment have ended.
            stale: locations whose news are too old.
        """
        routes, skus, rows = self.routes, len(positions), read_values(POSITION_LAYOUT, positions)
        plan, places = routes.plan, len(routes.locations)
        every = np.arange(len(rows))
        place = codes_of(rows.text(_LOCATION, every), routes.locations)
        on_hand, best = np.zeros((skus, places), dtype=np.int64), np.full((skus, places), 2**40, dtype=np.int64)
        part = rows.numbers[:, _PART]
        if len(rows):
            system = codes_of(rows.text(_SYSTEM, every), self._systems)
            _count(rows.owner, part, place, system, rows.numbers, self._wanted, len(self._systems), best, on_hand)
        inbound = np.zeros((skus, places * len(routes.horizons)), dtype=np.int64)
        supplies = np.flatnonzero((part == SUPPLY) & (place >= 0) & rows.has(_EXPECTED_BIT, every))
        if len(supplies) and routes.horizons:
            self._bring_in(inbound, rows, supplies, place, as_of_ms)
        located, on_route = np.zeros((skus, places), dtype=np.int64), np.zeros((skus, len(routes.names)), np.int64)
        if hold_values.size_bytes:
            self._hold(located, on_route, rows, hold_values, as_of_ms)
        buffer = np.array(
            [
                plan.locations[name].buffer + (plan.locations[name].stale_buffer if name in stale else 0)
                for name in routes.locations
            ],
            dtype=np.int64,
        )
        caps = np.hstack([np.maximum(on_hand - located - buffer, 0), inbound])
        slack = caps @ routes.covers - on_route @ routes.inside
        return NetStock(on_hand, located, inbound, on_route, buffer, slack)

    def _bring_in(self, inbound: Int64s, rows: RowArrays, supplies: Int64s, place: Int64s, as_of_ms: Millis) -> None:
        horizons, today = np.array(self.routes.horizons), as_of_ms // DAY_MS
        ahead = rows.numbers[supplies, _EXPECTED] - today
        soon = (ahead >= 0) & (ahead <= horizons[-1])
        supplies, ahead = supplies[soon], ahead[soon]
        at = np.searchsorted(horizons, ahead) * len(self.routes.locations) + place[supplies]
        np.add.at(inbound, (rows.owner[supplies], at), rows.numbers[supplies, _QUANTITY])

    def _hold(self, located: Int64s, on_route: Int64s, rows: RowArrays, hold_values: Values, as_of_ms: Millis) -> None:
        holds = Rows(HOLDS, HOLDS.locate(hold_values.body, hold_values.cuts))
        location, system = holds.texts("location"), holds.texts("system")
        route = self._route_of[
            codes_of(holds.texts("channel"), self._channels), codes_of(holds.texts("market"), self._markets)
        ]
        place = codes_of(location, self.routes.locations)
        owner, part, due = holds.raw.owner, holds.number("part"), holds.number("due_ms")
        counts = (part != KIT) & ((part != BOOKING) | (due > as_of_ms))
        bookings = np.flatnonzero(counts & (part == BOOKING))
        if len(bookings) and len(rows):
            position = np.stack([holds.number(f"p{one}") for one in range(4)], axis=1)
            known = np.stack([holds.present(f"p{one}") for one in range(4)], axis=1)
            starts = np.searchsorted(rows.owner, np.arange(len(hold_values) + 1))
            _end_bookings(
                bookings, owner, position, known, holds.present("location"),
                location.starts, location.stops, location.body, system.starts, system.stops,
                starts, rows.numbers, rows.bits, rows.starts, rows.stops, rows.body, counts,
            )  # fmt: skip
        for sums, column, chosen in ((located, place, place >= 0), (on_route, route, place < 0)):
            some = np.flatnonzero(counts & chosen)
            np.add.at(sums, (owner[some], column[some]), holds.number("quantity")[some])


def skus_of(positions: Values, hold_values: Values) -> list[str | None]:
    """Name the skus of positions, from their rows; None: no row has a name."""
    rows = read_values(POSITION_LAYOUT, positions)
    names: list[str | None] = [None] * len(positions)
    found: list[Texts] = []
    owners: list[Int64s] = []
    if len(rows):
        first = np.flatnonzero(np.diff(rows.owner, prepend=-1))
        found.append(rows.text(POSITION_LAYOUT.place("sku"), first))
        owners.append(rows.owner[first])
    if hold_values.size_bytes:
        holds = Rows(HOLDS, HOLDS.locate(hold_values.body, hold_values.cuts, ("sku",)), ("sku",))
        first = np.flatnonzero(np.diff(holds.raw.owner, prepend=-1))
        found.append(holds.texts("sku").take(first))
        owners.append(holds.raw.owner[first])
    for owner, texts in zip(owners, found, strict=True):
        for one, text in zip(owner.tolist(), texts.plain(), strict=True):
            names[one] = names[one] or text.decode()
    return names


def newest_news(rows: RowArrays, locations: tuple[str, ...]) -> dict[str, int]:
    """Return, by location, when its newest level was written."""
    every = np.arange(len(rows))
    place = codes_of(rows.text(_LOCATION, every), locations)
    levels = (rows.numbers[:, _PART] == LEVEL) & rows.has(_TS_BIT, every)
    newest = np.full(len(locations), -1, dtype=np.int64)
    some = levels & (place >= 0)
    np.maximum.at(newest, place[some], rows.numbers[some, _TS])
    return {name: int(ts_ms) for name, ts_ms in zip(locations, newest, strict=True) if ts_ms >= 0}


def owners_with(rows: RowArrays, part: int) -> Bools:
    """Return which rows are of a part."""
    found: Bools = rows.numbers[:, _PART] == part
    return found


def atp_texts(version: str, slack: Int64s, tails: Mapping[int, str]) -> Values:
    """Write the slack of each union, in the form of the ledger's script: `version;slack,slack,...;kit`."""
    prefix = np.frombuffer(version.encode() + b";", dtype=np.uint8)
    ends, joined = np.zeros(len(slack) + 1, dtype=np.int64), b""
    if tails:
        encoded = [tails.get(at, "").encode() for at in range(len(slack))]
        np.cumsum([len(one) for one in encoded], out=ends[1:])
        joined = b"".join(encoded)
    room_bytes = len(slack) * (len(prefix) + 1 + slack.shape[1] * _TEXT_BYTES_MAX) + len(joined) + _TEXT_BYTES_MAX
    out, cuts = np.empty(room_bytes, dtype=np.uint8), np.zeros(len(slack) + 1, dtype=np.int64)
    _write_atp(prefix, slack, ends, np.frombuffer(joined or b"\0", dtype=np.uint8), out, cuts)
    return Values(out, cuts)


_TEXT_BYTES_MAX = DECIMAL_BYTES_MAX + 1  # with a separator


@numba.njit(nogil=True, cache=True)
def _count(
    owner: Int64s,
    part: Int64s,
    place: Int64s,
    system: Int64s,
    numbers: Int64s,
    wanted: Int64s,
    systems: int,
    best: Int64s,
    on_hand: Int64s,
) -> None:
    """Add up levels, less the system's own reserved quantities: for each place only those of one system.

    owner    (n,)    int64  index of the sku
    part     (n,)    int64  code of the row's kind; only LEVEL counts
    place    (n,)    int64  index of the location; -1: not in the plan
    system   (n,)    int64  index of the system; -1: not known
    numbers  (n, k)  int64  number columns of POSITIONS; quantities in ten-thousandths of a piece
    wanted   (p,)    int64  by location: the system that counts; _NO_SYSTEM: the system of the smallest rank
    systems  scalar  int64  how many systems there are: the rank of an unknown one
    best     (s, p)  int64  written: the best rank so far; larger than any rank before
    on_hand  (s, p)  int64  written: by sku and location, ten-thousandths of a piece; 0 before
    """
    for row in range(len(owner)):
        at = place[row]
        if part[row] != LEVEL or at < 0:
            continue
        if wanted[at] != _NO_SYSTEM and wanted[at] != system[row]:
            continue
        rank = system[row] if system[row] >= 0 else systems
        one = owner[row]
        net = numbers[row, _QUANTITY] - numbers[row, _RESERVED]
        if rank < best[one, at]:
            best[one, at] = rank
            on_hand[one, at] = net
        elif rank == best[one, at]:
            on_hand[one, at] += net


@numba.njit(nogil=True, cache=True)
def _end_bookings(  # type: ignore[no-untyped-def]
    bookings, owner, position, known, located, place_starts, place_stops, body, system_starts, system_stops,
    firsts, numbers, bits, starts, stops, level_body, counts,
):  # fmt: skip
    """Leave out bookings that on hand shows already.

    On hand shows a booking when a level of the same sku and system (and location, where the booking names one) stands
    in the system's commit order at or behind the booking. An unknown part of a position decides nothing.

    bookings         (k,)    int64       which holds are bookings that count
    owner            (n,)    int64       by hold: index of the sku
    position, known  (n, 4)  int64, bool by hold: parts of the position, and whether each is known
    located          (n,)    bool        by hold: the hold names a location
    place_starts, place_stops, system_starts, system_stops  (n,)  int64  by hold: names in `body` (b,) uint8
    firsts           (s+1,)  int64       levels of sku i are rows firsts[i] to firsts[i+1]
    numbers, bits, starts, stops, level_body  of the rows of POSITIONS, see RowArrays
    counts           (n,)    bool        written: False where a booking is left out
    No tuples: in batches of some hundred bookings, unpacking tuples took a third of the call.
    """
    for n in range(len(bookings)):
        row = bookings[n]
        for level in range(firsts[owner[row]], firsts[owner[row] + 1]):
            if numbers[level, _PART] != LEVEL:
                continue
            if not same_text(
                body, system_starts[row], system_stops[row],
                level_body, starts[level, _SYSTEM], stops[level, _SYSTEM],
            ):  # fmt: skip
                continue
            if located[row] and not same_text(
                body, place_starts[row], place_stops[row],
                level_body, starts[level, _LOCATION], stops[level, _LOCATION],
            ):  # fmt: skip
                continue
            shown = True
            for one in range(4):
                there = (bits[level] >> np.uint64(_FIRST_P_BIT + one)) & np.uint64(1) == np.uint64(1)
                if not known[row, one] or not there:
                    shown = False
                    break
                if numbers[level, _FIRST_P + one] != position[row, one]:
                    shown = numbers[level, _FIRST_P + one] > position[row, one]
                    break
            if shown:
                counts[row] = False
                break


_FIRST_P, _FIRST_P_BIT = _P[0], _P_BITS[0]


@numba.njit(nogil=True, cache=True)
def _write_atp(prefix: Bytes, slack: Int64s, ends: Int64s, tails: Bytes, out: Bytes, cuts: Int64s) -> None:
    """Write the slack of every sku as text.

    prefix  (p,)    uint8  the beginning of each text
    slack   (n, u)  int64  by sku and union: ten-thousandths of a piece
    ends    (n+1,)  int64  the end of text i is tails[ends[i]:ends[i+1]]
    out     (m,)    uint8  written
    cuts    (n+1,)  int64  written: text i is out[cuts[i]:cuts[i+1]]
    """
    at = 0
    for row in range(len(slack)):
        for i in range(len(prefix)):
            out[at + i] = prefix[i]
        at += len(prefix)
        for union in range(slack.shape[1]):
            if union:
                out[at] = 44
                at += 1
            at = put_decimal(out, at, slack[row, union])
        out[at] = 59
        at += 1
        for i in range(ends[row], ends[row + 1]):
            out[at] = tails[i]
            at += 1
        cuts[row + 1] = at
