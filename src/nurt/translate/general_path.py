"""Map rows of source tables to rows of canonical entities, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s
from nurt.mapping.convert import blank_to_null, refused
from nurt.mapping.plan import IDENTIFIER, KEY_SEPARATOR, KeyText, Plan, Step, described, plan_for, title
from nurt.mapping.sql.evaluate import evaluate
from nurt.mapping.types import TopicMapping
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import (
    DELETE,
    LEFT_OUT,
    LEFT_OUT_ABSENT,
    UNAVAILABLE_PARENT_BIT,
    UPSERT,
    entity_columns,
)
from nurt.model.refusal import Reason

PAIR_SEPARATOR = "\x1e"
"""Separator of pairs in the column `identifiers`; U+001F stands between kind and value."""

BROKEN_SHOWN_MAX = 3
"""How many faults of a schema one detail names."""

METADATA = ("snapshot", "source_epoch", "p0", "p1", "p2", "p3", "partition", "offset", "ts_ms", "topic")
"""Metadata columns that pass through unchanged; the column `op` may change."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be mapped; `detail` names columns and types, never values."""

    row: int  # its place among the input rows, from 0
    reason: Reason
    detail: str


def map_rows(
    topic: TopicMapping,
    metadata: pl.DataFrame,
    columns: pl.DataFrame,
    ids: Ids,
    unavailable: Mapping[str, pl.Series] | None = None,
    moved: pl.DataFrame | None = None,
    moved_from: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, list[Problem]]:
    """Map changes of one table, in arrival order; return the entity's frame and the refused rows.

    `metadata` has `op` and the columns of `METADATA`. `columns` has the source's columns under their own names:
    key columns are set on every row, other columns hold anything where `op` is a delete. `unavailable` says by
    column (Boolean, no nulls) where the connector left out an existing value. `moved` has the key columns of the
    row that a delete became, in the types of `columns`, and null elsewhere; `moved_from` has those of the row that an
    upsert was. All have one height.

    The frame has `entity_columns(topic.kind)` and one row for each row that is not refused. Where `where` is not true,
    the row is a delete, LEFT_OUT. A delete has no parent and no fields.
    """
    return _Batch(topic, metadata, columns, ids, unavailable or {}).mapped(moved, moved_from)


class _Batch:
    """Rows of one call, and their results so far."""

    def __init__(
        self,
        topic: TopicMapping,
        metadata: pl.DataFrame,
        columns: pl.DataFrame,
        ids: Ids,
        unavailable: Mapping[str, pl.Series],
    ) -> None:
        self.topic, self.metadata, self.ids = topic, metadata, ids
        self.plan: Plan = plan_for(topic, tuple(columns.schema.items()))
        self.columns = columns
        if self.plan.stand_ins:
            self.columns = columns.with_columns(
                pl.lit(None, dtype).alias(name) for name, dtype in self.plan.stand_ins.items()
            )
        self.unavailable = {name: flags.to_numpy() for name, flags in unavailable.items() if flags.any()}
        self.height = metadata.height
        self.problems: dict[int, Problem] = {}
        self._moved: pl.DataFrame | None = None
        self._moved_from: pl.DataFrame | None = None

    def mapped(
        self, moved: pl.DataFrame | None, moved_from: pl.DataFrame | None = None
    ) -> tuple[pl.DataFrame, list[Problem]]:
        plan, topic = self.plan, self.topic
        self._moved, self._moved_from = moved, moved_from
        everyone = np.arange(self.height)
        if plan.key is None or plan.broken_key is not None:
            self._refuse_all(everyone, Reason.MAPPING_FAILED, plan.broken_key or "key")
            return self._frame(everyone[:0], {}), self._sorted()
        deleted = (self.metadata["op"] == DELETE).to_numpy().copy()
        key = self._key("key", plan.key, self.columns, everyone)
        self._refuse_all(np.flatnonzero(key.is_null().to_numpy()), Reason.NO_KEY, f"key: {', '.join(plan.key.columns)}")
        if plan.broken:
            self._refuse_all(np.flatnonzero(~deleted), Reason.MAPPING_FAILED, "; ".join(plan.broken[:BROKEN_SHOWN_MAX]))
            return self._finish(key, np.ones(self.height, dtype=np.bool_), deleted, [], {})
        sent_as_delete = deleted.copy()
        self._apply_where(deleted)
        live = np.flatnonzero(~deleted & self._fine())
        rows = self._rows(live)
        parents = [
            self._key(f"parent {p.name}", text, rows, live) for p, text in zip(topic.parents, plan.parents, strict=True)
        ]
        values = self._values(plan.steps, rows, live)
        gone = np.ones(self.height, dtype=np.bool_)
        gone[live] = False
        return self._finish(key, gone, sent_as_delete, parents, values)

    def _finish(
        self,
        key: pl.Series,
        gone: Bools,
        sent_as_delete: Bools,
        parents: list[pl.Series],
        values: dict[str, pl.Series],
    ) -> tuple[pl.DataFrame, list[Problem]]:
        """Put rows together again; `parents` and `values` have a row for each row that is not `gone`."""
        assert self.plan.key is not None, "rows without a key have been refused"
        live = np.flatnonzero(~gone)
        made: dict[str, pl.Series] = {
            "row": self._ids(self.plan.key, key),
            "key": key,
            "op": pl.Series(np.where(gone, np.where(sent_as_delete, DELETE, self._left_out()), UPSERT).astype(np.int8)),
            "unavailable": pl.Series(self._unavailable_bits(live)),
        }
        if self._moved is not None:
            target = self._key("key", self.plan.key, self._moved, np.arange(0))
            made["moved_to"] = self._ids(self.plan.key, target.set(pl.Series(~sent_as_delete), None))
        if self._moved_from is not None:
            source = self._key("key", self.plan.key, self._moved_from, np.arange(0))
            made["moved_from"] = self._ids(self.plan.key, source.set(pl.Series(sent_as_delete), None))
        spread = None
        if len(live) < self.height:
            place = np.cumsum(~gone) - 1
            spread = pl.Series(place).set(pl.Series(gone), None)
        for name, series in {**self._parent(parents), **values}.items():
            made[name] = series if spread is None else _gather(series, spread)
        fine = np.flatnonzero(self._fine())
        return self._frame(fine, made), self._sorted()

    def _apply_where(self, deleted: Bools) -> None:
        """Mark upserts with a false `where` as deletes."""
        where = self.plan.where
        if where is None:
            return
        upserts = np.flatnonzero(~deleted & self._fine())
        for name in where.columns & set(self.unavailable):
            hidden = upserts[self.unavailable[name][upserts]]
            self._refuse_all(hidden, Reason.MAPPING_FAILED, f"where: column {name} came without its value")
        holds = self._values((where,), self._rows(upserts), upserts)[where.name]
        deleted[upserts] = ~holds.fill_null(False).to_numpy()

    def _left_out(self) -> int:
        """Return the `op` of rows that `where` leaves out."""
        where = self.plan.where
        return LEFT_OUT if where is None or where.columns.isdisjoint(self.plan.stand_ins) else LEFT_OUT_ABSENT

    def _values(self, steps: tuple[Step, ...], rows: pl.DataFrame, at: Int64s) -> dict[str, pl.Series]:
        """Evaluate and convert `steps` over `rows`, at the places `at` of the batch."""
        if not steps:
            return {}
        results, failed = evaluate(rows, [step.wanted for step in steps])
        values = dict(results)
        exprs = {step.name: step.value for step in steps if step.value is not None}
        if exprs:
            converted = pl.DataFrame([results[name] for name in exprs]).select_seq(exprs.values())
            values.update((name, converted[name]) for name in exprs)
        blank_to_null(values)
        for step in steps:
            hidden = self._hidden(step.columns, at)
            for row in failed.get(step.name, []):
                if hidden is None or not hidden[row]:
                    detail = f"{title(step)}: the expression failed over {described(step.columns, rows)}"
                    self._refuse(int(at[row]), Reason.MAPPING_FAILED, detail)
            if step.value is not None and (lost := refused(results[step.name], values[step.name])) is not None:
                bad = lost.to_numpy() if hidden is None else lost.to_numpy() & ~hidden
                detail = f"{title(step)}: {step.convert.detail}, from {described(step.columns, rows)}"
                self._refuse_all(at[bad], step.convert.reason, detail)
            if hidden is not None:
                values[step.name] = values[step.name].set(pl.Series(hidden), None)
        return values

    def _key(self, what: str, text: KeyText, rows: pl.DataFrame, at: Int64s) -> pl.Series:
        """Write keys as text; a part that is no key refuses its row, if `at` is given."""
        columns, failed = evaluate(rows, text.parts)
        parts = pl.DataFrame(list(columns.values()))
        found = parts.select_seq(text.text)["key"]
        if not len(at):
            return found
        for guilty in failed.values():
            detail = f"{what}: the expression failed over {described(text.columns, rows)}"
            self._refuse_all(at[guilty], Reason.MAPPING_FAILED, detail)
        if text.refused is not None:
            bad = parts.select(text.refused.alias("bad"))["bad"].to_numpy()
            self._refuse_all(at[bad], Reason.WRONG_TYPE, f"{what}: no key in {described(text.columns, rows)}")
        return found

    def _parent(self, keys: list[pl.Series]) -> dict[str, pl.Series]:
        """Choose for each row the first parent whose key is not null."""
        if not keys:
            return {}
        choices = zip(self.topic.parents, self.plan.parents, keys, strict=True)
        made = [
            {
                "parent_key": key,
                "parent_entity": _where_not_null(key, parent.name),
                "parent_kind": _where_not_null(key, parent.told_kind),
                "parent": self._ids(text, key),
            }
            for parent, text, key in choices
        ]
        if len(made) == 1:
            return made[0]
        return {name: pl.select(pl.coalesce([each[name] for each in made])).to_series() for name in made[0]}

    def _unavailable_bits(self, live: Int64s) -> Int64s:
        """Return bits of the fields, and of the parent, that came without their value."""
        hidden_bits = np.zeros(self.height, dtype=np.int64)
        if not self.unavailable:
            return hidden_bits
        bits = {name: bit for bit, name in enumerate(ENTITIES[self.topic.kind].fields)}
        for step in self.plan.steps:
            hidden = self._hidden(step.columns, live)
            if hidden is not None:
                bit = len(bits) if step.name.startswith(IDENTIFIER) else bits[step.name]
                hidden_bits[live[hidden]] |= np.int64(1 << bit)
        for parent in self.plan.parents:
            hidden = self._hidden(frozenset(parent.columns), live)
            if hidden is not None:
                hidden_bits[live[hidden]] |= np.int64(1 << UNAVAILABLE_PARENT_BIT)
        return hidden_bits

    def _hidden(self, columns: frozenset[str], at: Int64s) -> Bools | None:
        """Return the rows where a column came without its value; None: nowhere."""
        flags = [self.unavailable[name][at] for name in columns if name in self.unavailable]
        return np.logical_or.reduce(flags) if flags else None

    def _ids(self, text: KeyText, keys: pl.Series) -> pl.Series:
        return self.ids.of(keys.to_frame("key").select_seq(text.id_text).to_series())

    def _rows(self, at: Int64s) -> pl.DataFrame:
        return self.columns if len(at) == self.height else self.columns[at]

    def _frame(self, fine: Int64s, made: dict[str, pl.Series]) -> pl.DataFrame:
        """Assemble the entity's columns; extra identifiers become pairs in one text."""
        constants = {"system": self.topic.system.name, "entity": self.topic.name}
        extras = [name for name in made if name.startswith(IDENTIFIER)]
        if extras:
            made["identifiers"] = _pairs({name: made[name] for name in extras})
        series: list[pl.Series] = []
        for name, dtype in entity_columns(self.topic.kind).items():
            if name in made:
                series.append(made[name].alias(name))
            elif name in METADATA:
                series.append(self.metadata[name].cast(dtype))
            else:
                constant = pl.Series(name, [constants.get(name)], dtype=dtype)
                series.append(constant.new_from_index(0, self.height))
        frame = pl.DataFrame(series)
        return frame if len(fine) == self.height else frame[fine]

    def _refuse(self, row: int, reason: Reason, detail: str) -> None:
        self.problems.setdefault(row, Problem(row, reason, detail))

    def _refuse_all(self, rows: Int64s, reason: Reason, detail: str) -> None:
        for row in rows.tolist():
            self._refuse(row, reason, detail)

    def _fine(self) -> Bools:
        fine = np.ones(self.height, dtype=np.bool_)
        if self.problems:
            fine[list(self.problems)] = False
        return fine

    def _sorted(self) -> list[Problem]:
        return [self.problems[row] for row in sorted(self.problems)]


def _gather(series: pl.Series, places: pl.Series) -> pl.Series:
    """Take values by place, null where the place is null."""
    if not len(series):
        return pl.Series(series.name, [None] * len(places), dtype=series.dtype)
    return pl.select(pl.lit(series).gather(places)).to_series()


def _where_not_null(keys: pl.Series, text: str) -> pl.Series:
    """Repeat a text, null where the key is null."""
    texts = pl.Series([text]).new_from_index(0, len(keys))
    return texts.set(keys.is_null(), None) if keys.null_count() else texts


def _pairs(columns: dict[str, pl.Series]) -> pl.Series:
    """Join `kind U+001F value` pairs by U+001E, null where there is no pair; values lose these two characters."""
    parts = [
        pl.concat_str(pl.lit(name.split(" ", 2)[2]), series.str.replace_all("[\x1e\x1f]", ""), separator=KEY_SEPARATOR)
        for name, series in columns.items()
    ]
    joined = pl.concat_str(parts, separator=PAIR_SEPARATOR, ignore_nulls=True)
    return pl.select(pl.when(joined.str.len_bytes() > 0).then(joined)).to_series()
