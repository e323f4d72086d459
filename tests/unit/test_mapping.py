"""A mapping file is checked whole: every mistake has its line and the right word."""

from __future__ import annotations

import re

import pytest

from nurt.errors import ConfigurationError
from nurt.mapping.load import join_mappings, load_mapping

SYSTEMS = """\
systems:
  shop_pl: {country: PL, market: PL, currency: PLN, priority: 20, timezone: Europe/Warsaw}
  shop_no: {country: NO, market: NO, currency: NOK}
"""

TOPIC = """\
  - match: 'shop_pl\\.customers'
    system: shop_pl
    entity: customer
    key: id
"""


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_mapping(text, "shop.yaml")
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("reading the mapping shop.yaml: ")
    return [line.strip() for line in rest]


def the_complaint(topics: str, more: str = "") -> str:
    found = complaints(SYSTEMS + "topics:\n" + topics + more)
    assert len(found) == 1, found
    return found[0]


def test_a_minimal_mapping_has_all_the_defaults() -> None:
    mapping = load_mapping("systems: {s: {}}\ntopics: [{match: t, system: s, entity: customer, key: id}]", "m")
    topic = mapping.for_topic("t")
    assert topic is not None
    assert (topic.name, topic.kind, topic.parents, topic.where) == ("customer", "customer", (), None)
    assert (topic.system.realm, topic.system.priority, topic.system.timezone) == ("default", 100, "UTC")
    assert topic.system.country is topic.system.market is topic.system.currency is None
    assert mapping.rules["email"] == mapping.rules["market"] == ("verified_first", "source_priority", "newest")
    assert mapping.identifier_rules == {}


def test_named_groups_lead_a_pattern_to_several_systems() -> None:
    text = SYSTEMS + "topics: [{match: 'shop_(?P<m>..)\\.customers', system: 'shop_{m}', entity: customer, key: id}]"
    mapping = load_mapping(text, "m")
    polish, norwegian = mapping.for_topic("shop_pl.customers"), mapping.for_topic("shop_no.customers")
    assert polish is not None and polish.system.name == "shop_pl"
    assert norwegian is not None and norwegian.system.country == "NO"
    assert mapping.for_topic("shop_pl.customers") is polish


def test_a_topic_that_no_pattern_matches_whole_is_not_mapped() -> None:
    mapping = load_mapping(SYSTEMS + "topics:\n" + TOPIC, "m")
    assert mapping.for_topic("shop_pl.customers.old") is None
    assert mapping.for_topic("my.shop_pl.customers") is None


def test_the_first_pattern_that_matches_counts() -> None:
    text = SYSTEMS + (
        "topics:\n"
        "  - {match: 'a.b', system: shop_pl, entity: product, key: id}\n"
        "  - {match: 'a.*', system: shop_pl, entity: customer, key: id}\n"
    )
    mapping = load_mapping(text, "m")
    assert [topic.kind for name in ("a.b", "a.c") if (topic := mapping.for_topic(name))] == ["product", "customer"]


def test_a_topic_of_an_undeclared_system_stops_instead_of_being_lost() -> None:
    text = SYSTEMS + "topics: [{match: 'shop_(?P<m>..)', system: 'shop_{m}', entity: customer, key: id}]"
    with pytest.raises(ConfigurationError, match=r"mapping topic shop_de: m:4: .*'shop_de'.*declare the system"):
        load_mapping(text, "m").for_topic("shop_de")


def test_norway_is_a_country_and_a_market_keeps_its_zero() -> None:
    mapping = load_mapping(
        "systems: {s: {country: NO, market: 01}}\ntopics: [{match: t, system: s, entity: product, key: id}]", "m"
    )
    assert (mapping.systems["s"].country, mapping.systems["s"].market) == ("NO", "01")


def test_columns_and_key_columns_are_all_that_the_expressions_name() -> None:
    text = (
        SYSTEMS
        + """\
topics:
  - match: lines
    system: shop_pl
    entity: order_line
    key: [tenant, {sql: 'COALESCE(line_id, old_line_id)'}]
    parent: {order: [tenant, order_id]}
    where: deleted_at IS NULL
    fields: {sku: UPPER(sku), quantity: qty, name: "'x'"}
"""
    )
    topic = load_mapping(text, "m").for_topic("lines")
    assert topic is not None
    assert topic.key_columns == ("tenant", "line_id", "old_line_id")
    assert topic.columns == {"tenant", "line_id", "old_line_id", "order_id", "deleted_at", "sku", "qty"}
    assert list(topic.fields) == ["sku", "name", "quantity"]  # the entity's order, not the file's


def test_a_parent_is_named_as_its_table_is() -> None:
    text = (
        SYSTEMS
        + """\
topics:
  - {match: a, system: shop_pl, entity: customer, name: subscriber, key: id}
  - {match: b, system: shop_pl, entity: consent, key: id, parent: {subscriber: sid}}
  - {match: c, system: shop_pl, entity: invoice, key: id, parent: {order: oid, subscriber: sid}}
"""
    )
    mapping = load_mapping(text, "m")
    consent, invoice = mapping.for_topic("b"), mapping.for_topic("c")
    assert consent is not None and [(p.kind, p.name) for p in consent.parents] == [("customer", "subscriber")]
    assert invoice is not None and [(p.kind, p.name) for p in invoice.parents] == [
        ("order", "order"),
        ("customer", "subscriber"),
    ]


def test_merged_anchors_and_sections_for_them_are_read() -> None:
    text = (
        SYSTEMS
        + """\
x-names: &names {first_name: firstname, last_name: lastname}
topics:
  - {match: a, system: shop_pl, entity: customer, key: id, fields: {<<: *names, last_name: surname}}
"""
    )
    topic = load_mapping(text, "m").for_topic("a")
    assert topic is not None
    assert {name: expression.text for name, expression in topic.fields.items()} == {
        "first_name": "firstname",
        "last_name": "surname",
    }


def test_rules_of_a_profile_and_steps_of_identifiers_are_kept_in_order() -> None:
    more = "profile: {rules: {email: newest, phone: [most_frequent, newest]}}\n"
    more += "identifiers: {card2: {normalise: [strip, digits]}}\n"
    mapping = load_mapping(SYSTEMS + "topics:\n" + TOPIC + more, "m")
    assert (mapping.rules["email"], mapping.rules["phone"]) == (("newest",), ("most_frequent", "newest"))
    assert mapping.identifier_rules == {"card2": ("strip", "digits")}


_BARE = "  - {match: t, system: shop_pl, key: id, "


def test_all_mistakes_are_reported_together_in_the_order_of_lines() -> None:
    found = complaints(SYSTEMS + "topics:\n" + TOPIC + "    fields: {emial: email, phone: sum(phone)}\nprofle: {}\n")
    assert [line.split(" ", 1)[0] for line in found] == ["shop.yaml:9:", "shop.yaml:9:", "shop.yaml:10:"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "    fields: {emial: email}",
            "9: topic 'shop_pl\\\\.customers': unknown field 'emial' of customer .*did you mean 'email'",
        ),
        ("    fields: {email: tirm(email)}", "9: .*field email: unknown function 'tirm'.*did you mean 'trim'"),
        ("    fields: {email: 'a b'}", "9: .*field email: an alias in 'a b'"),
        ("    fields: {email: c.email}", "9: .*field email: a dot in 'c.email'"),
        ("    fields: {email: (email}", "9: .*"),
        ("    fields: [email]", "9: .*fields: a list \\(expected a section"),
        ("    fields: {email: [a]}", "9: .*field email: a list \\(expected a SQL expression"),
        ("    fields: {email: }", "9: .*field email: nothing"),
        ("    kez: id", "9: topic .*: unknown key 'kez' .*did you mean 'key'"),
        ("    key: id", "9: topic 1: 'key' stands here again \\(expected once; first in line 8\\)"),
        ("    parent: {order: id}", "9: .*a customer has no parent"),
        ("    where: SELECT 1", "9: .*where: SELECT in 'SELECT 1'"),
        ("    where: count(*) > 1", "9: .*where: COUNT in .*an aggregate looks at other rows"),
        ("    name: my customers", "9: .*name: 'my customers' \\(expected letters"),
        ("    optional: [a]", "9: .*optional: a is in no expression"),
        ("    optional: [id]", "9: .*optional: id is in the key"),
        ("    identifiers: {Card: card}", "9: .*identifiers: 'Card' \\(expected small letters"),
        (
            "  - {match: t, system: shop_dk, entity: product, key: id}",
            "9: .*unknown system 'shop_dk' .*did you mean 'shop_",
        ),
        ("  - {match: t, system: 'shop_{m}', entity: product, key: id}", "9: .*\\{m\\} names no group of `match`"),
        ("  - {match: t, system: 'shop_{m', entity: product, key: id}", "9: .*a brace without its other half"),
        ("  - {match: 't(', system: shop_pl, entity: product, key: id}", "9: .*not a regular expression"),
        ("+ produkt, key: id}", "9: .*unknown entity 'produkt' .*did you mean 'product'"),
        ("+ product}", "9: .*`key` is missing"),
        ("+ product, key: []}", "9: .*key: 0 parts"),
        ("+ product, key: lower(id)}", "9: .*'lower\\(id\\)' is no column"),
        ("+ product, key: {sql: \"'x'\"}}", "9: .*names no column"),
        ("+ product, key: {col: x}}", "9: .*"),
        ("+ address, key: id}", "9: .*is missing \\(expected one of customer, order\\).*or give it `identifiers`"),
        ("+ address, key: id, parent: {}}", "9: .*parent: nothing"),
        ("+ order_line, key: id, parent: {customer: o}}", "9: .*'customer' cannot be the parent of a order_line"),
        ("+ address, key: id, parent: {customer: [a, b]}}", "9: .*2 parts \\(expected 1, as the key in line 5"),
        ("+ product, key: id, identifiers: {a: b}}", "9: .*only for address, consent, customer, interaction"),
        (
            "  - {match: 'shop_pl\\.customers', system: shop_pl, entity: product, key: id}",
            "9: .*the same `match` as in line 5",
        ),
        ("+ customer, key: id, into: []}", "9: .*`entity` beside `into`.*move it into the items"),
        (_BARE + "into: [{entity: product}, {entity: product}]}", "9: .*an entity 'product' in line 9 already"),
        (_BARE + "into: [{entity: order, name: customer}]}", "9: .*'customer' is the name of a customer already"),
        (_BARE + "into: [{entity: consent}]}", "9: .*into 1: `parent` is missing"),
        (_BARE + "into: [{entity: parcel}]}", "9: .*into 1: unknown entity 'parcel'"),
        (_BARE + "into: [{fields: {sku: s}}]}", "9: .*into 1: `entity` is missing"),
        (_BARE + "into: [{entity: product, key: id}]}", "9: .*into 1: unknown key 'key'"),
        (_BARE + "into: {entity: product}}", "9: .*into: expected a list of 1 to 8 items"),
        (_BARE + f"into: [{', '.join(['{entity: product}'] * 9)}]}}", "9: .*into: expected a list of 1 to 8 items"),
        (_BARE + "fields: {sku: s}}", "9: .*`entity` is missing .*several entities under `into`"),
        ("+ payment, key: id, parent: {order: {nummer: r}}}", "9: .*unknown key 'nummer' .*did you mean 'number'"),
        ("+ payment, key: id, parent: {order: {number: r, reference: q}}}", "9: .*2 fields .expected one of number"),
        ("+ payment, key: id, parent: {order: {number: [a, b]}}}", "9: .*2 parts .expected one column"),
        ("+ payment, key: id, parent: {order: {number: r, first: plced_at}}}", "9: .*did you mean 'placed_at'"),
        ("+ payment, key: id, parent: {order: {number: r, first: key down}}}", "9: .*'key down' .expected a field"),
        ("+ order_line, key: id, parent: {order: {number: r}}}", "9: .*a order_line names 'order' by a field"),
        ("+ address, key: id, parent: {customer: {email: e}}}", "9: .*for a customer, map `identifiers`"),
        ("+ customer, key: id}", "9: .*an entity 'customer' in line 5 already"),
        ("+ customer, key: id, name: order}", "9: .*'order' is the name of a order already"),
        ("  - 7", "9: topic 2: the value '7' \\(expected a section"),
        (
            "profile: {rules: {email: [newset]}}",
            "9: profile.rules.email: unknown rule 'newset' .*did you mean 'newest'",
        ),
        ("profile: {rules: {emial: [newest]}}", "9: profile.rules: unknown field 'emial' .*did you mean 'email'"),
        ("profile: {rules: {email: [newest, newest]}}", "9: profile.rules.email: 'newest' twice"),
        ("profile: {rules: {email: []}}", "9: profile.rules.email: no rules"),
        ("identifiers: {email: {normalise: [strip]}}", "9: identifiers.email: a built-in kind"),
        ("identifiers: {card: {normalise: [trim]}}", "9: identifiers.card.normalise: unknown step 'trim'.*'strip'"),
        ("identifiers: {card: {}}", "9: identifiers.card: `normalise` is missing"),
        ("systems: {a: {}}", "9: mapping: 'systems' stands here again"),
        ("topcis: []", "9: mapping: unknown key 'topcis' .*did you mean 'topics'"),
        ("  - [", "1?[0-9]: not YAML: "),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_nearest_right_word(line: str, found: str) -> None:
    line = line.replace("+ ", "  - {match: t, system: shop_pl, entity: ") if line.startswith("+ ") else line
    all_found = complaints(SYSTEMS + "topics:\n" + TOPIC + line + "\n")
    assert any(re.match("shop.yaml:" + found, each) for each in all_found), all_found


@pytest.mark.parametrize(
    ("system", "found"),
    [
        ("{country: Poland}", "country: 'Poland' (expected two capital letters"),
        ("{currency: zł}", "currency: 'zł' (expected three capital letters"),
        ("{priority: high}", "priority: 'high' (expected a whole number"),
        ("{priority: -1}", "priority: '-1' (expected a whole number"),
        ("{timezone: Europe/Warszawa}", "timezone: 'Europe/Warszawa' (expected an IANA name"),
        ("{timezone: Europe/Olso}", "did you mean 'Europe/Oslo'"),
        ("{unavailable_placeholder: 'hex:1'}", "(expected an even number of hexadecimal digits behind `hex:`)"),
        ("{unavailable_placeholder: {a: b}}", "(expected a list)"),
        ("{zone: UTC}", "unknown key 'zone'"),
        ("[]", "a list (expected a section"),
    ],
)
def test_a_system_is_checked(system: str, found: str) -> None:
    text = f"systems: {{s: {system}}}\ntopics: [{{match: t, system: s, entity: product, key: id}}]"
    assert any(found in each for each in complaints(text)), complaints(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "7", "[]", "systems: {}\ntopics: []", "a: &a [*a]", "\x00"])
def test_what_is_no_mapping_at_all_is_said_without_a_crash(text: str) -> None:
    assert complaints(text)


def test_keys_of_several_parts_are_compared_within_a_system_only() -> None:
    text = (
        SYSTEMS
        + """\
topics:
  - {match: a, system: shop_pl, entity: customer, key: [tenant, id]}
  - {match: b, system: shop_no, entity: customer, key: id}
  - {match: c, system: shop_no, entity: order, key: id, parent: {customer: cid}}
"""
    )
    assert load_mapping(text, "m").for_topic("c") is not None


def test_several_files_are_one_mapping_and_each_stands_by_itself() -> None:
    rules = "profile: {rules: {email: [newest]}}\n"
    erp = load_mapping("systems: {erp: {}}\ntopics: [{match: 'erp', system: erp, entity: order, key: id}]", "erp.yaml")
    shop = load_mapping(SYSTEMS + "topics:\n" + TOPIC + rules, "shop.yaml")
    both = join_mappings([erp, shop])
    assert set(both.systems) == {"erp", "shop_pl", "shop_no"}
    assert [rule.mapping.file_name for rule in both.topics] == ["erp.yaml", "shop.yaml"]
    assert both.for_topic("erp") is not None and both.for_topic("shop_pl.customers") is not None
    assert (both.rules["email"], both.rules["phone"]) == (("newest",), erp.rules["phone"])


def test_two_files_that_say_different_things_of_one_name_are_refused() -> None:
    one = load_mapping(SYSTEMS + "topics:\n" + TOPIC, "one.yaml")
    other = load_mapping(SYSTEMS.replace("PLN", "EUR") + "topics:\n" + TOPIC, "other.yaml")
    with pytest.raises(ConfigurationError, match=r"one\.yaml and other\.yaml: `systems` says two things of 'shop_pl'"):
        join_mappings([one, other])
