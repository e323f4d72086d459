"""Say, for `nurt check`, which rows that are put together find each other, as far as messages were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from nurt.cli.belonging import ROWS_BETWEEN
from nurt.mapping.joins.plan import Assembled, CompiledUse, Joins, StoredTable, value_of
from nurt.mapping.plan import KEY_SEPARATOR
from nurt.mapping.sql.evaluate import evaluate
from nurt.model.entity_frame import UPSERT, Translated

NAMES_SHOWN = 5
"""How many attribute names that nobody maps are shown of one use."""


@dataclass(frozen=True, slots=True)
class Partners:
    """Rows of an entry, and how many found a row under one name of `with`.

    Attributes:
        rows: of the entry.
        found: how many have a row there.
        unmapped: attribute names that nobody maps, with rows that have them, the most frequent first.
        absent: attribute names that expressions use and no row has.
        is_sure: all messages of the tables were read.
    """

    entry: str
    name: str
    rows: int
    found: int
    unmapped: tuple[tuple[str, int], ...]
    absent: tuple[str, ...]
    is_sure: bool


class JoinedRows:
    """Rows of tables and of entries with `with` by their newest event, with the columns that join them."""

    def __init__(self, joins: Joins) -> None:
        self._joins = joins
        self._chunks: dict[str, list[pl.DataFrame]] = {}  # by kind
        self._heights: dict[str, int] = {}
        self._topics: dict[str, set[str]] = {}

    def add(self, done: Translated) -> None:
        """Take translated messages, in the order of their topic."""
        for one in done.entities:
            if not self._joins.levels or one.kind not in self._joins.tables:
                continue
            slots = [*self._joins.tables[one.kind].slots.values()]
            chunks = self._chunks.setdefault(one.kind, [])
            chunks.append(one.frame.select("row", "system", "key", (pl.col("op") == UPSERT).alias("alive"), *slots))
            self._topics.setdefault(one.kind, set()).add(one.topic)
            self._heights[one.kind] = self._heights.get(one.kind, 0) + one.frame.height
            if self._heights[one.kind] > 2 * chunks[0].height + ROWS_BETWEEN:
                chunks[:] = [_newest(chunks)]
                self._heights[one.kind] = chunks[0].height

    def judged(self, cut: set[str]) -> list[Partners]:
        """Compare; uses of what is itself put together are left out, for it is not made here.

        Args:
            cut: topics of which more messages were there.
        """
        rows = {kind: _newest(some).filter("alive") for kind, some in self._chunks.items()}
        found = []
        for entry in (one for level in self._joins.levels for one in level):
            for use in entry.uses:
                kinds = [entry.base.kind, *(table.kind for table in use.tables)]
                if all(kind in rows for kind in kinds):
                    sure = not any(self._topics[kind] & cut for kind in kinds)
                    one = _beside(entry, use, rows, sure) if use.on else _looked_up(entry, use, rows, sure)
                    found += [one] if one is not None else []
        return found


def _newest(chunks: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(chunks).unique("row", keep="last", maintain_order=True)


def _title(entry: Assembled) -> str:
    return f"{entry.name} of {entry.base.system}"


def _beside(entry: Assembled, use: CompiledUse, rows: dict[str, pl.DataFrame], sure: bool) -> Partners:
    bases = rows[entry.base.kind]
    sides = pl.concat([_side(use, table, rows[table.kind]) for table in use.tables])
    unmapped: tuple[tuple[str, int], ...] = ()
    absent: tuple[str, ...] = ()
    if use.pivot is not None:
        known = set(sides["name"].drop_nulls().unique().to_list())
        absent = tuple(name for name in use.columns if name not in known)
        others = sides.drop_nulls("name").filter(~pl.col("name").is_in(list(use.columns)))
        counted = others.group_by("name").len().sort(["len", "name"], descending=[True, False]).head(NAMES_SHOWN)
        unmapped = tuple((str(name), int(count)) for name, count in counted.rows())
        sides = sides.filter(pl.col("name").is_in(list(use.columns)))
    found = bases.join(sides, left_on=["system", "key"], right_on=["system", "on"], how="semi").height
    return Partners(_title(entry), use.name, bases.height, found, unmapped, absent, sure)


def _side(use: CompiledUse, table: StoredTable, rows: pl.DataFrame) -> pl.DataFrame:
    """Give the rows of a side that count: whose they are, and the attribute's name."""
    for field, texts in use.only.items():
        slot = table.slots[field]
        value = value_of(table.types[field], pl.col(slot)).cast(pl.String)
        rows = rows.filter(value.is_in(list(texts)))
    name = pl.lit(None, pl.String) if use.pivot is None else pl.col(table.slots[use.pivot[0]])
    on = pl.concat_str([table.slots[field] for field in use.on], separator=KEY_SEPARATOR)
    return rows.select("system", on.alias("on"), name.alias("name"))


def _looked_up(entry: Assembled, use: CompiledUse, rows: dict[str, pl.DataFrame], sure: bool) -> Partners | None:
    """Compare keys that the own row says; None: rows beside it say them."""
    text = entry.plan("UTC").by[use.name]
    if not set(text.columns) <= set(entry.own):
        return None
    base, bases = entry.base, rows[entry.base.kind]
    frame = bases.select(value_of(base.types[name], pl.col(base.slots[name])).alias(name) for name in text.columns)
    parts, _ = evaluate(frame, text.parts)
    keys = pl.DataFrame(list(parts.values())).select_seq(text.text)["key"]
    system = bases["system"] if use.system is None else pl.Series([use.system]).new_from_index(0, len(keys))
    named = pl.DataFrame({"system": system, "key": keys}).drop_nulls()
    there = named.join(rows[use.tables[0].kind], on=["system", "key"], how="semi").height
    return Partners(_title(entry), use.name, named.height, there, (), (), sure)
