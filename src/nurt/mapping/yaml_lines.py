"""Read YAML with the line of every node, and collect all mistakes instead of stopping at the first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nurt.errors import ConfigurationError
from nurt.mapping.words import Shape, Word

NAME_MAX = 100
"""Letters of a name that are compared with known names."""
DEPTH_MAX = 64
MERGED_MAX = 10_000
"""Keys that merges (`<<`) bring into one section."""
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


class Complaints:
    """Complaints about one file, with lines.

    Attributes:
        names: under `with` of the entry that is read: expressions may use them.
    """

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.names: Collection[str] = ()
        self.merged = 0
        self._found: list[tuple[int, str]] = []

    def add(self, node: Node | int, text: str) -> None:
        """Keep one complaint about a node, or about a line counted from 1."""
        self._found.append((node if isinstance(node, int) else line_of(node), text))

    def raise_all(self) -> None:
        """Raise ConfigurationError with every complaint in the order of lines, when there are any."""
        if not self._found:
            return
        lines = [f"  {self.file_name}:{line}: {text}" for line, text in sorted(set(self._found))]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise ConfigurationError(
            f"reading the mapping {self.file_name}: {count} (expected none); correct what is listed and start again\n"
            + "\n".join(lines)
        )


class BadYaml(ValueError):
    """Text that is no YAML, or more than a file of settings can be.

    Attributes:
        line: counted from 1.
        what: was found.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


class BoundLoader(yaml.SafeLoader):
    """Loader that refuses what no person writes: deep nesting, a node within itself, merges that double and double."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._open: list[str | None] = []

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """See yaml.composer.Composer."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) and event.anchor in self._open:
            raise _too_much(f"*{event.anchor} names what it stands in", event.start_mark)
        if len(self._open) >= DEPTH_MAX:
            raise _too_much(f"nested deeper than {DEPTH_MAX}", event.start_mark)
        self._open.append(getattr(event, "anchor", None) if isinstance(event, yaml.NodeEvent) else None)
        try:
            node: Node | None = super().compose_node(parent, index)
        finally:
            self._open.pop()
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        """See yaml.constructor.SafeConstructor."""
        super().flatten_mapping(node)
        if len(node.value) > MERGED_MAX:
            raise _too_much(f"merges of more than {MERGED_MAX} keys", node.start_mark)


def load_yaml(text: str) -> Any:
    """Read the values of a YAML text. Raises BadYaml."""
    try:
        return yaml.load(text, Loader=BoundLoader)
    except yaml.YAMLError as error:
        raise _bad(error) from None
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # PyYAML lets these out of a scalar that is not of its type: a date of the 99th month, `!!int x`
        raise BadYaml(1, f"a value that is not of its type ({type(error).__name__})") from None


def _too_much(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _bad(error: yaml.YAMLError) -> BadYaml:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or "characters that YAML does not allow"
    return BadYaml(mark.line + 1 if mark is not None else 1, what)


def line_of(node: Node) -> int:
    """Return the line that a node begins at, counted from 1."""
    return int(node.start_mark.line) + 1


def compose(text: str, complaints: Complaints) -> Node | None:
    """Parse YAML into nodes; complain and return None when the text is not YAML, or empty."""
    try:
        node = yaml.compose(text, Loader=BoundLoader)
    except yaml.YAMLError as error:
        bad = _bad(error)
        complaints.add(bad.line, f"not YAML: {bad.what}; look at quotes and indentation")
        return None
    if node is None:
        complaints.add(1, "the file is empty (expected `systems` and `topics`)")
    return node


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which names are known, and which one was probably meant."""
    names = list(known)
    return f"(expected {'one of ' if len(names) > 1 else ''}{', '.join(names) or 'none'})" + meant(name, names)


def meant(name: str, known: Iterable[str]) -> str:
    """Ask whether the nearest known name was meant, when one is near enough."""
    folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower()[:NAME_MAX], list(folded), n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def pairs(node: Node, what: str, complaints: Complaints) -> list[tuple[ScalarNode, Node]] | None:
    """Return the keys and values of a section, merges (`<<`) resolved; complain about repeated keys and wrong types."""
    if not isinstance(node, MappingNode):
        complaints.add(node, f"{what}: {_kind(node)} (expected a section of `key: value` lines)")
        return None
    merged: dict[str, tuple[ScalarNode, Node]] = {}
    own: dict[str, tuple[ScalarNode, Node]] = {}
    for key, value in node.value:
        if key.tag == _MERGE:
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                complaints.merged += 1
                if complaints.merged > MERGED_MAX:
                    complaints.add(key, f"{what}: merges of more than {MERGED_MAX} sections; write them out")
                    break
                for inner, inner_value in pairs(source, what, complaints) or []:
                    merged.setdefault(inner.value, (inner, inner_value))
        elif not isinstance(key, ScalarNode):
            complaints.add(key, f"{what}: a key that is no text (expected a name)")
        elif key.value in own:
            first = line_of(own[key.value][0])
            complaints.add(
                key, f"{what}: {key.value!r} stands here again (expected once; first in line {first}); remove one"
            )
        else:
            own[key.value] = (key, value)
    return list({**merged, **own}.values())


def section(
    node: Node, what: str, words: Mapping[str, Word], complaints: Complaints, ignored: str | None = None
) -> dict[str, Node]:
    """Return a section's values by key; complain about missing keys, and unknown ones not beginning with `ignored`."""
    values: dict[str, Node] = {}
    found = pairs(node, what, complaints)
    if found is None:
        return values
    for key, value in found:
        if key.value in words:
            values[key.value] = value
        elif ignored is None or not key.value.startswith(ignored):
            complaints.add(key, f"{what}: unknown key {key.value!r} {nearest(key.value, words)}")
    for name, word in words.items():
        if word.required and name not in values:
            complaints.add(node, f"{what}: `{name}` is missing (expected a {word.shape.value}): {word.meaning}")
    return values


def text_of(node: Node, what: str, complaints: Complaints, word: Word | None = None) -> str | None:
    """Return a scalar as it is written, so that `NO` is Norway and `01` keeps its zero; None after a complaint."""
    if not isinstance(node, ScalarNode):
        complaints.add(node, f"{what}: {_kind(node)} (expected a {(word.shape if word else Shape.TEXT).value})")
        return None
    text: str = node.value
    if node.tag == _NULL and text.lower() != "null":
        text = ""
    if not text.strip():
        complaints.add(node, f"{what}: nothing (expected a {(word.shape if word else Shape.TEXT).value})")
        return None
    if word is not None and word.pattern is not None and not re.fullmatch(word.pattern, text):
        complaints.add(node, f"{what}: {text!r} (expected {word.expected})")
        return None
    return text


def number_of(node: Node, what: str, complaints: Complaints) -> int | None:
    """Return a whole number not below zero; None after a complaint."""
    if isinstance(node, ScalarNode) and re.fullmatch(r"[0-9]{1,9}", node.value):
        return int(node.value)
    found = repr(node.value) if isinstance(node, ScalarNode) else _kind(node)
    complaints.add(node, f"{what}: {found} (expected a whole number, 0 or more)")
    return None


def items_of(node: Node, what: str, complaints: Complaints) -> list[Node]:
    """Return the items of a list, or a single value as a list of one; complain about a section."""
    if isinstance(node, MappingNode):
        complaints.add(node, f"{what}: {_kind(node)} (expected a list)")
        return []
    return list(node.value) if isinstance(node, SequenceNode) else [node]


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a section"
    if isinstance(node, SequenceNode):
        return "a list"
    return f"the value {node.value!r}" if node.value else "nothing"
