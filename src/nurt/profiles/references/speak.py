"""Contributions of rows to tokens: orders say which values they bear, other rows say which value they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nurt.columnar.distinct import distinct
from nurt.columnar.text_codes import codes_of
from nurt.columnar.texts import Texts
from nurt.columnar.types import ID_BYTES, Bools, Int64s, Words
from nurt.model.references import BETWEEN, reference_kind
from nurt.rows.children.contributions import (
    Contributions,
    ContributionSet,
    join_contributions,
    no_ids,
    no_texts,
)
from nurt.rows.children.tables import BEARER_PART, REFERENCES
from nurt.rows.fold import RowsFolded
from nurt.rows.layouts import PARENT, PARENT_KIND
from nurt.rows.tokens import KIND, Tokens
from nurt.state.write_rows import pack_columns


def with_references(
    kind: str,
    folded: RowsFolded,
    ids: Words,
    stamp: int,
    tokens: Tokens,
    speak: Callable[[RowsFolded], ContributionSet],
) -> ContributionSet:
    """Return what rows contribute, with what goes to tokens apart.

    Args:
        kind: the entity kind.
        folded: rows of that kind.
        ids: of each owner.
        stamp: of all contributions.
        tokens: makes the tokens of orders.
        speak: makes contributions of rows to the orders that they name.
    """
    if kind == KIND:
        return replace(speak(folded), to_references=_bearers(folded, ids, stamp, tokens))
    named = _named(folded, tokens)
    if named is None:
        return speak(folded)
    said = speak(_as_of_orders(folded, named))
    places = folded.rows.ids(PARENT, folded.at[named])
    codes, _ = distinct(np.concatenate((places, said.to_orders.to)))
    to_token = codes[len(places) :] <= codes[: len(places)].max(initial=-1)
    return replace(
        said, to_orders=said.to_orders.take(~to_token), to_references=_seekers(said.to_orders.take(to_token))
    )


def _bearers(folded: RowsFolded, ids: Words, stamp: int, tokens: Tokens) -> Contributions:
    """Let orders say which values they bear, and which they bear no more."""
    own, was = np.flatnonzero(~folded.left), np.flatnonzero(folded.left)
    at, owner = folded.at[own], folded.owner[own]
    found = []
    for field in tokens.fields:
        some, to = tokens.of(folded.rows, at, field)
        if len(some):
            ranks, has = tokens.ranks(folded.rows, at[some], field)
            child = ids[owner[some]]
            numbers = {"part": np.full(len(some), BEARER_PART), "stamp": np.full(len(some), stamp)}
            texts = {"child": _id_texts(child), "rank": ranks}
            found.append(_contributions(to, child, numbers, pack_columns(REFERENCES, numbers, texts, {"rank": has})))
    if len(was):
        numbers = {"part": np.full(len(was), BEARER_PART), "stamp": np.full(len(was), stamp)}
        to, child = folded.rows.ids(PARENT, folded.at[was]), ids[folded.owner[was]]
        gone = _contributions(to, child, numbers, no_texts(len(was)))
        found.append(replace(gone, gone=np.ones(len(was), dtype=np.bool_)))
    return join_contributions(found)


def _named(folded: RowsFolded, tokens: Tokens) -> Bools | None:
    """Return which rows name their parent by a field; None: no row does."""
    kinds = [reference_kind(KIND, field) for field in tokens.fields]
    named = codes_of(folded.rows.text(PARENT_KIND, folded.at), kinds) >= 0
    return named if named.any() else None


def _as_of_orders(folded: RowsFolded, named: Bools) -> RowsFolded:
    """Let rows that name an order by a field speak as if they named its key."""
    stops = folded.rows.stops.copy()
    some = folded.at[named]
    stops[some, PARENT_KIND] = folded.rows.starts[some, PARENT_KIND] + len(KIND)
    return replace(folded, rows=replace(folded.rows, stops=stops))


def _seekers(said: Contributions) -> Contributions:
    """Wrap contributions to orders that are named by a field."""
    numbers = {"part": said.part, "stamp": said.stamp}
    body = pack_columns(REFERENCES, numbers, {"child": _id_texts(said.child), "body": said.body})
    return replace(said, body=body)


def _contributions(to: Words, child: Words, numbers: dict[str, Int64s], body: Texts) -> Contributions:
    none = no_texts(len(to))
    gone = np.zeros(len(to), dtype=np.bool_)
    return Contributions(to, child, numbers["stamp"], numbers["part"], gone, body, none, none, none, no_ids(len(to)))


def _id_texts(ids: Words) -> Texts:
    starts = np.arange(len(ids), dtype=np.int64) * ID_BYTES
    return Texts(starts, starts + ID_BYTES, np.ascontiguousarray(ids).view(np.uint8).reshape(-1))


assert BETWEEN not in KIND, "a kind ends where a field begins"
