"""Name changed rows: put the keys of messages into the columns of changes whose row lacks its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from nurt.columnar.types import Bools, Int64s
from nurt.debezium.change_reader import ChangeReader
from nurt.debezium.envelope import Form
from nurt.debezium.message_keys import KeyReader, as_type, take
from nurt.debezium.positions import Family
from nurt.debezium.translation_batch import TranslationBatch


def put_keys(
    keys_of: KeyReader,
    batch: TranslationBatch,
    reader: ChangeReader | None,
    rows: Int64s,
    which: Int64s,
    columns: dict[str, pl.Series],
) -> pl.DataFrame | None:
    """Put key columns from the messages' keys into `columns` at `which`; return the keys that rows were renamed to.

    An old row is believed only where it is whole: PostgreSQL's default REPLICA IDENTITY fills all but the message's key
    with constants.
    """
    wanted = rows[which].tolist()
    keys = keys_of.read([batch.raw.keys[row] for row in wanted])
    old = _old_keys(keys_of.columns, batch, reader, rows, which, columns, keys.there)
    moved = keys_of.read_moved([batch.raw.headers[row] for row in wanted])
    renamed = {}
    places = np.full(len(rows), -1, dtype=np.int64)
    places[which] = np.arange(len(which))
    for name in keys_of.columns:
        found = keys.columns.get(name)
        if name in old:
            found = old[name] if found is None else either(found, old[name])
        if found is None:
            found = pl.Series(name, [None] * len(which), dtype=pl.String)
        if name not in columns:
            columns[name] = take(found, places)
        else:
            columns[name] = _replaced(columns[name], found, places)
        if moved is not None:
            target = moved.get(name, pl.Series(name, [None] * len(which), dtype=pl.String))
            renamed[name] = take(as_type(target, columns[name].dtype), places)
    return pl.DataFrame(renamed) if moved is not None else None


def _old_keys(
    names: Sequence[str],
    batch: TranslationBatch,
    reader: ChangeReader | None,
    rows: Int64s,
    which: Int64s,
    columns: Mapping[str, pl.Series],
    there: Bools,
) -> dict[str, pl.Series]:
    """Read key columns from old rows; null where an old row is not believed."""
    if reader is None:
        return {}
    flattened = reader.layout.form is Form.FLATTENED
    filled = reader.layout.family is Family.POSTGRESQL or (flattened and reader.layout.family is Family.UNKNOWN)
    if filled and there.all():
        return {}
    if flattened:
        old = {name: columns[name].gather(which) for name in names if name in columns}
    else:
        old = reader.read_old_key(batch.wire.joined, rows[which])
    if not filled or not there.any():
        return old
    return {name: column.set(pl.Series(there), None) for name, column in old.items()}


def either(first: pl.Series, second: pl.Series) -> pl.Series:
    """Take the first column's values, and the second's where the first is null."""
    return pl.select(pl.coalesce(first, as_type(second, first.dtype))).to_series().alias(first.name)


def _replaced(column: pl.Series, other: pl.Series, places: Int64s) -> pl.Series:
    """Take `other[places[i]]` where that is not negative, else the column's own value."""
    both = pl.concat([column, as_type(other, column.dtype).alias(column.name)])
    return both.gather(np.where(places < 0, np.arange(len(column)), len(column) + places))
