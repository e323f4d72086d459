"""An emitter for flows whose mapping joins: rows of tables speak to the rows beside which they lie.

Hot path for rows of tables. Rows of entities without joins go to the flow's own emitter as ever. A row of a table says
its stored contribution whatever arrives, and "gone" to the rows that it left, as children of orders do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import polars as pl

from nurt.assemble.slots import digests_of, part_of, record_plan
from nurt.columnar.distinct import distinct
from nurt.columnar.ids import Ids
from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts, coded_texts
from nurt.columnar.types import Bools, Int64s, Words
from nurt.mapping.joins.plan import Assembled, CompiledUse, Joins, StoredTable
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT, UNWANTED, UPSERT
from nurt.rows.children.contributions import Contributions, JoinsSaid, Touched, join_joins, no_ids, no_texts
from nurt.rows.children.write import RecordPlan, join_with, pack_records
from nurt.rows.fold import RowsFolded
from nurt.rows.layouts import OP, PARENT_KIND, ROW_LAYOUTS, field_names
from nurt.rows.stage import RowEmitter
from nurt.rows.tokens import Tokens
from nurt.state.row_major import RowArrays

TOUCH = 1 << 50
"""`part` of what only names the row to be made again; above the parts of all records. Its level's place is added."""

_PART_END, _GROUP_END = "\x1f", "\x1e"
"""Separators: between the parts of a key, and between the keys by which a row lies beside rows of several entries."""


_DIGITS = {"true": "1", "false": "0"}


class WithJoins(Protocol):
    """What a flow's rows say, with what they say to rows that are made of several."""

    @property
    def joins(self) -> JoinsSaid | None:
        """Return what is said to such rows."""
        ...

    def with_joins(self, joins: JoinsSaid | None) -> Self:
        """Return the same, but with these joins."""
        ...


T = TypeVar("T", bound=WithJoins)


@dataclass(frozen=True, slots=True)
class _Beside:
    """Rows of a table that lie beside rows of an entry.

    Attributes:
        group: which of the table's keys of other rows names the entry's row.
    """

    entry: Assembled
    use: CompiledUse
    table: StoredTable
    part: int
    group: int
    plan: RecordPlan
    names: tuple[str, ...]

    @property
    def only(self) -> Mapping[str, tuple[str, ...]]:
        """Give, by stored column, the texts that a row must have there; of a number, its digits."""
        asked = {self.table.slots[field]: texts for field, texts in self.use.only.items()}
        return {
            column: texts if column.startswith("c") else tuple(_DIGITS.get(text, text) for text in texts)
            for column, texts in asked.items()
        }

    @property
    def name(self) -> str | None:
        """Name the stored column with an attribute's name; None: no pivot."""
        return None if self.use.pivot is None else self.table.slots[self.use.pivot[0]]


class JoinEmitter(Generic[T]):
    """A rows.stage.RowEmitter over that of a flow.

    Args:
        inner: the flow's own.
    """

    def __init__(self, inner: RowEmitter[T], joins: Joins, ids: Ids) -> None:
        self._inner, self._ids = inner, ids
        self.unread: Mapping[str, Int64s] = MappingProxyType({})
        self._bases: dict[str, list[tuple[int, int]]] = {}
        self._beside: dict[str, list[_Beside]] = {}
        self._groups: dict[str, list[tuple[str, ...]]] = {}
        self._looked_up: dict[str, list[tuple[int, int, RecordPlan]]] = {}
        for level in joins.levels:
            for place, entry in enumerate(level):
                self._bases.setdefault(entry.base.kind, []).append((entry.level, TOUCH + place))
                for use in entry.uses:
                    for index, table in enumerate(use.tables):
                        if use.on:
                            self._add(entry, use, table, part_of(use, index))
                        else:
                            one = entry.level, use.number, record_plan(use, table)
                            self._looked_up.setdefault(table.kind, []).append(one)
        self._only_beside = frozenset(self._beside) - frozenset(self._looked_up) - frozenset(self._bases)

    @property
    def tokens(self) -> Tokens | None:
        """See rows.stage.RowEmitter."""
        return self._inner.tokens

    def _add(self, entry: Assembled, use: CompiledUse, table: StoredTable, part: int) -> None:
        groups, on = self._groups.setdefault(table.kind, []), tuple(table.slots[field] for field in use.on)
        if on not in groups:
            groups.append(on)
        names = () if use.pivot is None else use.columns
        one = _Beside(entry, use, table, part, groups.index(on), record_plan(use, table), names)
        self._beside.setdefault(table.kind, []).append(one)

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Note the keys of other rows as a row's parent, so that the rows which it leaves are known.

        A row that no entry wants is left out.
        """
        if not kind.startswith("table/"):
            return self._inner.prepare(kind, frame)
        if kind not in self._beside or not frame.height:
            return frame
        if kind in self._only_beside:
            frame = self._without_unwanted(kind, frame)
        names = field_names(kind)
        keys = [pl.concat_str(columns, separator=_PART_END) for columns in self._groups[kind]]
        text = keys[0] if len(keys) == 1 else pl.concat_str([key.fill_null("") for key in keys], separator=_GROUP_END)
        there = pl.any_horizontal(key.is_not_null() for key in keys) & (pl.col("op") == UPSERT)
        held = sum(1 << names.index(one) for columns in self._groups[kind] for one in {*columns})
        frame = frame.with_columns(
            pl.when(there).then(text).alias("parent_kind"),
            (
                pl.col("unavailable")
                | pl.when((pl.col("unavailable") & held) != 0).then(1 << UNAVAILABLE_PARENT_BIT).otherwise(0)
            ).alias("unavailable"),
        )
        return frame.with_columns(self._ids.of(frame["parent_kind"]).alias("parent"))

    def _without_unwanted(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave out the rows that no entry wants, if all is known that decides."""
        names = field_names(kind)
        wanted, deciding = [], 0
        for one in self._beside[kind]:
            asked: dict[str, Sequence[str]] = dict(one.only)
            if one.name is not None:
                asked[one.name] = one.names
            if not asked:
                return frame
            deciding |= sum(1 << names.index(column) for column in asked)
            wanted.append(pl.all_horizontal(_is_in(frame, column, texts) for column, texts in asked.items()))
        leave = ~pl.any_horizontal(wanted) & (pl.col("op") == UPSERT) & ((pl.col("unavailable") & deciding) == 0)
        left_out = frame.select(leave.alias("leave"))["leave"]
        if not left_out.any():
            return frame
        emptied = [name for name in frame.columns if name in names]
        return frame.with_columns(
            pl.when(left_out).then(UNWANTED).otherwise(pl.col("op")).cast(pl.Int8).alias("op"),
            *(pl.when(~left_out).then(pl.col(name)).alias(name) for name in emptied),
        )

    def emit(self, kind: str, folded: RowsFolded, ids: Words, stamp: int) -> T:
        """See rows.stage.RowEmitter."""
        if not kind.startswith("table/"):
            said = self._inner.emit(kind, folded, ids, stamp)
            self.unread = self._inner.unread
            return said
        self.unread = {}
        many = []
        for level, part in self._bases.get(kind, ()):
            many.append(JoinsSaid({level: touches(ids, part, stamp)}))
        if (some := self._beside.get(kind)) is not None and len(folded.at):
            many += self._said_beside(kind, some, folded, ids, stamp)
        if (uses := self._looked_up.get(kind)) is not None and len(folded.at):
            many += self._touched(uses, folded, ids)
        return self._inner.join([]).with_joins(join_joins(many))

    def join(self, many: list[T]) -> T:
        """See rows.stage.RowEmitter."""
        return self._inner.join(many)

    def _touched(self, uses: Sequence[tuple[int, int, RecordPlan]], folded: RowsFolded, ids: Words) -> list[JoinsSaid]:
        """Name the rows that others look up, with digests of what these use."""
        at, of = folded.at[~folded.left], ids[folded.owner[~folded.left]]
        gone = folded.rows.numbers[at, OP] == DELETE
        return [
            JoinsSaid({}, {level: (Touched(use, of, digests_of(plan, folded.rows, at, gone, of, self._ids)),)})
            for level, use, plan in uses
        ]

    def _said_beside(
        self, kind: str, some: Sequence[_Beside], folded: RowsFolded, ids: Words, stamp: int
    ) -> list[JoinsSaid]:
        layout, rows = ROW_LAYOUTS[kind], folded.rows
        speaks = ~folded.left & (rows.numbers[folded.at, OP] != DELETE)
        at, owner = folded.at[speaks], folded.owner[speaks]
        left, of = folded.at[folded.left], folded.owner[folded.left]
        former = _Former(rows, left) if len(left) else None
        many = []
        for one in some:
            keys = [layout.column(column) for column in self._groups[kind][one.group]]
            there = np.logical_and.reduce([rows.has(column, at) for column in keys])
            mine, mine_owner = at[there], owner[there]
            parts = [rows.text(layout.place(column), mine) for column in self._groups[kind][one.group]]
            to = self._ids_of(one.entry, rows.text(layout.place("system"), mine), parts)
            gone = ~_is_wanted(one, rows, mine)
            to_former, of_former = no_ids(0), of[:0]
            if former is not None:
                has, texts = former.keys(one.group, len(self._groups[kind]))
                to_former = self._ids_of(one.entry, rows.text(layout.place("system"), left[has]), [texts])
                of_former = of[has]
                stays = _among(of_former, to_former, mine_owner, to)
                to_former, of_former = to_former[~stays], of_former[~stays]
            body = pack_records(one.plan, rows, mine, gone, ids[mine_owner], one.part, stamp)
            count, none = len(mine) + len(of_former), no_texts(len(mine) + len(of_former))
            ends = np.concatenate((body.starts, np.zeros(len(of_former), dtype=np.int64)))
            stops = np.concatenate((body.stops, np.zeros(len(of_former), dtype=np.int64)))
            contributions = Contributions(
                np.concatenate((to, to_former)), np.concatenate((ids[mine_owner], ids[of_former])),
                np.full(count, stamp), np.full(count, one.part),
                np.concatenate((gone, np.ones(len(of_former), dtype=np.bool_))),
                Texts(ends, stops, body.body), none, none, none, no_ids(count),
            )  # fmt: skip
            if count:
                many.append(JoinsSaid({one.entry.level: contributions}))
        return many

    def _ids_of(self, entry: Assembled, system: Texts, parts: Sequence[Texts]) -> Words:
        """Name the rows of an entry, from their systems and the parts of their keys."""
        entities = coded_texts(np.zeros(len(system.starts), dtype=np.int64), [entry.name])
        cuts, names = join_with([system, entities, *parts], _PART_END.encode())
        found: Words = self._ids.of_joined(names.body, cuts)
        return found


class _Former:
    """Keys of the rows that rows left, as `JoinEmitter.prepare` wrote them."""

    def __init__(self, rows: RowArrays, left: Int64s) -> None:
        self._texts = [text.decode().split(_GROUP_END) for text in rows.text(PARENT_KIND, left).plain()]

    def keys(self, group: int, groups: int) -> tuple[Bools, Texts]:
        """Return which rows have a key of a group, and these keys; a text of another count of groups has none."""
        found = [texts[group] if len(texts) == groups else "" for texts in self._texts]
        has = np.array([bool(text) for text in found], dtype=np.bool_)
        encoded = [text.encode() for text in found if text]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return has, Texts(ends[:-1], ends[1:], np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8))


def _is_in(frame: pl.DataFrame, column: str, texts: Sequence[str]) -> pl.Expr:
    return pl.col(column).cast(pl.String).is_in(list(texts)).fill_null(False)


def _is_wanted(one: _Beside, rows: RowArrays, at: Int64s) -> Bools:
    """Return which rows an entry uses."""
    layout = ROW_LAYOUTS[one.table.kind]
    asked: dict[str, Sequence[str]] = dict(one.only)
    if one.name is not None:
        asked[one.name] = one.names
    wanted = np.ones(len(at), dtype=np.bool_)
    for column, texts in asked.items():
        has = rows.has(layout.column(column), at)
        if layout.is_text[layout.column(column)]:
            wanted &= has & (codes_of(rows.text(layout.place(column), at), texts) >= 0)
        else:
            wanted &= has & np.isin(rows.numbers[at, layout.place(column)], [int(text) for text in texts])
    return wanted


def _among(owner: Int64s, to: Words, others: Int64s, to_others: Words) -> Bools:
    """Return which pairs of an owner and an id are among other pairs."""
    keys = np.concatenate(
        (
            np.column_stack((owner.astype(np.uint64), to)),
            np.column_stack((others.astype(np.uint64), to_others)),
        )
    )
    codes, _ = distinct(keys)
    return np.isin(codes[: len(owner)], codes[len(owner) :])


def touches(ids: Words, part: int, stamp: int) -> Contributions:
    """Name rows that are to be made again; nothing is said of them."""
    rows, none = len(ids), no_texts(len(ids))
    gone = np.ones(rows, dtype=np.bool_)
    return Contributions(
        ids, ids, np.full(rows, stamp), np.full(rows, part), gone, none, none, none, none, no_ids(rows)
    )
