"""What every command shares: options and output. This module imports nothing of the engine; see `opening` for state."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.text import Text

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

stdout = Console(highlight=False)
"""Where results go."""
stderr = Console(stderr=True, highlight=False)
"""Where progress and complaints go, so that results can be piped."""


def print_json(value: Any) -> None:
    """Print one JSON document; money and quantities as text, so that no digit is lost; ids as hex."""
    sys.stdout.buffer.write(orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def print_json_line(value: Any) -> None:
    """Print one JSON document on its own line."""
    sys.stdout.buffer.write(orjson.dumps(value, default=_plain, option=orjson.OPT_APPEND_NEWLINE))
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
    return PlainTable(title, columns, [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> Text:
    """Write a cell as plain text: values from databases are not markup."""
    if isinstance(value, Text):
        return value
    return Text(f"{value:,}" if isinstance(value, int) else str(value))


def refuse(doing: str, found: str, remedy: str) -> ConfigurationError:
    """Make the error for a request that cannot be met."""
    return ConfigurationError(f"{doing}: {found}; {remedy}")
