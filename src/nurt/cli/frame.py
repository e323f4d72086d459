"""What every command shares: options, how it prints, and how it opens a deployment."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.embedded import EMBEDDED, embedded_state
from nurt.adapters.redis.errors import naming_failures
from nurt.app.opening import fold_context
from nurt.columnar.ids import Ids
from nurt.errors import ConfigurationError
from nurt.inspect.counters import Tally
from nurt.inspect.profile_lookup import ReadModel
from nurt.inspect.quarantine import Quarantine
from nurt.mapping.load import read_mapping
from nurt.model.keys import Keys
from nurt.rows.child_tables import GUEST
from nurt.settings import Settings, load_settings, stock_settings

Config = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="NURT_CONFIG", help="The deployment's settings file.", show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a page for a person.")]
DEFAULT_CONFIG = Path("nurt.yaml")
FLOWS = ("profiles", "stock")
Flow = Annotated[str, typer.Option("--flow", help="Whose messages and state: profiles, or stock.")]

page = Console(highlight=False)
"""Where results go."""
aside = Console(stderr=True, highlight=False)
"""Where progress and complaints go, so that results can be piped."""


@dataclass(frozen=True, slots=True)
class State:
    """A deployment's state, open for looking at it.

    Attributes:
        systems: by name: what the entities in them are called that accounts are named after.
    """

    settings: Settings
    systems: Mapping[str, frozenset[str]]
    profiles: ReadModel
    quarantine: Quarantine
    tally: Tally


@contextmanager
def deployment(config: Path) -> Iterator[Settings]:
    """Read the settings; where the state is embedded, have its server run meanwhile."""
    settings = load_settings(config)
    if settings.redis_url != EMBEDDED:
        yield settings
        return
    with embedded_state(settings.data / "valkey") as url:
        yield replace(settings, redis_url=url)


@contextmanager
def opened_state(config: Path, flow: str = "profiles") -> Iterator[State]:
    """Open the state of one flow of the deployment that a settings file describes."""
    if flow not in FLOWS:
        raise refuse(f"opening the flow {flow!r}", "there is none of this name", f"name {' or '.join(FLOWS)}")
    with deployment(config) as settings:
        own = stock_settings(settings) if flow == "stock" else settings
        with state_of(own) as state:
            yield state


@contextmanager
def state_of(settings: Settings) -> Iterator[State]:
    """Open a deployment's state for reading."""
    mapping = read_mapping(settings.mapping_files)
    context = fold_context(mapping, Ids(settings.ids_secret()))
    names = {GUEST, *(rule.mapping.name for rule in mapping.topics if rule.mapping.kind == "customer")}
    keys = Keys(settings.prefix, settings.shards)
    realms = tuple(sorted({*context.realm.values(), "default"}))
    client = open_redis(settings.redis_url)
    systems = dict.fromkeys(mapping.systems, frozenset(names))
    with naming_failures(client):
        yield State(
            settings,
            systems,
            ReadModel(client, keys, context),
            Quarantine(client, keys),
            Tally(client, keys, realms),
        )
    client.close()


def print_json(value: Any) -> None:
    """Print one JSON document; money and quantities as text, so that no digit is lost; ids as hex."""
    sys.stdout.buffer.write(orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def print_json_line(value: Any) -> None:
    """Print one JSON document on a line of its own."""
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
    if title:
        page.print(Text(title, "bold"))  # rich would fold a table's own title to the table's width
    page.print(table_of("", columns, rows))


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Make a table; columns whose name ends in `>` are numbers, set to the right. Names stay whole where they can."""
    named = any(column.rstrip(">") for column in columns)
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=named
    )
    name_letters = max((len(str(row[0])) for row in rows), default=0)
    for column in columns:
        right, whole = column.endswith(">"), not table.columns and name_letters <= page.width * 2 // 5
        table.add_column(
            column.rstrip(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=whole,
            header_style="dim",
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> Text:
    """Write a cell as it is: what comes from databases is no markup."""
    if isinstance(value, Text):
        return value
    return Text(f"{value:,}" if isinstance(value, int) else str(value))


def refuse(doing: str, found: str, remedy: str) -> ConfigurationError:
    """Make the error for what a person asked for and cannot have."""
    return ConfigurationError(f"{doing}: {found}; {remedy}")
