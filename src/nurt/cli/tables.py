"""Tables for a terminal of any width: names and numbers stay whole, only prose is wrapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

GAP = 2
"""Blanks between columns."""
PROSE_MIN = 32
"""Letters of a line of prose beside other columns; narrower prose stands below its row."""
SHORT_MAX = 20
"""Letters of prose that stays beside other columns when longer prose stands below."""
NAME_MIN = 24
"""Letters of the first column; if it is narrower, every name stands above its row."""
INDENT = 4
"""Blanks before prose below its row."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths of columns; a first cell that is wider stands above its row, a last one below it.

    Attributes:
        widths: in letters; 0: every cell stands on its own lines.
        prose: the last column is prose that stands below its row where it is wider.
    """

    widths: Sequence[int]
    prose: bool


@dataclass(frozen=True, slots=True)
class PlainTable:
    """Table without lines: names in the first column, numbers where a title ends in `>`, perhaps prose in the last.

    A table that is too wide takes these steps until it fits: prose is wrapped; long prose goes below its row; names
    that are too long go above their row; all names go there; other texts are wrapped at blanks. No word is ever broken.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines, for the current width."""
        if self.title:
            yield Text(self.title, "bold")
        titles = [Text(column.rstrip(">"), "dim") for column in self.columns]
        rows = [titles, *self.rows] if any(title.plain for title in titles) else [*self.rows]
        right = [column.endswith(">") for column in self.columns]
        columns = _fitted(rows, right, options.max_width)
        for row in rows:
            for line in _lines(row, columns, right, console, options.max_width):
                line.rstrip()
                line.no_wrap, line.overflow = True, "ignore"
                yield line


def _fitted(rows: Sequence[Sequence[Text]], right: Sequence[bool], width: int) -> Columns:
    """Choose widths for a terminal of `width` letters; see `PlainTable` for the steps."""
    widths = [max((row[at].cell_len for row in rows), default=0) for at in range(len(right))]

    def left_over() -> int:
        return width - sum(widths) - GAP * (len(widths) - 1)

    prose = len(right) > 1 and not right[-1]
    if left_over() >= 0:
        return Columns(widths, prose=False)
    if prose:
        if widths[-1] + left_over() >= max(PROSE_MIN, _longest(rows, len(widths) - 1)):
            widths[-1] += left_over()
            return Columns(widths, prose=False)
        widths[-1] = max((row[-1].cell_len for row in rows if row[-1].cell_len <= SHORT_MAX), default=0)
    if left_over() >= 0:
        return Columns(widths, prose)
    names = max(0, widths[0] + left_over())
    kept = (row[0].cell_len for row in rows if row[0].cell_len <= names)
    widths[0] = max(kept, default=0) if names >= NAME_MIN else 0
    while left_over() < 0:
        wide = [at for at, is_number in enumerate(right) if at and not is_number and widths[at] > _longest(rows, at)]
        if not wide:
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return Columns(widths, prose)


def _longest(rows: Sequence[Sequence[Text]], at: int) -> int:
    """Measure the longest word of a column."""
    return max((cell_len(word) for row in rows for word in row[at].plain.split()), default=0)


def _lines(
    row: Sequence[Text], columns: Columns, right: Sequence[bool], console: Console, width: int
) -> Iterator[Text]:
    """Write one row as lines."""
    cells, below = list(row), Text()
    if cells[0].cell_len > columns.widths[0]:
        yield cells[0].copy()
        cells[0] = Text()
    if columns.prose and cells[-1].cell_len > columns.widths[-1]:
        below, cells[-1] = cells[-1], Text()
    if any(cell.plain for cell in cells):
        wrapped = [
            cell.wrap(console, max(1, letters), overflow="fold")
            for cell, letters in zip(cells, columns.widths, strict=True)
        ]
        for depth in range(max(map(len, wrapped))):
            line = Text()
            for at, (parts, letters) in enumerate(zip(wrapped, columns.widths, strict=True)):
                part = parts[depth].copy() if depth < len(parts) else Text()
                part.rstrip()
                blanks = " " * (letters - part.cell_len)
                line.append(" " * GAP if at else "")
                line = Text.assemble(line, blanks, part) if right[at] else Text.assemble(line, part, blanks)
            yield line
    for part in below.wrap(console, max(PROSE_MIN, width - INDENT), overflow="fold") if below.plain else ():
        yield Text.assemble(" " * INDENT, part)
