"""What every command shares: options and output. This module imports nothing of the engine; see `opening` for state."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from nurt.adapters.visible_text import visible, visible_json, visible_lines
from nurt.cli.tables import PlainTable
from nurt.errors import ConfigurationError

Config = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="NURT_CONFIG", help="The deployment's settings file.", show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a page for a person.")]
DEFAULT_CONFIG = Path("nurt.yaml")
FLOWS = ("profiles", "stock")
Flow = Annotated[str, typer.Option("--flow", help="Whose messages and state: profiles, or stock.")]


class SafeConsole(Console):
    """Console on which no text steers the terminal; text is markup only where a call says so.

    Pages make values visible themselves (`shown`), for a sign is wider than what it stands for. This is the guard
    behind them: nothing is printed past it.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        super().__init__(stderr=to_stderr, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See rich.console.Console."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible_lines(segment.text))


stdout = SafeConsole()
"""Where results go."""
stderr = SafeConsole(to_stderr=True)
"""Where progress and complaints go, so that results can be piped."""


def print_json(value: Any) -> None:
    """Print one JSON document; money and quantities as text, so that no digit is lost; ids as hex."""
    document = orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.buffer.write(visible_json(document))
    sys.stdout.buffer.flush()


def print_json_line(value: Any) -> None:
    """Print one JSON document on its own line."""
    sys.stdout.buffer.write(visible_json(orjson.dumps(value, default=_plain, option=orjson.OPT_APPEND_NEWLINE)))
    sys.stdout.buffer.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path | datetime.timedelta):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; see `table_of`."""
    stdout.print(table_of(title, columns, rows), crop=False)


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> PlainTable:
    """Make a table; columns whose name ends in `>` are numbers, aligned to the right."""
    return PlainTable(visible(title), columns, [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> Text:
    """Write a cell as plain text: values from databases are not markup, and do not steer the terminal."""
    if isinstance(value, Text):
        return value
    return Text(f"{value:,}" if isinstance(value, int) else visible(str(value)))


def shown(value: object, style: str = "") -> Text:
    """Write a value from outside, for a page."""
    return Text(visible(str(value)), style)


def refuse(doing: str, found: str, remedy: str) -> ConfigurationError:
    """Make the error for a request that cannot be met."""
    return ConfigurationError(f"{doing}: {found}; {remedy}")
