"""Read a mapping: what the tables of the source systems mean.

The text comes in and checked values come out; reading the file is the caller's. docs/mapping.md is the manual.
"""

from __future__ import annotations

from nurt.core.mapping_read import read_identifier_rules, read_rules, read_systems
from nurt.core.mapping_stock import read_stock
from nurt.core.mapping_topics import read_topics
from nurt.core.mapping_types import Expression, Mapping, Parent, Reference, System, TopicMapping
from nurt.core.mapping_words import FILE_WORDS
from nurt.core.mapping_yaml import Complaints, compose, section

__all__ = ["Expression", "Mapping", "Parent", "Reference", "System", "TopicMapping", "load_mapping"]


def load_mapping(text: str, file_name: str) -> Mapping:
    """Check and compile the text of a mapping file; `file_name` is only for messages.

    Raises ConfigurationError that lists every mistake as `file:line: what was found (what was expected)`.
    """
    complaints = Complaints(file_name)
    node = compose(text, complaints)
    values = section(node, "mapping", FILE_WORDS, complaints, ignored="x-") if node is not None else {}
    systems = read_systems(values["systems"], complaints) if "systems" in values else {}
    rules = read_rules(values.get("profile"), complaints)
    identifier_rules = read_identifier_rules(values.get("identifiers"), complaints)
    topics = read_topics(values["topics"], systems, set(identifier_rules), complaints) if "topics" in values else ()
    stock = read_stock(values.get("stock"), complaints)
    complaints.raise_all()
    return Mapping(file_name, systems, topics, rules, identifier_rules, stock)
