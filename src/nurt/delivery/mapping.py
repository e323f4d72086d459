"""Read the mapping of a destination: its objects, their keys and fields as SQL expressions over profiles.

A preset has the objects of a known receiver; the section replaces objects, fields and policies of the preset by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from nurt.delivery.diff import DeletePolicy, ObjectPlan
from nurt.delivery.gone import GonePolicy
from nurt.errors import ConfigurationError
from nurt.mapping.sql.compile import BadExpression, compile_expression
from nurt.mapping.sql.evaluate import evaluate, result_type, spread, wanted
from nurt.mapping.types import Expression
from nurt.mapping.yaml_lines import meant
from nurt.model.delivery import LINK_SIGN, PROFILES, Fields, Row

OBJECT_WORDS = (
    *("type", "of", "key", "when", "each", "fields", "archived", "link", "parent", "needs_parent", "once", "options"),
)
POLICIES = ("when_gone", "when_merged", "when_erased")
GONE_THERE = "when_gone (there)"
"""Name of the words in `when_gone` that are about the receiver, apart from those about the profile."""

FAILED = "mapping_expression_failed"


@dataclass(frozen=True, slots=True)
class ObjectMapping:
    """Object of a destination.

    Attributes:
        type: the receiver's name for the object.
        key_field: the receiver's field that holds the external id.
        each: the list of a profile whose entries each give a row; None: one row a profile.
        archived: fields of a row whose profile was merged, under the policy `archive`.
        options: settings that only this kind of destination has.
    """

    plan: ObjectPlan
    type: str
    key_field: str
    key: Expression
    when: Expression | None
    each: str | None
    fields: Mapping[str, Expression]
    archived: Mapping[str, Expression]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in the mapping."""
        return self.plan.name

    @property
    def written(self) -> list[str]:
        """List the receiver's fields that are written, without the key."""
        return [*self.fields, *(name for name, _ in self.plan.parents)]


@dataclass(frozen=True, slots=True)
class DestinationMapping:
    """Destination, as its section describes it; `options` are for its kind.

    Attributes:
        of: what an analytics store gets whole; empty where `objects` decide.
    """

    name: str
    kind: str
    objects: tuple[ObjectMapping, ...]
    options: Mapping[str, Any]
    of: tuple[str, ...] = ()

    def object(self, name: str) -> ObjectMapping:
        """Find an object."""
        return next(one for one in self.objects if one.name == name)

    def kinds(self) -> set[str]:
        """List what its objects are made of: profiles, stock, orders."""
        return {one.plan.of for one in self.objects}

    def columns(self) -> set[str]:
        """List the columns of profiles that expressions name."""
        of_profiles = [one for one in self.objects if one.plan.of == PROFILES]
        return {name for one in of_profiles for each in _expressions(one) for name in each.columns}


Schemas = Mapping[str | None, Mapping[str, pl.DataType]]
"""By `each` (None: the profile itself): columns that an expression may name, with their types."""


class DestinationReader:
    """Reader of the sections of one file; a complaint names the path of what is wrong.

    Args:
        kinds: by what objects are made of, the columns that their expressions may name.
        prefixes: beginnings of columns of profiles that exist under any name, with their type.
        of: what objects are made of unless they say otherwise.
    """

    def __init__(
        self,
        file_name: str,
        kinds: Mapping[str, Schemas],
        prefixes: Mapping[str, pl.DataType],
        of: str = PROFILES,
    ) -> None:
        self._file = file_name
        self._of = of
        self._kinds = kinds
        self._prefixes = {PROFILES: prefixes}

    def destination(self, name: str, written: Any, preset: Mapping[str, Any]) -> DestinationMapping:
        """Read one destination, over its preset. Raises ConfigurationError."""
        where = f"destinations.{name}"
        section = self._section(written, where)
        kind = section.get("kind") or preset.get("kind")
        if not isinstance(kind, str):
            raise self._wrong(where, "`kind` is missing", "name the receiver, for example `kind: webhook`")
        objects = {key: _split_gone(value) for key, value in preset.get("objects", {}).items()}
        for key, value in self._section(section.get("objects") or {}, f"{where}.objects").items():
            if value is None:
                objects.pop(key, None)
                continue
            override = _split_gone(self._section(value, f"{where}.objects.{key}"))
            before = objects.get(key, {})
            merged = {**before, **override}
            for part in ("fields", "archived", "options"):
                both = {**before.get(part, {}), **(override.get(part) or {})}
                merged[part] = {key: value for key, value in both.items() if value is not None}
            objects[key] = merged
        overrides = {key: value for key, value in section.items() if key not in ("kind", "preset", "objects")}
        options = {**{k: v for k, v in preset.items() if k not in ("kind", "objects")}, **overrides}
        gone_there = self._gone_there(options.get("when_gone"), GonePolicy.ASK, f"{where}.when_gone")
        for value in objects.values():
            if value.get("link") is None:
                value.setdefault(GONE_THERE, gone_there)
        kinds = {key: str(value.get("of", self._of)) for key, value in objects.items()}
        mapped = tuple(self._object(key, value, f"{where}.objects.{key}", kinds) for key, value in objects.items())
        return DestinationMapping(name, kind, mapped, options)

    def _object(self, name: str, section: Mapping[str, Any], where: str, kinds: Mapping[str, str]) -> ObjectMapping:
        known = (*OBJECT_WORDS, *POLICIES)
        for word in section:
            if word not in (*known, GONE_THERE):
                raise self._wrong(where, f"unknown key `{word}`", f"known are {', '.join(known)}{meant(word, known)}")
        of, names = kinds[name], list(kinds)
        if of not in self._kinds:
            raise self._wrong(where, f"`of: {of}`", f"choose one of {', '.join(self._kinds)}{meant(of, self._kinds)}")
        schemas = self._kinds[of]
        each = section.get("each")
        if each not in schemas:
            lists = [one for one in schemas if one]
            raise self._wrong(where, f"`each: {each}`", f"name one of {', '.join(lists)}{meant(str(each), lists)}")
        link = section.get("link")
        if link is not None and (not isinstance(link, list) or len(link) != 2 or not {*link} <= {*names}):
            raise self._wrong(where, "`link` joins no two objects", f"write `link: [a, b]` of {', '.join(names)}")
        if link is not None and GONE_THERE in section:
            raise self._wrong(
                where, f"`when_gone: {section[GONE_THERE]}` at a link", "write it at the objects it joins"
            )
        key = section.get("key")
        if isinstance(key, str):
            key = {"": key}
        if link is not None and key is None:
            key = {"": "id"}
        if not isinstance(key, dict) or len(key) != 1:
            raise self._wrong(where, "`key` is missing", "write `key: {receiver_field: expression}`")
        ((key_field, key_text),) = key.items()
        parents = self._parents(section.get("parent") or {}, name, f"{where}.parent", kinds)
        far = self._far(link, name, where, kinds)
        gone, merged, erased = (self._delete_policy(section, policy, where, bool(link)) for policy in POLICIES)
        plan = ObjectPlan(
            name,
            (link[0], link[1]) if link else None,
            bool(section.get("once", False)),
            str(key_text).strip() != "id" and not link,
            gone,
            merged,
            erased,
            of=of,
            parents=parents,
            needs_parent=bool(section.get("needs_parent", False)),
            far=far,
            gone_there=self._gone_there(section.get(GONE_THERE), GonePolicy.ASK, f"{where}.when_gone"),
        )
        scope = of, each
        mapped = ObjectMapping(
            plan,
            str(section.get("type", name)),
            key_field,
            self._expression(key_text, scope, f"{where}.key"),
            None if section.get("when") is None else self._expression(section["when"], scope, f"{where}.when"),
            each,
            self._expressions(section.get("fields") or {}, scope, f"{where}.fields"),
            self._expressions(section.get("archived") or {}, (of, None), f"{where}.archived"),
            section.get("options") or {},
        )
        if missing := [one for one in mapped.archived if one not in mapped.fields]:
            raise self._wrong(
                f"{where}.archived",
                f"`{missing[0]}` is not among `fields`",
                "give its value for live profiles there, so that a split takes it back",
            )
        return mapped

    def _parents(self, section: Any, name: str, where: str, kinds: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        written = self._section(section, where)
        names = list(kinds)
        before = [one for one in names[: names.index(name)] if kinds[one] == PROFILES]
        for field_name, object_ in written.items():
            if kinds[name] == PROFILES or object_ not in before:
                raise self._wrong(
                    f"{where}.{field_name}",
                    f"{object_} is no row of the profile that {name} belongs to",
                    f"under an object with `of: orders`, name one that stands before it: {', '.join(before) or 'none'}",
                )
        return tuple((str(field_name), str(object_)) for field_name, object_ in written.items())

    def _far(self, link: Sequence[str] | None, name: str, where: str, kinds: Mapping[str, str]) -> str | None:
        """Find the end of a link that is a row of the order's profile."""
        if link is None or kinds[link[0]] == kinds[link[1]] == kinds[name]:
            return None
        if kinds[link[1]] != PROFILES or kinds[link[0]] != kinds[name] or kinds[name] == PROFILES:
            raise self._wrong(
                where, "`link` joins rows that do not hang together", "write `of: orders` and [order, contact]"
            )
        return link[1]

    def _delete_policy(self, section: Mapping[str, Any], policy: str, where: str, is_link: bool) -> DeletePolicy:
        if is_link:
            default = DeletePolicy.DELETE if policy == "when_gone" else DeletePolicy.KEEP
        elif policy == "when_merged":
            default = DeletePolicy.ARCHIVE if section.get("archived") else DeletePolicy.DELETE
        else:
            default = DeletePolicy.ERASE if policy == "when_erased" else DeletePolicy.KEEP
        word = section.get(policy, default)
        try:
            return DeletePolicy(word)
        except ValueError:
            known = [*map(str, DeletePolicy), *(map(str, GonePolicy) if policy == "when_gone" else ())]
            kinds = ", ".join(known)
            raise self._wrong(where, f"`{policy}: {word}`", f"choose one of {kinds}{meant(str(word), known)}") from None

    def _gone_there(self, word: Any, default: GonePolicy, where: str) -> GonePolicy:
        try:
            return default if word is None else GonePolicy(word)
        except ValueError:
            known = [*map(str, GonePolicy)]
            raise self._wrong(
                where, f"`{word}`", f"choose one of {', '.join(known)}{meant(str(word), known)}"
            ) from None

    def _expressions(self, section: Any, scope: tuple[str, str | None], where: str) -> dict[str, Expression]:
        fields = self._section(section, where)
        return {str(name): self._expression(text, scope, f"{where}.{name}") for name, text in fields.items()}

    def _expression(self, text: Any, scope: tuple[str, str | None], where: str) -> Expression:
        try:
            expression = compile_expression("true" if text is True else "false" if text is False else str(text))
        except BadExpression as bad:
            raise self._wrong(where, str(bad), "correct the expression") from None
        of, each = scope
        schema = dict(self._kinds[of][each])
        prefixes = self._prefixes.get(of, {})
        for name in sorted(expression.columns):
            kind = schema.get(name) or next((t for p, t in prefixes.items() if name.startswith(p)), None)
            if kind is None:
                raise self._wrong(
                    where, f"no column `{name}`", f"name one of {', '.join(sorted(schema))}{meant(name, schema)}"
                )
            schema[name] = kind
        if result_type(spread(expression), pl.Schema(schema)) is None:
            raise self._wrong(where, f"{text!r} cannot be evaluated over {of}", "check the types it compares")
        return expression

    def _section(self, written: Any, where: str) -> dict[str, Any]:
        if not isinstance(written, dict):
            raise self._wrong(where, f"it is {type(written).__name__}", "write a section of `key: value` lines")
        return written

    def _wrong(self, where: str, found: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(f"reading {self._file}: {where}: {found}; {remedy}")


def _split_gone(section: Mapping[str, Any]) -> dict[str, Any]:
    """Split `when_gone`: a word about the profile, and a word about the receiver; one of them, or a list of both."""
    split = dict(section)
    written = split.pop("when_gone", None)
    for word in written if isinstance(written, list) else [written]:
        name = GONE_THERE if word in list(GonePolicy) else "when_gone"
        if name in split:
            split["when_gone"] = written  # two words about one thing: the list as a whole is refused
        elif word is not None:
            split[name] = word
    return split


def _expressions(one: ObjectMapping) -> Iterable[Expression]:
    yield one.key
    if one.when is not None:
        yield one.when
    yield from one.fields.values()
    yield from one.archived.values()


@dataclass(frozen=True, slots=True)
class MappingFailure:
    """Row for which an expression failed: the profile's place in the frame, the object, its fields."""

    index: int
    object: str
    fields: tuple[str, ...]


def map_rows(
    mapping: DestinationMapping,
    frames: Mapping[str | None, pl.DataFrame],
    count: int,
    archived: bool = False,
    of: str = PROFILES,
) -> tuple[list[list[Row]], list[MappingFailure]]:
    """Evaluate a destination's objects over profiles.

    Args:
        frames: by `each`; the column `index` says which profile a row belongs to.
        archived: the profiles are merged ones: return what their archived rows hold (keys empty).
        of: the objects of profiles, stock or orders.
    Returns: for each of `count` profiles its rows in the order of the objects; and the rows that failed.
    """
    rows: list[list[Row]] = [[] for _ in range(count)]
    failed: list[MappingFailure] = []
    for one in mapping.objects:
        fields = one.archived if archived else one.fields
        frame = frames.get(None if archived else one.each)
        if frame is None or not frame.height or (archived and not fields) or one.plan.of != of or one.plan.far:
            continue
        if one.plan.link is not None and archived:
            continue
        for index, key, values, wrong in _evaluated(one, fields, frame, archived):
            if wrong:
                failed.append(MappingFailure(index, one.name, wrong))
            elif one.plan.link is not None:
                ends = [next((row for row in rows[index] if row.object == end), None) for end in one.plan.link]
                if all(ends):
                    link_key = LINK_SIGN.join(end.key for end in ends if end is not None)
                    rows[index].append(Row(one.name, link_key, {"linked": True}))
            elif archived or key not in (None, ""):
                rows[index].append(Row(one.name, key or "", values))
    return rows, failed


def _evaluated(
    one: ObjectMapping, fields: Mapping[str, Expression], frame: pl.DataFrame, archived: bool
) -> Iterable[tuple[int, str | None, Fields, tuple[str, ...]]]:
    expressions = [wanted(f"f:{name}", expression, pl.Null()) for name, expression in fields.items()]
    if not archived:
        expressions.append(wanted("key", one.key, pl.Null()))
        if one.when is not None:
            expressions.append(wanted("when", one.when, pl.Boolean()))
    columns, failures = evaluate(frame, expressions)
    wrong: dict[int, list[str]] = {}
    for name, guilty in failures.items():
        for at in guilty:
            wrong.setdefault(at, []).append(name.removeprefix("f:"))
    keys = [None] * frame.height if archived else columns["key"].cast(pl.String).to_list()
    passes = [True] * frame.height if archived or one.when is None else columns["when"].to_list()
    names = list(fields)
    values = (
        zip(*(columns[f"f:{name}"].to_list() for name in names), strict=True) if names else iter([()] * frame.height)
    )
    for at, (index, key, passed, row_values) in enumerate(
        zip(frame["index"].to_list(), keys, passes, values, strict=True)
    ):
        if at in wrong:
            yield index, None, {}, tuple(wrong[at])
        elif passed:
            yield index, key, dict(zip(names, row_values, strict=True)), ()
