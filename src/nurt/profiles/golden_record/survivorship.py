"""Choose one value of many for a profile's field, and name the rule that chose it. Hot path, for kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nurt.columnar.memory import compare_texts
from nurt.columnar.sorting import NOTHING, ORDER, WHAT, compare_entries, put_entry, sort_entries
from nurt.columnar.types import Int64s
from nurt.normalise.context import RULES, FoldContext
from nurt.rows.children.tables import ACCOUNT_RECORDS
from nurt.state.cells import has

FIELDS = (
    *("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card"),
    *("birth_date", "gender", "language", "country", "market"),
)
VERIFIED_BY = {"email": "email_verified", "phone": "phone_verified"}
ONLY, ROW = "only", "row"
"""Names in place of a rule: all candidates have one value; only the row's id decided."""

LAST_PRIORITY = 1_000_000
"""Priority of a system without one in the mapping: after all others."""

_BY_VERIFIED, _BY_FREQUENCY, _BY_PRIORITY, _BY_TIME = range(4)
_RULE_CODES = {"verified_first": _BY_VERIFIED, "most_frequent": _BY_FREQUENCY, "source_priority": _BY_PRIORITY}
# free cells behind a row's own
_PRIORITY, _UPDATED, _OFTEN, _PERSON = 1, 2, 3, 4

_INDEX = {name: np.int64(index) for index, name in enumerate(ACCOUNT_RECORDS.columns)}
_CHILD, _SYSTEM, _TS_MS = (_INDEX[name] for name in ("child", "system", "ts_ms"))
_UPDATED_AT, _BIRTH_DATE = _INDEX["updated_at"], _INDEX["birth_date"]


@dataclass(frozen=True, slots=True)
class SurvivorshipRules:
    """Survivorship rules in the form that kernels read; texts lie in `texts`.

    Attributes:
        texts: all names, one after another.
        steps: shape (fields, most rules): codes of a field's rules; -1 behind the last.
        names: shape (fields, most rules + 2, 2): where each rule's name begins and its size; behind a field's last rule
            those of ROW and ONLY.
        columns: shape (fields, 2): a field's column, and the column of its verified flag (-1: none).
        systems: shape (systems, 3): where a system's name begins, its size, and its priority.
    """

    texts: bytes
    steps: Int64s
    names: Int64s
    columns: Int64s
    systems: Int64s


def compile_survivorship(context: FoldContext, before: bytes = b"") -> SurvivorshipRules:
    """Compile a mapping's rules; the rules' texts follow the texts `before`."""
    texts = bytearray(before)

    def add(name: str) -> tuple[int, int]:
        encoded = name.encode()
        texts.extend(encoded)
        return len(texts) - len(encoded), len(encoded)

    rules = [_rules_of(context, name) for name in FIELDS]
    most = max(map(len, rules))
    steps = np.full((len(FIELDS), most), -1, dtype=np.int64)
    names = np.zeros((len(FIELDS), most + 2, 2), dtype=np.int64)
    for field, some in enumerate(rules):
        steps[field, : len(some)] = [_RULE_CODES.get(rule, _BY_TIME) for rule in some]
        names[field, : len(some) + 2] = [add(rule) for rule in (*some, ROW, ONLY)]
    columns = [(_INDEX[name], _INDEX[VERIFIED_BY[name]] if name in VERIFIED_BY else -1) for name in FIELDS]
    systems = [(*add(name), priority) for name, priority in context.priority.items()]
    return SurvivorshipRules(
        bytes(texts), steps, names, np.array(columns), np.array(systems, dtype=np.int64).reshape(len(systems), 3)
    )


def _rules_of(context: FoldContext, name: str) -> Sequence[str]:
    return [rule for rule in context.rules.get(name, RULES) if rule != "verified_first" or name in VERIFIED_BY]


@numba.njit(nogil=True, cache=True)
def note_person(cells: Int64s, columns: int, row: int, place: int, systems: Int64s) -> None:
    """Note in free cells a row of a person (`person` finds it), its system's priority and its time.

    cells    (r, .)  int64  rows of ACCOUNT_RECORDS, see `read_rows`; written
    columns  scalar  int64  how many columns ACCOUNT_RECORDS has
    row      scalar  int64  which row
    place    scalar  int64  how many rows were noted before
    systems  (s, 3)  int64  address and bytes of a system's name, its priority
    The time is in microseconds since 1970-01-01.
    """
    free = 2 * columns
    cells[place, free + _PERSON] = row
    at, size = cells[row, _SYSTEM], cells[row, columns + _SYSTEM]
    cells[row, free + _PRIORITY] = LAST_PRIORITY
    for k in range(len(systems)):
        if systems[k, 1] == size and compare_texts(systems[k, 0], size, at, size) == 0:
            cells[row, free + _PRIORITY] = systems[k, 2]
            break
    known = has(cells, row, columns, _UPDATED_AT)
    cells[row, free + _UPDATED] = cells[row, _UPDATED_AT] if known else cells[row, _TS_MS] * 1000


@numba.njit(nogil=True, cache=True)
def person(cells: Int64s, columns: int, place: int) -> int:
    """Find the row that was noted at a place."""
    return cells[place, 2 * columns + _PERSON]


@numba.njit(nogil=True, cache=True)
def choose(
    cells: Int64s, columns: int, people: int, field: int, steps: Int64s, fields: Int64s, entries: Int64s
) -> tuple[int, int]:
    """Choose a field's value among a profile's rows of a person.

    cells    (r, .)  int64  rows of ACCOUNT_RECORDS; the cells of `note_person` are read, _OFTEN is written
    columns  scalar  int64  how many columns ACCOUNT_RECORDS has
    people   scalar  int64  how many rows were noted
    field    scalar  int64  number of the field in FIELDS
    steps    (f, k)  int64  codes of each field's rules; -1 behind the last
    fields   (f, 2)  int64  a field's column, and the column of its verified flag (-1: none)
    entries  (e, 8)  int64  scratch; room for `people`
    Returns the winning row (-1: none): its keys are smallest, the first rule counts most, and the row's id decides
    between equal rows; and the first rule that separated the winner from a row of another value, by place in `names`.
    """
    column, verified = fields[field, 0], fields[field, 1]
    rules = 0
    while rules < steps.shape[1] and steps[field, rules] >= 0:
        if steps[field, rules] == _BY_FREQUENCY:
            _count_values(cells, columns, people, column, entries)
        rules += 1
    winner = -1
    count = 0
    for place in range(people):
        row = cells[place, 2 * columns + _PERSON]
        if (cells[row, 2 * columns] >> column) & 1 == 0:
            continue
        count += 1
        if winner < 0 or _is_before(cells, columns, row, winner, field, steps, rules, verified):
            winner = row
    rule = rules + 1
    if count < 2:
        return winner, rule
    for place in range(people):
        row = cells[place, 2 * columns + _PERSON]
        if row == winner or (cells[row, 2 * columns] >> column) & 1 == 0:
            continue
        if _is_same(cells, columns, row, winner, column):
            continue
        k = 0
        while k < rules and _key(cells, columns, row, steps[field, k], verified) == _key(
            cells, columns, winner, steps[field, k], verified
        ):
            k += 1
        rule = min(rule, k)
    return winner, rule


@numba.njit(nogil=True, cache=True)
def _key(cells: Int64s, columns: int, row: int, step: int, verified: int) -> int:
    """Give a row's sort key under a rule, smallest first; `verified`: column of the field's verified flag."""
    free = 2 * columns
    if step == _BY_VERIFIED:
        return 1 - cells[row, verified]
    if step == _BY_FREQUENCY:
        return -cells[row, free + _OFTEN]
    return cells[row, free + _PRIORITY] if step == _BY_PRIORITY else -cells[row, free + _UPDATED]


@numba.njit(nogil=True, cache=True)
def _is_before(
    cells: Int64s, columns: int, a: int, b: int, field: int, steps: Int64s, rules: int, verified: int
) -> bool:
    """Return whether row a comes before row b by the first `rules` of a field's steps, then by id."""
    for k in range(rules):
        one = _key(cells, columns, a, steps[field, k], verified)
        other = _key(cells, columns, b, steps[field, k], verified)
        if one != other:
            return one < other
    return compare_texts(cells[a, _CHILD], 16, cells[b, _CHILD], 16) < 0


@numba.njit(nogil=True, cache=True)
def _is_same(cells: Int64s, columns: int, a: int, b: int, column: int) -> bool:
    """Return whether rows a and b have equal values in a column; neither is null."""
    if column == _BIRTH_DATE:
        return cells[a, column] == cells[b, column]
    a_size, b_size = cells[a, columns + column], cells[b, columns + column]
    return a_size == b_size and compare_texts(cells[a, column], a_size, cells[b, column], a_size) == 0


@numba.njit(nogil=True, cache=True)
def _count_values(cells: Int64s, columns: int, people: int, column: int, entries: Int64s) -> None:
    """Note, in a free cell of every row with a value, how many rows have that value.

    cells    (r, .)  int64  rows of ACCOUNT_RECORDS; written
    columns  scalar  int64  how many columns ACCOUNT_RECORDS has
    people   scalar  int64  how many rows `note_person` noted
    column   scalar  int64  of the value
    entries  (e, 8)  int64  scratch; room for `people`
    """
    count = NOTHING
    for place in range(people):
        row = cells[place, 2 * columns + _PERSON]
        if has(cells, row, columns, column):
            number = cells[row, column] if column == _BIRTH_DATE else NOTHING  # a number's size is 0
            count = put_entry(
                entries, count, number, cells[row, column], cells[row, columns + column], NOTHING, NOTHING, row
            )
    sort_entries(entries, count)
    low = 0
    while low < count:
        high = low + 1
        while high < count and compare_entries(entries, entries[low, ORDER], entries[high, ORDER]) == 0:
            high += 1
        for at in range(low, high):
            cells[entries[entries[at, ORDER], WHAT], 2 * columns + _OFTEN] = high - low
        low = high
