"""Keep an account's sums: what all its children add up to, each child's share taken away and added anew.

Hot path, in arrays: rows of the stored sums, the old shares (subtracted) and the new ones are grouped by key in one
kernel; what has become zero is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.contributions import BUCKET_KEY, BUCKET_SUMS, CHILDREN, STAMP, SUMS
from nurt.core.packing import Int64s
from nurt.core.tables import OWNER, Raw

PAIR = "pair"
"""Column: an index into the (account, child) pairs of a batch."""


@dataclass(frozen=True, slots=True)
class SumsFolded:
    """Values after a fold.

    Attributes:
        sums: by account; None: it has no children.
        shares: by pair; None: the child is gone.
    """

    sums: list[bytes | None]
    shares: list[bytes | None]


def fold_sums(
    heads: pl.DataFrame, buckets: pl.DataFrame, sums: Sequence[bytes | None], shares: Sequence[bytes | None]
) -> SumsFolded:
    """Replace children's shares in accounts' sums.

    Args:
        heads: owner, stamp, gone; row i is pair i, the newest of the batch.
        buckets: SUMS columns and `pair`: what each pair says now.
        sums: stored sums, by owner.
        shares: stored shares, by pair; the first row of one is its stamp.
    """
    pairs = heads.height
    owner_of = heads[OWNER].to_numpy()
    stamp = heads["stamp"].to_numpy()
    old = SUMS.unpack_raw(shares)
    is_stamp = old.numbers[_METRIC] == STAMP
    was = np.full(pairs, -1, dtype=np.int64)
    was[old.owner[is_stamp]] = old.numbers[_COUNT][is_stamp]
    fresh = stamp >= was
    stays = fresh & ~heads["gone"].to_numpy()
    new = SUMS.raw(_new_rows(buckets, stays, stamp))
    held = SUMS.unpack_raw(sums)
    grouped = _grouped(held, new, old, owner_of, fresh)
    packed = SUMS.pack_raw(new, pairs)
    kept = [one if is_fresh else before for one, before, is_fresh in zip(packed, shares, fresh.tolist(), strict=True)]
    return SumsFolded(SUMS.pack_raw(grouped, len(sums)), kept)


_NUMBERS = ("metric", "day", *BUCKET_SUMS)
_METRIC, _COUNT = _NUMBERS.index("metric"), _NUMBERS.index("count")


def _new_rows(buckets: pl.DataFrame, stays: npt.NDArray[np.bool_], stamp: Int64s) -> pl.DataFrame:
    """List what is stored of each pair that stays: its stamp, a one for itself, and its buckets."""
    kept = np.flatnonzero(stays)
    pair = buckets[PAIR].to_numpy()
    said = buckets.filter(pl.Series(stays[pair])) if len(pair) else buckets
    own = pl.DataFrame(
        {
            PAIR: np.concatenate((kept, kept)),
            "metric": np.concatenate((np.full(len(kept), STAMP), np.full(len(kept), CHILDREN))),
            "count": np.concatenate((stamp[kept], np.ones(len(kept), dtype=np.int64))),
        }
    ).with_columns(
        pl.lit("").alias("k1"),
        pl.lit("").alias("k2"),
        pl.lit(None, pl.Int64).alias("day"),
        *[pl.lit(0, pl.Int64).alias(name) for name in BUCKET_SUMS if name != "count"],
    )
    names = [PAIR, *BUCKET_KEY, *BUCKET_SUMS]
    rows = pl.concat([own.select(names), said.select(names)])
    return rows.sort(PAIR, maintain_order=True).rename({PAIR: OWNER})


def _grouped(held: Raw, new: Raw, old: Raw, owner_of: Int64s, fresh: npt.NDArray[np.bool_]) -> Raw:
    """Add the rows that stay and the new ones, take the old ones away; sorted by owner, zeros left out."""
    parts = (held, new, old)
    owner = np.concatenate((held.owner, owner_of[new.owner], owner_of[old.owner]))
    numbers = np.concatenate([part.numbers for part in parts], axis=1)
    has_day = np.concatenate([part.present[_DAY_COLUMN] for part in parts])
    bases = np.cumsum([0, *(len(part.texts) for part in parts)])
    starts = np.concatenate([part.starts + base for part, base in zip(parts, bases, strict=False)], axis=1)
    stops = np.concatenate([part.stops + base for part, base in zip(parts, bases, strict=False)], axis=1)
    texts = np.concatenate([part.texts for part in parts])
    sign = np.ones(len(owner), dtype=np.int64)
    first_new, first_old = len(held.owner), len(held.owner) + len(new.owner)
    sign[first_new:][numbers[_METRIC, first_new:] == STAMP] = 0
    sign[first_old:] *= -fresh[old.owner].astype(np.int64)
    firsts = np.empty(len(owner), dtype=np.int64)
    groups = _group(owner, numbers, has_day, starts, stops, texts, sign, len(_NUMBERS) - len(BUCKET_SUMS), firsts)
    rows = firsts[:groups]
    rows = rows[(numbers[len(_NUMBERS) - len(BUCKET_SUMS) :, rows] != 0).any(axis=0)]
    rows = rows[np.lexsort((rows, owner[rows]))]
    chosen = np.ascontiguousarray(numbers[:, rows])
    present = np.ones((len(SUMS.columns), len(rows)), dtype=np.bool_)
    present[_DAY_COLUMN] = has_day[rows]
    for name in SUMS.zero:
        present[_COLUMNS.index(name)] = chosen[_NUMBERS.index(name)] != 0
    return Raw(
        owner[rows],
        chosen,
        present,
        np.ascontiguousarray(starts[:, rows]),
        np.ascontiguousarray(stops[:, rows]),
        texts,
    )


_COLUMNS = list(SUMS.columns)
_DAY_COLUMN = _COLUMNS.index("day")
assert [name for name in _COLUMNS if SUMS.columns[name] == pl.Int64] == list(_NUMBERS), "numbers lie in this order"


@numba.njit(nogil=True, cache=True)
def _group(owner, numbers, has_day, starts, stops, texts, sign, keys, firsts):  # type: ignore[no-untyped-def]
    """Add rows of equal (owner, metric, texts, day) into the first of them; returns how many there are."""
    rows = len(owner)
    width = numbers.shape[0]
    kinds = starts.shape[0]
    size = 16
    while size < rows * 2:
        size *= 2
    table = np.full(size, -1, dtype=np.int64)
    mask = np.uint64(size - 1)
    groups = 0
    for row in range(rows):
        if sign[row] == 0:
            continue
        mixed = np.uint64(owner[row]) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(numbers[0, row])
        mixed = (mixed ^ np.uint64(numbers[1, row])) * np.uint64(0xBF58476D1CE4E5B9)
        for kind in range(kinds):
            for i in range(starts[kind, row], stops[kind, row]):
                mixed = (mixed ^ np.uint64(texts[i])) * np.uint64(0x100000001B3)
        mixed ^= mixed >> np.uint64(31)
        at = mixed & mask
        while True:
            first = table[np.int64(at)]
            if first < 0:
                table[np.int64(at)] = row
                firsts[groups] = row
                groups += 1
                if sign[row] < 0:
                    for k in range(keys, width):
                        numbers[k, row] = -numbers[k, row]
                break
            same = owner[first] == owner[row] and has_day[first] == has_day[row]
            for k in range(keys):
                same = same and numbers[k, first] == numbers[k, row]
            for kind in range(kinds):
                length = stops[kind, row] - starts[kind, row]
                same = same and stops[kind, first] - starts[kind, first] == length
                if same:
                    for i in range(length):
                        if texts[starts[kind, first] + i] != texts[starts[kind, row] + i]:
                            same = False
                            break
            if same:
                for k in range(keys, width):
                    numbers[k, first] += sign[row] * numbers[k, row]
                break
            at = (at + np.uint64(1)) & mask
    return groups
