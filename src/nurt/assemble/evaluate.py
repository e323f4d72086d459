"""Make rows out of base rows, rows beside them, and rows that they look up.

What combines rows cannot fail: a result that cannot become its field is null, and is counted as one that could not be
made. So a row depends on its parts as they are now, never on the order in which they came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s
from nurt.mapping.convert import blank_to_null, refused
from nurt.mapping.joins.plan import Assembled, AssemblyPlan, CompiledUse, value_of
from nurt.mapping.plan import IDENTIFIER, KEY_SEPARATOR, KeyText, Step
from nurt.mapping.sql.evaluate import evaluate
from nurt.model.entities import ENTITIES, FieldType
from nurt.model.entity_frame import DELETE, POLARS_TYPES, UPSERT, entity_columns
from nurt.rows.layouts import OP, ROW_LAYOUTS, field_names
from nurt.state.row_major import Layout, RowArrays

CARRIED = (
    *("system", "entity", "key", "source_epoch", "p0", "p1", "p2", "p3"),
    *("partition", "offset", "ts_ms", "moved_to"),
)
"""Columns of a base row that the row which is made has, too: names and positions, for ids and provenance."""

IDENTIFIERS_BIT = 60
"""Bit of what could not be made: some extra identifier, or the parent's key (the next one)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one layout, some of which are looked at.

    Attributes:
        at: which rows; -1: there is none.
    """

    layout: Layout
    rows: RowArrays
    at: Int64s

    def column(self, name: str) -> pl.Series:
        """Give a stored column; null where there is no row."""
        index, place = self.layout.column(name), self.layout.place(name)
        valid = (self.at >= 0) & self.rows.has(index, self.at) if len(self.rows) else np.zeros(len(self.at), np.bool_)
        if not len(self.rows):
            dtype = self.layout.table.columns[name]
            return pl.Series(name, [None] * len(self.at), dtype=dtype)
        if not self.layout.is_text[index]:
            series = pl.Series(name, self.rows.numbers[self.at, place])
            return series if valid.all() else series.set(pl.Series(~valid), None)
        texts = self.rows.text(place, np.where(valid, self.at, 0)).column(valid)
        if self.layout.table.is_id[index]:
            texts = texts.view(pa.binary_view())
        return pl.Series(name, texts)


@dataclass(frozen=True, slots=True)
class MadeRows:
    """Rows that were made: a frame with the columns of their kind's stored rows, and bits of what could not be made."""

    frame: pl.DataFrame
    unmade: Int64s


class Maker:
    """What makes the rows of one entry.

    Args:
        zones: time zone of each system.
    """

    def __init__(self, entry: Assembled, zones: Mapping[str, str], ids: Ids) -> None:
        self._entry, self._zones, self._ids = entry, zones, ids
        self._names = field_names(entry.kind)
        types = entity_columns(entry.kind)
        self._columns = {name: types[name] for name in (*self._names, "moved_from")}

    def frame(self, base: Rows, others: Mapping[str, Rows], types: Mapping[str, tuple[str, FieldType]]) -> pl.DataFrame:
        """Put together what expressions read.

        Args:
            base: base rows.
            others: by column `<use>.<column>`: the rows that it is read of.
            types: by such a column: the stored column, and its type.
        """
        entry = self._entry
        columns = [base.column("system").alias("#system")]
        exprs = []
        for name in entry.own:
            columns.append(base.column(entry.base.slots[name]).alias(name))
            exprs.append(value_of(entry.base.types[name], pl.col(name)).alias(name))
        for name, rows in others.items():
            stored, field_type = types[name]
            columns.append(rows.column(stored).alias(name))
            exprs.append(value_of(field_type, pl.col(name)).alias(name))
        return pl.DataFrame(columns).select_seq(pl.col("#system"), *exprs)

    def more(
        self, frame: pl.DataFrame, others: Mapping[str, Rows], types: Mapping[str, tuple[str, FieldType]]
    ) -> pl.DataFrame:
        """Add what expressions read of rows that are looked up."""
        columns = [rows.column(types[name][0]).alias(name) for name, rows in others.items()]
        values = pl.DataFrame(columns).select_seq(value_of(types[name][1], pl.col(name)).alias(name) for name in others)
        return frame.hstack(values)

    def targets(self, use: CompiledUse, frame: pl.DataFrame) -> pl.Series:
        """Give the ids of the rows that a use looks up; null where there is no key."""

        def of_zone(part: pl.DataFrame, plan: AssemblyPlan) -> pl.DataFrame:
            return pl.DataFrame([_key(plan.by[use.name], part)[0].alias("key")])

        key = self._by_zone(frame, of_zone)["key"]
        system = frame["#system"] if use.system is None else pl.Series([use.system]).new_from_index(0, frame.height)
        names = pl.select(pl.concat_str(system, pl.lit(use.tables[0].name), key, separator=KEY_SEPARATOR))
        return self._ids.of(names.to_series())

    def make(self, base: Rows, frame: pl.DataFrame) -> MadeRows:
        """Make rows; where `where` is not true, or the base row is gone, a row is a delete."""
        living = (base.rows.numbers[base.at, OP] != DELETE) if len(base.rows) else np.zeros(len(base.at), np.bool_)
        made = self._by_zone(frame, self._made)
        living &= made["#holds"].to_numpy()
        unmade = np.where(living, made["#unmade"].to_numpy(), 0)
        dead = pl.Series(~living)
        columns = [base.column(name) for name in CARRIED]
        columns.append(pl.Series("op", np.where(living, UPSERT, DELETE).astype(np.int8)))
        columns.append(pl.Series("unavailable", np.zeros(len(living), dtype=np.int64)))
        every = {column.name: column for column in made.drop("#holds", "#unmade").get_columns()}
        every |= {self._column(name): self._copied(name, base) for name in self._entry.copied}
        for name, column in every.items():
            columns.append(column.alias(name) if living.all() else column.set(dead, None).alias(name))
        missing = {name: dtype for name, dtype in self._columns.items() if name not in every}
        empty = pl.DataFrame(schema=missing).clear(len(living)).get_columns()
        return MadeRows(pl.DataFrame([*columns, *empty]), unmade)

    def _copied(self, name: str, base: Rows) -> pl.Series:
        source = self._entry.copied[name]
        column = base.column(self._entry.base.slots[source])
        kind = self._entry.kind
        is_bool = not kind.startswith("table/") and ENTITIES[kind].fields[name] is FieldType.BOOL
        return column.cast(pl.Boolean) if is_bool else column

    def _by_zone(self, frame: pl.DataFrame, of_zone) -> pl.DataFrame:  # type: ignore[no-untyped-def]
        """Evaluate rows by the time zones of their systems; mostly there is one."""
        systems = frame["#system"]
        zones = {self._zones.get(system, "UTC") for system in systems.unique().to_list()}
        if len(zones) <= 1:
            return of_zone(frame, self._entry.plan(next(iter(zones), "UTC")))
        row_zones = systems.replace_strict(dict(self._zones), default="UTC", return_dtype=pl.String)
        parts = []
        for zone in sorted(zones):
            chosen = (row_zones == zone).arg_true()
            part = of_zone(frame[chosen], self._entry.plan(zone))
            parts.append(part.with_columns(chosen.alias("#place")))
        return pl.concat(parts).sort("#place").drop("#place")

    def _made(self, frame: pl.DataFrame, plan: AssemblyPlan) -> pl.DataFrame:
        unmade = np.zeros(frame.height, dtype=np.int64)
        holds = pl.Series("#holds", np.ones(frame.height, dtype=np.bool_))
        if plan.where is not None:
            found, lost = _values((plan.where,), frame)
            holds = found[plan.where.name].fill_null(False).alias("#holds")
            unmade |= np.where(lost[plan.where.name], np.int64(1) << np.int64(62), 0)
        values, failed = _values(plan.steps, frame)
        target = self._entry.result
        columns: list[pl.Series] = []
        for step in plan.steps:
            is_extra = step.name.startswith(IDENTIFIER)
            bit = IDENTIFIERS_BIT if is_extra else self._bit(step.name)
            unmade |= np.where(failed[step.name], np.int64(1) << np.int64(bit), 0)
            if not is_extra:
                value = values[step.name]
                columns.append(value if target is None else _stored(value).alias(self._column(step.name)))
        extras = {step.name: values[step.name] for step in plan.steps if step.name.startswith(IDENTIFIER)}
        if extras:
            columns.append(_pairs(extras).alias("identifiers"))
        columns += self._parent(plan, frame, unmade)
        return pl.DataFrame([*columns, holds, pl.Series("#unmade", unmade)])

    def _bit(self, field: str) -> int:
        return self._names.index(self._column(field))

    def _column(self, field: str) -> str:
        """Name the column of what is made that holds a field."""
        return field if self._entry.result is None else self._entry.result.slots[field]

    def _parent(self, plan: AssemblyPlan, frame: pl.DataFrame, unmade: Int64s) -> list[pl.Series]:
        """Choose for each row the first parent whose key is not null."""
        if not plan.parents:
            return [
                pl.Series(name, [None] * frame.height, dtype=dtype)
                for name, dtype in (
                    ("parent_kind", pl.String()),
                    ("parent", pl.Binary()),
                    ("parent_entity", pl.String()),
                    ("parent_key", pl.String()),
                )
            ]
        found = []
        for parent, text in plan.parents:
            key, failed = _key(text, frame)
            unmade |= np.where(failed, np.int64(1) << np.int64(IDENTIFIERS_BIT + 1), 0)
            found.append((parent, key))
        whole = pl.DataFrame(
            [frame["#system"].alias("system"), *(key.alias(f"key {at}") for at, (_, key) in enumerate(found))]
        )
        chosen = [
            pl.when(pl.col(f"key {at}").is_not_null()).then(pl.lit(text))
            for texts in ([parent.kind for parent, _ in found], [parent.name for parent, _ in found])
            for at, text in enumerate(texts)
        ]
        many = len(found)
        out = whole.select(
            pl.coalesce(chosen[:many]).alias("parent_kind"),
            pl.coalesce(chosen[many:]).alias("parent_entity"),
            pl.coalesce(f"key {at}" for at in range(many)).alias("parent_key"),
            "system",
        )
        names = out.select(pl.concat_str("system", "parent_entity", "parent_key", separator=KEY_SEPARATOR))
        ids = self._ids.of(names.to_series()).alias("parent")
        return [out["parent_kind"], ids, out["parent_entity"], out["parent_key"]]


def _key(text: KeyText, frame: pl.DataFrame) -> tuple[pl.Series, Bools]:
    """Write keys as text; null where a part is null, blank, failed or no key; says where it failed."""
    columns, failed = evaluate(frame, text.parts)
    blank_to_null(columns)
    parts = pl.DataFrame(list(columns.values()))
    found = parts.select_seq(text.text)["key"]
    bad = np.zeros(frame.height, dtype=np.bool_)
    for guilty in failed.values():
        bad[guilty] = True
    if text.refused is not None:
        bad |= parts.select(text.refused.alias("bad"))["bad"].to_numpy()
    return found.set(pl.Series(bad), None) if bad.any() else found, bad


def _values(steps: Sequence[Step], rows: pl.DataFrame) -> tuple[dict[str, pl.Series], dict[str, Bools]]:
    """Evaluate and convert steps; return their values, and where a value could not be made, which is null there."""
    if not steps:
        return {}, {}
    results, failed = evaluate(rows, [step.wanted for step in steps])
    values = dict(results)
    exprs = {step.name: step.value for step in steps if step.value is not None}
    if exprs:
        converted = pl.DataFrame([results[name] for name in exprs]).select_seq(exprs.values())
        values.update((name, converted[name]) for name in exprs)
    blank_to_null(values)
    lost = {step.name: np.zeros(rows.height, dtype=np.bool_) for step in steps}
    for step in steps:
        lost[step.name][failed.get(step.name, [])] = True
        if step.value is not None and (bad := refused(results[step.name], values[step.name])) is not None:
            lost[step.name] |= bad.to_numpy()
    return values, lost


def _stored(series: pl.Series) -> pl.Series:
    """Turn a field into a column of a table: a text, or a whole number."""
    return series if series.dtype == POLARS_TYPES[FieldType.STR] else series.cast(pl.Int64)


def _pairs(columns: Mapping[str, pl.Series]) -> pl.Series:
    """Join extra identifiers as the translator does: `kind U+001F value` pairs, joined by U+001E."""
    parts = [
        pl.concat_str(pl.lit(name.split(" ", 2)[2]), series.str.replace_all("[\x1e\x1f]", ""), separator=KEY_SEPARATOR)
        for name, series in columns.items()
    ]
    joined = pl.concat_str(parts, separator="\x1e", ignore_nulls=True)
    return pl.select(pl.when(joined.str.len_bytes() > 0).then(joined)).to_series()


assert all(name in ROW_LAYOUTS["order"] for name in CARRIED), "a made row is stored as any row of its kind"
