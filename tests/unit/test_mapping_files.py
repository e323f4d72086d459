"""The files that are made from the mapping's tables are current, and the examples are right.

`python tests/unit/test_mapping_files.py` writes them anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

import nurt
from nurt.mapping.json_schema import mapping_json_schema
from nurt.mapping.load import load_mapping
from nurt.mapping.meanings import ENTITY_MEANINGS, MEANINGS, entities_text, types_table
from nurt.mapping.sql.compile import FUNCTIONS, compile_expression
from nurt.mapping.words import (
    INTO_WORDS,
    PIVOT_WORDS,
    REFERENCE_WORDS,
    RULES,
    STOCK_CHANNEL_WORDS,
    STOCK_LOCATION_WORDS,
    STOCK_MARKET_WORDS,
    STOCK_WORDS,
    SYSTEM_WORDS,
    TOPIC_WORDS,
    USE_WORDS,
    Word,
)
from nurt.model.entities import ENTITIES

PACKAGE = Path(nurt.__file__).parent
SCHEMA_FILE = PACKAGE / "mapping.schema.json"
MANUAL = Path(__file__).parents[2] / "docs" / "mapping.md"
PRESETS = sorted((PACKAGE / "presets").glob("*.yaml"))


def schema_text() -> str:
    return json.dumps(mapping_json_schema(), indent=2, ensure_ascii=False) + "\n"


def words_table(words: dict[str, Word]) -> str:
    lines = ["| key | holds | meaning |", "|---|---|---|"]
    for name, word in words.items():
        holds = f"**{word.shape.value}**" if word.required else word.shape.value
        lines.append(f"| `{name}` | {holds} | {word.meaning} |")
    return "\n".join(lines)


def functions_table() -> str:
    lines = ["| function | |", "|---|---|"]
    for call in FUNCTIONS.values():
        form, _, remark = call.partition(": ")
        lines.append(f"| `{form}` | {remark} |".replace("||", r"\|\|"))
    return "\n".join(lines)


def rules_table() -> str:
    return "\n".join(["| rule | prefers |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in RULES.items())])


GENERATED = {
    "entities": entities_text,
    "types": types_table,
    "systems": lambda: words_table(SYSTEM_WORDS),
    "topics": lambda: words_table(TOPIC_WORDS),
    "into": lambda: words_table(INTO_WORDS),
    "with": lambda: words_table(USE_WORDS),
    "pivot": lambda: words_table(PIVOT_WORDS),
    "references": lambda: words_table(REFERENCE_WORDS),
    "functions": functions_table,
    "rules": rules_table,
    "stock": lambda: words_table(STOCK_WORDS),
    "stock locations": lambda: words_table(STOCK_LOCATION_WORDS),
    "stock channels": lambda: words_table(STOCK_CHANNEL_WORDS),
    "stock markets": lambda: words_table(STOCK_MARKET_WORDS),
}


def with_generated(manual: str) -> str:
    for name, make in GENERATED.items():
        begin, end = f"<!-- made: {name} -->\n", f"<!-- end: {name} -->"
        before, found, rest = manual.partition(begin)
        _, closed, after = rest.partition(end)
        assert found and closed, f"docs/mapping.md has no marks {begin}{end}"
        manual = f"{before}{begin}{make()}\n{end}{after}"
    return manual


def test_the_json_schema_is_what_the_tables_say() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), "run python tests/unit/test_mapping_files.py"


def test_the_manual_holds_the_tables_as_they_are() -> None:
    manual = MANUAL.read_text()
    assert manual == with_generated(manual), "run python tests/unit/test_mapping_files.py"


def test_every_entity_and_field_has_a_meaning_and_nothing_else_has() -> None:
    assert set(ENTITY_MEANINGS) == set(ENTITIES)
    assert {kind: set(fields) for kind, fields in MEANINGS.items()} == {k: set(e.fields) for k, e in ENTITIES.items()}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_an_example_is_right_for_the_checker_and_for_the_schema(path: Path) -> None:
    text = path.read_text()
    written = yaml.safe_load(text)
    read = load_mapping(text, path.name)
    assert [rule.mapping.pattern for rule in read.topics] == [topic["match"] for topic in written["topics"]]
    mistakes = jsonschema.Draft202012Validator(mapping_json_schema()).iter_errors(written)
    assert [f"{mistake.json_path}: {mistake.message}" for mistake in mistakes] == []


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_an_editor_finds_the_schema_from_an_example(path: Path) -> None:
    found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert found is not None
    assert (path.parent / found[1]).resolve() == SCHEMA_FILE


def test_the_schema_refuses_what_the_checker_refuses() -> None:
    topic = {"match": "t", "system": "s", "entity": "customer", "key": "id"}
    right = {"systems": {"s": {}}, "topics": [topic]}
    schema = jsonschema.Draft202012Validator(mapping_json_schema())
    assert schema.is_valid(right)
    bare = {name: topic[name] for name in ("match", "system", "key")}
    wrong = [
        {**topic, "entity": "custmer"},
        {**topic, "fields": {"emial": "email"}},
        {**topic, "parent": {"order": "order_id"}},
        {**topic, "entity": "order_line"},
        {**topic, "entity": "product", "identifiers": {"a": "b"}},
        {**topic, "keys": "id"},
        {name: value for name, value in topic.items() if name != "key"},
        {name: value for name, value in topic.items() if name != "entity"},
        {**topic, "into": [{"entity": "customer"}]},
        {**bare, "into": []},
        {**bare, "into": [{"entity": "customer", "key": "id"}]},
        {**bare, "into": [{"entity": "customer"}, {"entity": "order_line"}]},
    ]
    assert schema.is_valid({**right, "topics": [{**bare, "into": [{"entity": "customer"}, {"entity": "product"}]}]})
    for each in wrong:
        assert not schema.is_valid({**right, "topics": [each]}), each
    assert not schema.is_valid({**right, "profile": {"rules": {"email": ["newset"]}}})
    assert not schema.is_valid({**right, "systems": {}})


def manual_examples() -> list[str]:
    return re.findall(r"```yaml\n(systems:.*?)```", MANUAL.read_text(), re.DOTALL)


def test_every_whole_example_of_the_manual_loads() -> None:
    examples = manual_examples()
    assert examples
    for text in examples:
        load_mapping(text, "docs/mapping.md")
        jsonschema.Draft202012Validator(mapping_json_schema()).validate(yaml.safe_load(text))


def test_every_expression_of_the_manual_compiles() -> None:
    (block,) = re.findall(r"```sql\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    for line in block.splitlines():
        assert compile_expression(line).columns, line


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text())
    MANUAL.write_text(with_generated(MANUAL.read_text()))
