"""Tokens of orders: what others name an order by, besides its key. A token that an order left stays with its row.

Runs only for orders that the mapping names by a field; see `model/references.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nurt.columnar.distinct import distinct
from nurt.columnar.ids import Ids
from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts, coded_texts
from nurt.columnar.types import ID_BYTES, Bools, Int64s, Words
from nurt.model.entity_frame import DELETE
from nurt.model.references import BETWEEN, KEY, First, Referred, reference_kind
from nurt.rows.children.write import join_with
from nurt.rows.layouts import LEFT, LEFT_BITS, OP, PARENT, PARENT_KIND, PART, ROW_LAYOUTS
from nurt.state.row_major import RowArrays, join_rows

KIND = "order"
_LAYOUT = ROW_LAYOUTS[KIND]
_BETWEEN = b"\x1f"
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class Tokens:
    """Maker of the tokens of orders.

    Attributes:
        referred: what the mapping names orders by.
        ids: of the deployment.
    """

    referred: Referred
    ids: Ids

    @property
    def fields(self) -> list[str]:
        """List the fields that orders are named by."""
        return sorted({field for fields in self.referred.values() for field in fields})

    def of(self, rows: RowArrays, at: Int64s, field: str) -> tuple[Int64s, Words]:
        """Return which of the rows `at` have a token of a field, and the tokens."""
        entity = rows.text(_LAYOUT.place("entity"), at)
        names = [name for name, fields in self.referred.items() if field in fields]
        bears = (codes_of(entity, names) >= 0) & rows.has(_LAYOUT.column(field), at)
        bears &= (rows.numbers[at, OP] != DELETE) & (rows.numbers[at, PART] != LEFT)
        some = np.flatnonzero(bears)
        if not len(some):
            return some, np.zeros((0, 2), dtype=np.uint64)
        kinds = join_with([entity.take(some), coded_texts(np.zeros(len(some), np.int64), [field])], BETWEEN.encode())
        system, value = (rows.text(_LAYOUT.place(name), at[some]) for name in ("system", field))
        cuts, texts = join_with([system, kinds[1], value], _BETWEEN)
        return some, self.ids.of_joined(texts.body, cuts)

    def left(self, rows: RowArrays, accepted: Bools, winner: Int64s) -> tuple[RowArrays, Int64s]:
        """Find the tokens that orders left, now or earlier.

        Args:
            rows: stored ones and those that arrived.
            accepted: by row: it was the newest for a time.
            winner: by owner: its newest row.

        Returns the rows, with those of new former tokens behind them, and which are former tokens.
        """
        was_left = np.flatnonzero(rows.numbers[:, PART] == LEFT)
        here = np.flatnonzero(accepted & (rows.numbers[:, PART] != LEFT))
        found: list[Int64s] = []
        for field in self.fields:
            now = np.zeros((len(winner), 2), dtype=np.uint64)
            some, tokens = self.of(rows, winner, field)
            now[some] = tokens
            kind = reference_kind("", field)
            mine = was_left[codes_of(rows.text(PARENT_KIND, was_left), [kind]) == 0]
            mine = mine[(rows.ids(PARENT, mine) != now[rows.owner[mine]]).any(axis=1)]
            some, tokens = self.of(rows, here, field)
            source = here[some]
            gone = (tokens != now[rows.owner[source]]).any(axis=1)
            at = np.arange(len(rows), len(rows) + np.count_nonzero(gone))
            if len(at):
                rows = join_rows(rows, _left_rows(rows.take(source[gone]), tokens[gone], kind))
            found.append(_once(rows, np.concatenate((mine, at))))
        return rows, np.concatenate(found)

    def ranks(self, rows: RowArrays, at: Int64s, field: str) -> tuple[Texts, Bools]:
        """Write, for orders with one value, bytes that order them as the mapping says; absent where it does not."""
        names = list(self.referred)
        entities = codes_of(rows.text(_LAYOUT.place("entity"), at), names)
        firsts = [self.referred[name].get(field, ()) for name in names]
        has = np.array([bool(firsts[one]) for one in entities.tolist()], dtype=np.bool_)
        written = [
            _rank(rows, int(row), firsts[one]) if firsts[one] else b""
            for row, one in zip(at.tolist(), entities.tolist(), strict=True)
        ]
        ends = np.cumsum([0, *map(len, written)], dtype=np.int64)
        return Texts(ends[:-1], ends[1:], np.frombuffer(b"".join(written), dtype=np.uint8)), has


def _left_rows(rows: RowArrays, tokens: Words, kind: str) -> RowArrays:
    """Make rows of former tokens of these rows."""
    count, first = len(rows), len(rows.body)
    body = np.concatenate((rows.body, tokens.view(np.uint8).reshape(-1), np.frombuffer(kind.encode(), np.uint8)))
    numbers, starts, stops = np.zeros_like(rows.numbers), rows.starts.copy(), rows.stops.copy()
    numbers[:, PART] = LEFT
    starts[:, PARENT] = first + ID_BYTES * np.arange(count)
    stops[:, PARENT] = starts[:, PARENT] + ID_BYTES
    starts[:, PARENT_KIND] = first + ID_BYTES * count
    stops[:, PARENT_KIND] = len(body)
    return replace(
        rows, bits=np.full(count, LEFT_BITS, np.uint64), numbers=numbers, starts=starts, stops=stops, body=body
    )


def _once(rows: RowArrays, at: Int64s) -> Int64s:
    """Choose one row of each owner and token."""
    keys = np.column_stack((rows.owner[at].astype(np.uint64), rows.ids(PARENT, at)))
    return at[distinct(keys)[1]] if len(at) else at


def _rank(rows: RowArrays, row: int, first: First) -> bytes:
    """Write one order's place among several: bytes that compare as the fields do."""
    parts = []
    for name, descends in first:
        place, column = _LAYOUT.place(name), _LAYOUT.column(name)
        if not int(rows.bits[row]) >> column & 1:
            parts.append(b"\1")  # null comes last, whichever way
            continue
        if _LAYOUT.is_text[column]:
            text = rows.body[rows.starts[row, place] : rows.stops[row, place]].tobytes()
            value = _key_rank(text) if name == KEY else text.replace(b"\0", b"\0\1") + b"\0\0"
        else:
            value = (int(rows.numbers[row, place]) + _SIGN).to_bytes(8, "big")
        parts.append(b"\0" + (bytes(255 - one for one in value) if descends else value))
    return b"".join(parts)


def _key_rank(key: bytes) -> bytes:
    """Write a key so that numbers compare by value, and stand before other texts."""
    if key.isdigit():
        digits = key.lstrip(b"0")
        return b"0" + len(digits).to_bytes(2, "big") + digits
    return b"1" + key.replace(b"\0", b"\0\1") + b"\0\0"
