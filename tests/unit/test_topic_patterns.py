"""Patterns, YAML and expressions of a mapping: what would stop nurt is refused with its line and what to write."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nurt.adapters.kafka.topics import TopicFilter
from nurt.errors import ConfigurationError
from nurt.mapping.load import load_mapping
from nurt.mapping.sql.compile import BadExpression, compile_expression
from nurt.mapping.topic_patterns import BadPattern, TopicPattern
from nurt.mapping.yaml_lines import BadYaml, load_yaml

REFUSED = {
    "(?=shop)shop": "name the topics",
    r"(?!test)\w+": "name the topics",
    r"shop(?<=p)\.a": "name the topics",
    r"(?<!x)shop": "name the topics",
    r"(\w+)\.\1": "with `|`",
    r"(?P<a>\w+)\.(?P=a)": "with `|`",
    r"a(?>b|c)": "write `(?:`",
    r"\w++": r"write",
    r"a{2,3}+": "write `{2,3}`",
    r"(a)?(?(1)b|c)": "both alternatives",
    r"shop\Z": "remove it",
    r"(?#shops)shop": "remove it",
    r"a{,3}": "write `{0,3}`",
    r"(?x)a b": "without them",
    r"(?a)\w": "without them",
    r"[[a]": "write a backslash",
    r"[a--b]": "write a backslash",
    r"\<a": "write `<`",
    r"\101": "with `|`",
    "a{b}": r"write `\{`",
    r"((a{1,900}){1,900}){1,900}": "too large",
    "(" * 3_000 + ")" * 3_000: "shorter pattern",
    "(?P<nurt_whole>a)": "another name",
}


@pytest.mark.parametrize("pattern", REFUSED, ids=lambda text: text[:20])
def test_what_needs_backtracking_is_refused_with_what_to_write(pattern: str) -> None:
    with pytest.raises(BadPattern) as found:
        TopicPattern(pattern)
    assert REFUSED[pattern] in str(found.value)


@pytest.mark.parametrize(
    "pattern", [r"(a+)+b", r"(a|a)*b", r"(.*)*x", r"(\w+\s?)*!", r"(a?){50}a{50}b", r"([a-z]+)*\d"]
)
def test_a_pattern_costs_no_more_than_the_names_length(pattern: str) -> None:
    """Each of them would keep a backtracking matcher for longer than anybody waits."""
    assert TopicPattern(pattern).fullmatch("a" * 249) is None
    assert not TopicFilter(["^" + pattern])("a" * 249)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            r"shop\.public\.customers",
            r"(?P<shop>shop_[a-z]{2})\.magento\.customer_entity",
            r"shop(2026)?\.public\.\w+",
        ),
        *(
            r"erp|crm",
            r"(?i)SHOP\.A",
            r"(?i:shop)\.a",
            r"[^.]+\.[\w-]+",
            r"a{2}",
            r"a{2,}",
            r"a*?b",
            r"(?:a|b)+",
            "",
            r"\Ashop$",
        ),
        *(
            r"(?P<a>x)?y",
            r"(?s).*",
            r"[\]a]",
            r"\$\^\.",
            r"\x41",
            r"zażółć",
            r"\d+\D",
            r"\bshop\b.*",
            "[]a]+",
            "a|",
        ),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        *(
            "shop.public.customers",
            "shop_pl.magento.customer_entity",
            "shop2026.public.a1",
            "erp",
            "crm",
            "shop.a",
            "SHOP.A",
        ),
        *(
            "aa",
            "ab",
            "b",
            "y",
            "xy",
            "",
            "$^.",
            "A",
            "zażółć",
            "12x",
            "a.b-c",
            "shop",
            "shop\n",
            "a\nb",
            "]",
            r"{a}",
            "a{b}",
            "a|",
        ),
    ],
)
def test_what_both_can_do_means_what_it_meant(pattern: str, name: str) -> None:
    meant = re.fullmatch(pattern, name)
    found = TopicPattern(pattern).fullmatch(name)
    assert found == (None if meant is None else {group: text or "" for group, text in meant.groupdict().items()})
    if not pattern.startswith("(?i)") and not pattern.startswith("(?s)") and "\n" not in name:
        assert TopicFilter(["^" + pattern])(name) == bool(re.search("^" + pattern, name))


PIECES = [
    "a",
    "b",
    ".",
    r"\.",
    r"\w",
    r"\d",
    "[ab]",
    "[^a]",
    "(",
    ")",
    "(?:",
    "(?P<g>",
    "|",
    "*",
    "+",
    "?",
    "{2}",
    "$",
    "^",
]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join), st.text("ab.1", max_size=8))
def test_a_pattern_that_is_taken_means_what_python_says(pattern: str, name: str) -> None:
    try:
        made = TopicPattern(pattern)
    except BadPattern:
        return
    meant = re.fullmatch(pattern, name)
    assert (made.fullmatch(name) is None) == (meant is None)
    assert made.search(name) == (re.search(pattern, name) is not None)


def test_settings_of_before_keep_patterns_that_look_ahead() -> None:
    wanted = TopicFilter(["^(?!test)shop", "erp"])
    assert wanted("shop.a") and wanted("erp") and not wanted("test.shop")


MAPPING = """\
systems: {{shop: {{}}}}
topics:
  - match: '{match}'
    system: shop
    entity: customer
    key: id
    fields: {{email: "{email}"}}
"""


def _refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as found:
        load_mapping(text, "m.yaml")
    return str(found.value)


def test_a_mapping_names_the_line_of_a_pattern() -> None:
    text = _refusal(MAPPING.format(match="(?!test).*", email="email"))
    assert "m.yaml:3: topic '(?!test).*': match:" in text and "name the topics" in text


BOMBS = {
    "merge": "a: &a\n  <<: *a\n  b: 1\n",
    "merge list": "a: &a\n  <<: [*a, *a]\n",
    "merge far": "a: &a\n  b: &b\n    <<: *a\n",
    "self": "a: &a [*a]\n",
    "self key": "&a {b: *a}\n",
    "brackets": "[" * 2_000,
    "closed brackets": "[" * 2_000 + "]" * 2_000,
    "braces": "{a: " * 2_000,
    "sections": "".join(" " * depth + "a:\n" for depth in range(1_500)),
    "lists": "- " * 3_000,
    "doubling": "m0: &m0 {k: v}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40)),
    "tabs": "a:\n\t- b\n",
    "tag": "a: !!python/object/apply:os.system [id]\n",
    "nul": "a: \x00\n",
    "half": "a: '\\ud800'\n\x01",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_no_person_writes_is_refused_in_words(name: str) -> None:
    with pytest.raises(BadYaml) as found:
        load_yaml(BOMBS[name])
    assert found.value.line >= 1 and found.value.what
    text = _refusal("systems:\n  shop: {}\n" + BOMBS[name])
    assert "m.yaml:" in text


@pytest.mark.parametrize(
    "text", ["a: 2026-99-99", "a: !!int x", "a: !!float x", "a: !!timestamp x", "a: " + "9" * 5_000, "a: !!binary 'ż'"]
)
def test_a_value_that_is_not_of_its_type_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadYaml):
        load_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x: &x {a: 1}\ny: {<<: *x, b: 2}", {"x": {"a": 1}, "y": {"a": 1, "b": 2}}),
        ("x: &x [1]\ny: *x\nz: *x", {"x": [1], "y": [1], "z": [1]}),
        ("a: {b: {c: {d: [[[[1]]]]}}}", {"a": {"b": {"c": {"d": [[[[1]]]]}}}}),
    ],
)
def test_aliases_merges_and_levels_that_people_use_pass(text: str, value: object) -> None:
    assert load_yaml(text) == value


@pytest.mark.parametrize(
    "expression",
    ["a" + "+a" * 5_000, "a" + "::int" * 60, "(" * 5_000 + "a", "CAST(" * 100 + "a" + " AS int)" * 100],
    ids=["sum", "casts", "open", "cast"],
)
def test_an_expression_that_no_person_writes_is_refused_in_words(expression: str) -> None:
    """A long sum ended the process with a broken stack; casts of casts took for ever."""
    with pytest.raises(BadExpression, match="too deeply"):
        compile_expression(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "a" + "||a" * 100,
        "a::text::int::text",
        "CASE " + " ".join(f"WHEN a = {n} THEN {n}" for n in range(500)) + " END",
        "a IN (" + ", ".join(map(str, range(2_000))) + ")",
        "a = 1" + " AND b = 2" * 100,
    ],
    ids=["chain", "casts", "case", "in", "and"],
)
def test_long_expressions_that_people_write_pass(expression: str) -> None:
    assert compile_expression(expression).columns
