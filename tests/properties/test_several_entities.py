"""A row that is several entities is a row of all of them, or its message is refused once, whatever each one wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from nurt.control.source_epochs import SourceEpochs
from nurt.model.entity_frame import DELETE, LEFT_OUT, UPSERT
from tests.corpus_messages import accounted, select
from tests.envelopes import Topic
from tests.hypothesis_profiles import examples

COLUMNS = {"id": "int", "a": ["null", "string"], "b": ["null", "string"], "c": ["null", "string"]}
KINDS = {"customer": "email_verified", "consent": "granted", "product": "name"}
"""Kinds, and a field each: two of them hold nothing but booleans."""
WORDS = ("yes", "no", "perhaps", "", None)


@dataclass(frozen=True)
class Item:
    """One entity: a field from a column, and perhaps a `where` over another."""

    kind: str
    column: str
    where: str | None

    def text(self, number: int) -> str:
        parent = ", parent: {customer: id}" if self.kind == "consent" else ""
        where = f", where: \"{self.where} = 'yes'\"" if self.where else ""
        return f"{{entity: {self.kind}, name: n{number}, fields: {{{KINDS[self.kind]}: {self.column}}}{parent}{where}}}"

    def leaves_out(self, row: dict[str, Any]) -> bool:
        return self.where is not None and row[self.where] != "yes"

    def refuses(self, row: dict[str, Any]) -> bool:
        """Say whether the row cannot become one of these: a word that is no boolean."""
        return not self.leaves_out(row) and self.kind != "product" and row[self.column] == "perhaps"


columns = st.sampled_from(["a", "b", "c"])
items = st.builds(Item, st.sampled_from(sorted(KINDS)), columns, st.one_of(st.none(), columns))
rows = st.fixed_dictionaries({"id": st.integers(1, 5), **dict.fromkeys("abc", st.sampled_from(WORDS))})
messages = st.tuples(st.sampled_from(["upsert", "upsert", "upsert", "delete", "truncate", "garbage"]), rows)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(items, min_size=1, max_size=3), st.lists(messages, max_size=12), st.integers(1, 12))
def test_a_message_is_a_row_of_every_entity_or_of_none(
    wanted: list[Item], sent: list[tuple[str, dict[str, Any]]], size: int
) -> None:
    topic = Topic(COLUMNS, kind="mysql")
    for number, (what, row) in enumerate(sent):
        if what == "truncate":
            topic.raw(None, topic.envelope("t", None, None, pos=number))
        elif what == "garbage":
            topic.raw(topic.key_of(row), b"\0\0\0\0\2garbage")
        else:
            getattr(topic, what)(row=row, pos=number)
    body = "    key: id\n    into:\n" + "".join(f"      - {one.text(at)}\n" for at, one in enumerate(wanted))
    translator = topic.translator(body, epochs=SourceEpochs())
    found: dict[str, list[tuple[int, int]]] = {f"n{at}": [] for at in range(len(wanted))}
    refused, truncated = [], []
    for at in range(0, len(sent), size):
        part = select(topic.batch, range(at, min(at + size, len(sent))))
        translated = translator.translate(part)
        assert accounted(translated) == len(part)
        for one in translated.entities:
            assert one.counts == (one.frame["entity"][0] == "n0")
            found[one.frame["entity"][0]] += one.frame.select("offset", "op").rows()
        refused += [one.offset for one in translated.refused]
        truncated += [(one.offset, one.entity) for one in translated.truncated]

    spoilt = [
        at
        for at, (what, row) in enumerate(sent)
        if what == "garbage" or (what == "upsert" and any(one.refuses(row) for one in wanted))
    ]
    assert sorted(refused) == spoilt, "refused once"
    lines = [at for at, (what, _) in enumerate(sent) if what in ("upsert", "delete") and at not in spoilt]
    emptied = [at for at, (what, _) in enumerate(sent) if what == "truncate"]
    assert sorted(truncated) == [(at, name) for at in emptied for name in found]
    for number, one in enumerate(wanted):
        expected = [(at, _op(one, number, wanted, *sent[at])) for at in lines]
        assert found[f"n{number}"] == expected


def _op(one: Item, number: int, wanted: list[Item], what: str, row: dict[str, Any]) -> int:
    if what == "delete":
        return DELETE
    if not one.leaves_out(row):
        return UPSERT
    return LEFT_OUT if number == 0 and all(other.leaves_out(row) for other in wanted) else DELETE
