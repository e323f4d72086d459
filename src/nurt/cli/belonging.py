"""Say, for `nurt check`, which rows name a parent that is not there, and which name none where one is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from nurt.columnar.ids import Ids
from nurt.mapping.load import Mapping, Parent, TopicMapping
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import UPSERT, EntityFrame, Translated, entity_title
from nurt.model.references import BETWEEN, Referred, token_prefix

ROWS_BETWEEN = 500_000
"""Rows of a table after which earlier events of the same rows are dropped."""
NOBODY = ("0", "-1", "")
"""Keys by which some databases mean nobody."""


@dataclass(frozen=True, slots=True)
class Zero:
    """Key that may mean nobody.

    Attributes:
        rows: how many name it.
        remedy: what to write in the mapping then.
    """

    key: str
    rows: int
    remedy: str


@dataclass(frozen=True, slots=True)
class Children:
    """Rows of one table that name one parent table; or, without a parent, those that nobody owns.

    Attributes:
        rows: of the table.
        missing: how many name a row that is not there.
        several: how many name several rows by a field, and the mapping does not say which is meant.
        nobodys: how many name none, where one is needed.
        is_sure: all rows of both tables were read.
    """

    system: str
    child: str
    parent: str
    rows: int
    missing: int
    nobodys: int
    is_sure: bool
    zeros: tuple[Zero, ...] = ()
    several: int = 0

    @property
    def article(self) -> str:
        """Give the word before the parent's name."""
        return "an" if self.parent[:1] in "aeiou" else "a"


@dataclass(frozen=True, slots=True)
class Belonging:
    """Tables with rows that find no parent, as far as messages were read.

    Attributes:
        is_cut: there were more messages of topics that take part.
    """

    children: tuple[Children, ...]
    is_cut: bool


class NamedParents:
    """Rows of all tables by their newest event, and the parents that they name."""

    def __init__(self, referred: Referred, ids: Ids) -> None:
        self._referred, self._ids = referred, ids
        self._chunks: dict[tuple[str, str, str], list[pl.DataFrame]] = {}  # by kind, system, entity
        self._heights: dict[tuple[str, str, str], int] = {}
        self._topics: dict[tuple[str, str], set[str]] = {}  # by system, entity

    def add(self, done: Translated) -> None:
        """Take translated messages, in the order of their topic."""
        for one in done.entities:
            table = one.kind, one.frame["system"][0], one.frame["entity"][0]
            chunks = self._chunks.setdefault(table, [])
            chunks.append(_named(one).hstack(self._tokens(one)))
            self._topics.setdefault(table[1:], set()).add(one.topic)
            self._heights[table] = self._heights.get(table, 0) + one.frame.height
            if self._heights[table] > 2 * chunks[0].height + ROWS_BETWEEN:
                chunks[:] = [_newest(chunks)]
                self._heights[table] = chunks[0].height

    def judged(self, mapping: Mapping, cut: set[str]) -> Belonging:
        """Compare.

        Args:
            mapping: says how parents are written.
            cut: topics of which more messages were there.
        """
        alive = {table: _newest(some).filter("alive") for table, some in self._chunks.items()}
        ids = {table[1:]: rows.select("row") for table, rows in alive.items()}
        partly = {table for table, topics in self._topics.items() if topics & cut}
        found: list[Children] = []
        is_cut = False
        for (kind, system, entity), rows in sorted(alive.items(), key=lambda one: one[0]):
            title = entity_title(kind, entity)
            if nobodys := int((rows["nobodys"]).sum()):
                found.append(Children(system, title, "", rows.height, 0, nobodys, True))
            parents = rows.drop_nulls("parent").group_by("parent_entity", "parent_kind", maintain_order=True)
            for (parent, parent_kind), some in parents:
                place, field = (system, str(parent)), str(parent_kind).partition(BETWEEN)[2]
                bearers = [one[_token(field)] for table, one in alive.items() if field and table[1:] == place]
                known = bearers[0].drop_nulls().to_frame("row") if bearers else ids.get(place)
                missing = some if known is None else some.join(known, left_on="parent", right_on="row", how="anti")
                several = 0
                if field and known is not None and not self._referred.get(str(parent), {}).get(field):
                    several = some.join(
                        known.filter(pl.col("row").is_duplicated()), left_on="parent", right_on="row", how="semi"
                    ).height
                tables = {(system, entity), place}
                is_cut |= bool(tables & partly)
                zeros = () if field else tuple(_zeros(mapping, system, entity, str(parent), missing))
                # a parent beyond the sample is no finding, but a key that may mean nobody is a hint
                if several or (missing.height and (zeros or place not in partly)):
                    sure = not tables & partly
                    name = f"{parent} by {field}" if field else str(parent)
                    lost = missing.height if place not in partly or zeros else 0
                    found.append(Children(system, title, name, rows.height, lost, 0, sure, zeros, several))
        return Belonging(tuple(found), is_cut)

    def _tokens(self, one: EntityFrame) -> list[pl.Series]:
        """Name rows by the fields that others name them by."""
        fields = self._referred.get(one.frame["entity"][0], {})
        found = []
        for field in fields if one.kind == "order" else ():
            prefix = token_prefix(one.frame["system"][0], one.frame["entity"][0], field)
            texts = one.frame.select(pl.concat_str(pl.lit(prefix), pl.col(field)).alias(_token(field))).to_series()
            found.append(self._ids.of(texts))
        return found


def _token(field: str) -> str:
    return f"token {field}"


def _named(one: EntityFrame) -> pl.DataFrame:
    nobodys = pl.lit(False)
    if ENTITIES[one.kind].parent_required:
        nobodys = (pl.col("op") == UPSERT) & pl.col("parent").is_null()
        if "identifiers" in one.frame.columns:
            nobodys &= pl.col("identifiers").is_null()
    return one.frame.select(
        "row",
        (pl.col("op") == UPSERT).alias("alive"),
        "parent",
        "parent_entity",
        "parent_kind",
        nobodys.alias("nobodys"),
        pl.when(pl.col("parent_key").is_in(NOBODY)).then("parent_key").alias("zero"),
    )


def _newest(chunks: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(chunks).unique("row", keep="last", maintain_order=True)


def _zeros(mapping: Mapping, system: str, entity: str, parent: str, missing: pl.DataFrame) -> Iterator[Zero]:
    """Yield keys among the missing ones that may mean nobody."""
    counted = missing.drop_nulls("zero").group_by("zero").len().sort("zero")
    for key, rows in counted.rows() if counted.height else ():
        for one in _parents(mapping, system, entity):
            if one.name == parent and len(one.reference.parts) == 1:
                nobody = key or "''"
                yield Zero(key, rows, f"{{sql: 'NULLIF({one.reference.parts[0].text}, {nobody})'}}")
                break


def _parents(mapping: Mapping, system: str, entity: str) -> Iterator[Parent]:
    """Yield how the parents of an entity are written."""
    for rule in mapping.topics:
        for item in rule.mapping.items:
            if item.name == entity and _is_of(rule.system, system, item):
                yield from item.parents


def _is_of(written: str, system: str, item: TopicMapping) -> bool:
    """Say whether an entry may be of a system: it names it, or its name has groups."""
    return written == system or "{" in written
