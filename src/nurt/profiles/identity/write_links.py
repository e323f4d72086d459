"""Write the links of accounts as text: `kind U+001F value`, joined by U+001E. Hot path, one kernel."""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES, Values
from nurt.normalise.context import KIND_END, LINK_END
from nurt.profiles.identity.links import JoinedLinks
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE
from nurt.state.column_major import Rows

_KINDS = ("email", "loyalty_card", "phone", "tax_id")
_COLUMNS = ("part", *_KINDS, "identifiers")
_PEOPLE = (CODE["customer"], CODE["order"])
_PREFIXES = [kind.encode() + KIND_END.encode() for kind in _KINDS] + [b""]
_PREFIX = np.frombuffer(b"".join(_PREFIXES), dtype=np.uint8).copy()
_PREFIX_ENDS = np.cumsum([0, *map(len, _PREFIXES)])
_LINK_END = ord(LINK_END)


def write_links(values: Values, alive: Bools) -> JoinedLinks:
    """Write the links of each account; None where the account is gone.

    Those of its person come first, sorted by kind, then those of its other rows. One may come twice.

    Args:
        values: of ACCOUNT_RECORDS.
        alive: by account.
    """
    body = values.body
    rows = Rows(ACCOUNT_RECORDS, ACCOUNT_RECORDS.locate(body, values.cuts, _COLUMNS), _COLUMNS)
    person = np.full(len(alive), -1, dtype=np.int64)
    found = np.flatnonzero(np.isin(rows.number("part"), _PEOPLE))
    person[rows.raw.owner[found]] = found
    more = np.flatnonzero(rows.present("identifiers") & ~np.isin(rows.number("part"), _PEOPLE))
    more_cuts = np.searchsorted(rows.raw.owner[more], np.arange(len(alive) + 1))
    speaking = len(found) + len(more)
    room_bytes = int((rows.raw.stops - rows.raw.starts).sum()) + speaking * (len(_PREFIX) + len(_PREFIXES))
    out = np.empty(room_bytes + PADDING_BYTES, dtype=np.uint8)
    ends = np.zeros(len(alive) + 1, dtype=np.int64)
    present = np.stack([rows.present(name) for name in _COLUMNS[1:]])
    _write(person, more, more_cuts, alive, present, rows.raw.starts, rows.raw.stops, body, out, ends)
    return JoinedLinks(out, ends, alive)


@numba.njit(nogil=True, cache=True)
def _write(
    person: Int64s,
    more: Int64s,
    more_cuts: Int64s,
    alive: Bools,
    present: Bools,
    starts: Int64s,
    stops: Int64s,
    body: Bytes,
    out: Bytes,
    ends: Int64s,
) -> None:
    """Write the links of every account.

    person         (n,)    int64  by account: its row of a person; -1: none
    more           (m,)    int64  other rows with identifiers, which are the last kind of `present`
    more_cuts      (n+1,)  int64  those of account i are more[more_cuts[i]:more_cuts[i+1]]
    alive          (n,)    bool   by account; False: nothing is written
    present        (k, r)  bool   by kind of link and row
    starts, stops  (., r)  int64  row-wise as `present`, maybe with more kinds: text is body[starts:stops]
    body           (b,)    uint8  texts
    out            (m,)    uint8  written
    ends           (n+1,)  int64  written: links of account i are out[ends[i]:ends[i+1]]
    """
    to = 0
    for one in range(len(person)):
        row = person[one]
        begun = False
        if row >= 0 and alive[one]:
            for kind in range(len(present)):
                if not present[kind, row]:
                    continue
                if begun:
                    out[to] = _LINK_END
                    to += 1
                begun = True
                for i in range(_PREFIX_ENDS[kind], _PREFIX_ENDS[kind + 1]):
                    out[to] = _PREFIX[i]
                    to += 1
                for i in range(starts[kind, row], stops[kind, row]):
                    out[to] = body[i]
                    to += 1
        if alive[one]:
            last = len(present) - 1
            for other in more[more_cuts[one] : more_cuts[one + 1]]:
                if begun:
                    out[to] = _LINK_END
                    to += 1
                begun = True
                for i in range(starts[last, other], stops[last, other]):
                    out[to] = body[i]
                    to += 1
        ends[one + 1] = to
