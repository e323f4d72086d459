"""Check what joins of one entry say of another: tables, fields, keys, types and circles."""

from __future__ import annotations

from collections import defaultdict

from nurt.mapping.joins.compile import (
    NUMBERS_MAX,
    TEXTS_MAX,
    has_tables,
    mixed_of,
    numbers_for,
    plan_of,
    schema_of,
    used_columns,
)
from nurt.mapping.joins.graph import LEVELS_MAX, At, all_items, circle_of, levels_of
from nurt.mapping.joins.numbers import Numbers
from nurt.mapping.joins.types import Use
from nurt.mapping.joins.words import KEY, joined_column
from nurt.mapping.types import Mapping, TopicMapping
from nurt.mapping.yaml_lines import Complaints, nearest
from nurt.model.entities import FieldType
from nurt.model.table_kinds import TABLE


def check_joins(mapping: Mapping) -> None:
    """Raise ConfigurationError with every mistake of the first file that has one."""
    if not has_tables(mapping):
        return
    found: dict[str, Complaints] = defaultdict(lambda: Complaints(mapping.file_name))
    items = dict(all_items(mapping))
    for at, item in items.items():
        file_name = item.file_name or mapping.file_name
        complaints = found.setdefault(file_name, Complaints(file_name))
        _Entry(at, item, items, complaints).check()
    for one in found.values():
        one.raise_all()
    _check_graph(mapping, items)
    numbers_for(mapping, Numbers())


def _check_graph(mapping: Mapping, items: dict[At, TopicMapping]) -> None:
    circle = circle_of(mapping)
    first = items[circle[0]] if circle else None
    if first is not None:
        complaints = Complaints(first.file_name or mapping.file_name)
        way = " -> ".join(f"{name} (line {items[system, name].line})" for system, name in circle)
        complaints.add(
            first.line,
            f"topic '{first.pattern}': with: a circle: {way} (expected tables that do not lead back); "
            "take what is needed from the first table directly",
        )
        complaints.raise_all()
    for at, level in levels_of(mapping).items():
        if level > LEVELS_MAX:
            item = items[at]
            complaints = Complaints(item.file_name or mapping.file_name)
            complaints.add(item.line, f"topic '{item.pattern}': with: level {level} (expected at most {LEVELS_MAX})")
            complaints.raise_all()


class _Entry:
    """Check of one entry."""

    def __init__(self, at: At, item: TopicMapping, items: dict[At, TopicMapping], complaints: Complaints) -> None:
        self._at, self._item, self._items, self._complaints = at, item, items, complaints
        self._what = f"topic '{item.pattern}'"

    def check(self) -> None:
        """Add every mistake."""
        if not self._item.uses:
            return
        for part in self._item.key.parts:
            if joined_column(part, self._item.uses) is not part:
                self._complaints.add(
                    self._item.line, f"{self._what}: key: {part.text!r} is another row's (expected a column of ours)"
                )
        for parent in self._item.parents:
            if parent.field is not None:
                self._complaints.add(
                    self._item.line,
                    f"{self._what}: parent {parent.name}: by its {parent.field}, beside `with` (expected its key); "
                    "have a table of its own look the key up",
                )
        fine = [self._check_use(use) for use in self._item.uses.values()]
        fine.append(self._check_columns())
        if all(fine):
            self._check_types()

    def _bad(self, use: Use, text: str) -> bool:
        self._complaints.add(use.line, f"{self._what}: with {use.name}: {text}")
        return False

    def _check_use(self, use: Use) -> bool:
        system = use.system or self._at[0]
        tables = {name: one for (of, name), one in self._items.items() if of == system and one.kind == TABLE}
        fine = True
        for name in use.tables:
            if name in tables:
                fine &= self._check_table(use, name, tables[name])
                continue
            other = self._items.get((system, name))
            if other is not None:
                fine = self._bad(
                    use,
                    f"table: {name!r} is mapped as {other.kind} (expected `entity: table`); map its rows as a table, "
                    "too, as another item of `into`",
                )
            else:
                fine = self._bad(use, f"table: no table {name!r} of system {system!r} {nearest(name, tables)}")
        if fine and use.pivot is not None:
            types = {tables[name].field_types[use.pivot[1]] for name in use.tables}
            if len(types) > 1:
                fine = self._bad(
                    use, f"pivot: {use.pivot[1]} is {' and '.join(sorted(types))} (expected one type in all tables)"
                )
        for part in use.by:
            for name, _ in part.mixed.joined if part.mixed is not None else ():
                if name in self._item.uses and not self._item.uses[name].on:
                    fine = self._bad(
                        use,
                        f"by: {part.text!r} uses what is looked up itself (expected ours, or a row beside us); look "
                        f"{use.name} up in the table that {name} names",
                    )
        return fine

    def _check_table(self, use: Use, name: str, table: TopicMapping) -> bool:
        types, fine = table.field_types, True
        fields = [*(("on", one) for one in use.on), *(("only", one) for one in use.only)]
        fields += [("first", rank.field) for rank in use.first if rank.field != KEY]
        fields += [("pivot", one) for one in use.pivot or ()]
        for word, one in fields:
            if one not in types:
                fine = self._bad(use, f"{word}: unknown field {one!r} of {name} {nearest(one, types)}")
        texts = [*use.on, *(use.pivot or ())[:1]]
        for one in texts:
            if types.get(one, FieldType.STR) is not FieldType.STR:
                fine = self._bad(use, f"{one} of {name} is {types[one]} (expected a text, which any key can be)")
        for one in use.only:
            if types.get(one, FieldType.STR) not in (FieldType.STR, FieldType.BOOL):
                fine = self._bad(use, f"only: {one} of {name} is {types[one]} (expected a text or bool)")
        ours, key = len(self._item.key.parts), len(table.key.parts)
        if use.on and len(use.on) != ours:
            fine = self._bad(use, f"on: {len(use.on)} fields (expected {ours}, as our key, in its order)")
        if use.by and len(use.by) != key:
            fine = self._bad(use, f"by: {len(use.by)} parts (expected {key}, as the key in line {table.line})")
        return fine

    def _check_columns(self) -> bool:
        fine = True
        for one in mixed_of(self._item):
            assert one.mixed is not None, "`mixed_of` gives only these"
            for name, column in sorted(one.mixed.joined):
                use = self._item.uses[name]
                table = self._items.get((use.system or self._at[0], use.tables[0]))
                if table is None or use.pivot is not None or column in table.field_types:
                    continue
                self._complaints.add(
                    one.mixed.line or self._item.line,
                    f"{self._what}: {name}.{column}: unknown field of {use.tables[0]} "
                    f"{nearest(column, table.field_types)}",
                )
                fine = False
        for use in self._item.uses.values():
            fine &= self._check_size(use)
        return fine

    def _check_size(self, use: Use) -> bool:
        table = self._items.get((use.system or self._at[0], use.tables[0]))
        if table is None:
            return False
        names = [*used_columns(self._item, use)] if use.pivot is None else [*use.pivot]
        names += [rank.field for rank in use.first]
        texts = sum(table.field_types.get(name, FieldType.STR) is FieldType.STR for name in names)
        if texts <= TEXTS_MAX and len(names) - texts <= NUMBERS_MAX:
            return True
        return self._bad(
            use,
            f"{texts} texts and {len(names) - texts} other fields are used (expected at most {TEXTS_MAX} and "
            f"{NUMBERS_MAX}); use two names with some fields each",
        )

    def _check_types(self) -> None:
        """Compile all that is evaluated where rows are assembled: its types are known from the mapping."""
        schema = schema_of(self._at, self._item, self._items)
        _, broken = plan_of(self._item, schema, self._item.system.timezone)
        for line, text in broken:
            self._complaints.add(
                line,
                f"{self._what}: {text}; columns of other rows, and parts that our own row says, are texts unless "
                "`types` says else: write TRY_CAST(x AS DECIMAL(18,4)) for a number",
            )
