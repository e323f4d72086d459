r"""Patterns over topic names, matched in linear time: whoever may name a topic must not be able to stop nurt.

A pattern is written in Python's syntax and means what it means there. It is matched by the automata of the Rust crate
`regex` (RE2's design), which polars brings. What these cannot do, or would read in another way, is refused with what to
write instead: `(a+)+b` costs a backtracking matcher 2^n steps, here n.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

import polars as pl

WHOLE = "nurt_whole"
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P=|P<|<=|<!|[=!>(#])?|\{[0-9]*,?[0-9]*\}[?+]?|[*+?][?+]?|.", re.DOTALL
)
_LOOKS = "name the topics that do match, or put an entry for the others above this one (the first that matches counts)"
_REWRITES: Mapping[str, tuple[str, str]] = {
    "(?=": ("looks ahead", _LOOKS),
    "(?!": ("looks ahead", _LOOKS),
    "(?<=": ("looks behind", _LOOKS),
    "(?<!": ("looks behind", _LOOKS),
    "(?P=": ("repeats a group", "write out what the group may be, with `|`"),
    "(?>": ("is an atomic group", "write `(?:`"),
    "(?(": ("is a condition", "write both alternatives, with `|`"),
    "(?#": ("is a comment", "remove it; YAML has `# ...`"),
    "\\Z": ("ends the name", "remove it: a pattern matches the whole name anyway"),
    "\\N": ("names a character", "write the character, or `\\u` and its number"),
    "\\<": ("escapes what needs no backslash", "write `<`"),
    "{": ("is no repetition", "write `\\{`"),
    "\\>": ("escapes what needs no backslash", "write `>`"),
}


class BadPattern(ValueError):
    """Pattern that cannot be used; its text says what was found, and what to write instead."""


class TopicPattern:
    """Pattern over topic names. Raises BadPattern.

    Attributes:
        text: as it was written.
        groups: names of its groups.
    """

    __slots__ = ("_named", "groups", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.groups = tuple(_in_python(text).groupindex)
        self._named = rf"(?P<{WHOLE}>(?:{text}))"
        for pattern in (rf"\A(?:{text})\z", self._whole):
            _try(pattern, text)

    @property
    def _whole(self) -> str:
        return rf"\A{self._named}\z"

    def fullmatch(self, name: str) -> dict[str, str] | None:
        """Match a whole name; return what the named groups hold, empty where they took no part; None: no match."""
        found = pl.Series([name], dtype=pl.String).str.extract_groups(self._whole)[0]
        if found is None or found[WHOLE] is None:
            return None
        return {group: found[group] or "" for group in self.groups}

    def search(self, name: str) -> bool:
        """Say whether the pattern matches anywhere in a name."""
        return bool(pl.Series([name], dtype=pl.String).str.contains(self._named)[0])


def _in_python(text: str) -> re.Pattern[str]:
    """Compile the pattern as Python does, and find what only Python can do, or would do in another way."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            compiled = re.compile(text)
    except re.error as error:
        raise BadPattern(
            f"not a regular expression: {text!r}: {error.msg} at character {(error.pos or 0) + 1}"
        ) from None
    except FutureWarning:
        raise BadPattern(f"{text!r}: a `[`, or a doubled sign, within `[...]`; write a backslash before it") from None
    except (RecursionError, OverflowError, MemoryError):
        raise BadPattern("it is too long or nested too deeply; write a shorter pattern") from None
    if WHOLE in compiled.groupindex:
        raise BadPattern(f"{text!r}: a group cannot be named {WHOLE}; choose another name")
    if compiled.flags & (re.VERBOSE | re.ASCII):
        raise BadPattern(f"{text!r}: the flags `x` and `a` are not known here; write the pattern without them")
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in _REWRITES:
            what, instead = _REWRITES[token]
            raise _refused(text, found.start(), f"`{token}` {what}", instead)
        if token[0] in "*+?{" and len(token) > 1 and token[-1] == "+":
            raise _refused(text, found.start(), f"`{token}` never gives back", f"write `{token[:-1]}`")
        if token[0] == "{" and token[1:2] == "," and token[-1] in "}?":
            raise _refused(text, found.start(), f"`{token}` has no beginning", f"write `{{0{token[1:]}`")
        if token[0] == "\\" and token[1:].isdigit():
            raise _refused(
                text, found.start(), f"`{token}` repeats a group", "write out what the group may be, with `|`"
            )
    return compiled


def _refused(text: str, at: int, what: str, instead: str) -> BadPattern:
    return BadPattern(f"{text!r}: {what} at character {at + 1}, which no linear-time matcher can do; {instead}")


def _try(pattern: str, text: str) -> None:
    """Let the matcher compile a pattern; what it says is about the pattern."""
    try:
        pl.Series([""], dtype=pl.String).str.contains(pattern)
    except pl.exceptions.PolarsError as failed:
        said = str(failed)
        why = "too large" if "size limit" in said else said.rpartition("error: ")[2].splitlines()[0]
        raise BadPattern(
            f"{text!r}: {why} (expected what a linear-time matcher can do); write a simpler pattern"
        ) from None
