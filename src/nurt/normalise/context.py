"""The mapping's facts for folds: defaults of systems, realms, identifier rules, ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from nurt.columnar.ids import Ids
from nurt.model.references import Referred
from nurt.normalise.identifiers import normalise_column

KIND_END, LINK_END = "\x1f", "\x1e"
"""Separators in a text of links: between kind and value, and between links."""

RULES = ("verified_first", "source_priority", "newest")
"""Default survivorship rules, where the mapping has none."""


@dataclass(frozen=True, slots=True)
class FoldContext:
    """Facts about systems by name, and the rules of identity; the same for all workers of a deployment."""

    ids: Ids
    realm: Mapping[str, str] = field(default_factory=dict)
    priority: Mapping[str, int] = field(default_factory=dict)
    country: Mapping[str, str] = field(default_factory=dict)
    currency: Mapping[str, str] = field(default_factory=dict)
    market: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, Sequence[str]] = field(default_factory=dict)
    identifier_rules: Mapping[str, Sequence[str]] = field(default_factory=dict)
    referred: Referred = field(default_factory=dict)
    identified: frozenset[str] = frozenset()
    """Names of entities, besides customers, whose rows bring identifiers."""
    timezone: Mapping[str, str] = field(default_factory=dict)

    def filled(self, frame: pl.DataFrame, name: str, last: str) -> pl.DataFrame:
        """Fill nulls of the column `name` (currency or market) from its system, then with `last`."""
        if not frame[name].null_count():
            return frame
        known = self.currency if name == "currency" else self.market
        return frame.with_columns(pl.coalesce(pl.col(name), _by_system(known), pl.lit(last)))

    def normalised(self, frame: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
        """Replace identifiers (and the text of extra ones) by their normalised value; else null.

        A row's own country counts before that of its system.
        """
        usual = _by_system(self.country)
        own = [pl.col("country")] if "country" in frame.columns else []
        countries = frame.select(pl.coalesce(*own, usual))[:, 0]
        frame = frame.with_columns(
            normalise_column(kind, frame[kind], countries, self.identifier_rules).alias(kind) for kind in kinds
        )
        if "identifiers" in frame.columns and frame["identifiers"].null_count() < frame.height:
            frame = frame.with_columns(self._normalised_extras(frame["identifiers"], countries))
        return frame

    def _normalised_extras(self, texts: pl.Series, countries: pl.Series) -> pl.Series:
        """Normalise `kind U+001F value` pairs joined by U+001E, leaving out what does not normalise."""
        rows = texts.to_frame("text").with_columns(countries.alias("country")).with_row_index("row")
        pairs = (
            rows.with_columns(pl.col("text").str.split(LINK_END)).explode("text", empty_as_null=True).drop_nulls("text")
        )
        pairs = pairs.with_columns(
            pl.col("text").str.split_exact(KIND_END, 1).struct.rename_fields(["kind", "value"])
        ).unnest("text")
        done = [
            part.with_columns(
                normalise_column(str(kind), part["value"], part["country"], self.identifier_rules).alias("value")
            )
            for (kind,), part in pairs.group_by("kind", maintain_order=True)
        ]
        if not done:
            return pl.Series("identifiers", [None] * len(texts), dtype=pl.String)
        joined = (
            pl.concat(done)
            .drop_nulls("value")
            .sort("row", "kind", "value")
            .group_by("row", maintain_order=True)
            .agg(pl.concat_str("kind", "value", separator=KIND_END).str.join(LINK_END).alias("identifiers"))
        )
        return rows.select("row").join(joined, on="row", how="left", maintain_order="left")["identifiers"]


def unread(written: pl.Series, read: pl.Series) -> pl.Series:
    """Return where a text was written and no identifier was read; of several in a text, where one was not."""
    if written.name == "identifiers":
        lost = written.str.count_matches(KIND_END).fill_null(0) > read.str.count_matches(KIND_END).fill_null(0)
    else:
        lost = read.is_null() & (written.str.strip_chars() != "").fill_null(False)
    return lost


def _by_system(known: Mapping[str, str]) -> pl.Expr:
    return pl.col("system").replace_strict(dict(known), default=None, return_dtype=pl.String)
