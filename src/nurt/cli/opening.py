"""Open a deployment for a command: its settings, an embedded server, the state of a flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.embedded import EMBEDDED, embedded_state
from nurt.adapters.redis.errors import naming_failures
from nurt.adapters.redis.joins import read_numbers
from nurt.app.guards.exposure import plain_links, refuse_plain
from nurt.app.opening import fold_context
from nurt.cli.frame import FLOWS, refuse
from nurt.columnar.ids import Ids
from nurt.inspect.counters import CounterReader
from nurt.inspect.profile_lookup import ProfileLookup
from nurt.inspect.quarantine import Quarantine
from nurt.inspect.waiting import WaitingReader
from nurt.mapping.load import read_mapping
from nurt.model.keys import Keys
from nurt.model.table_kinds import table_kind
from nurt.rows.children.tables import GUEST
from nurt.settings import Settings, load_settings, stock_settings


@dataclass(frozen=True, slots=True)
class OpenState:
    """State of a deployment, open for reading.

    Attributes:
        systems: by name: the names of their entities that accounts are made of.
        tables: kinds of stored tables, with names for people.
    """

    settings: Settings
    systems: Mapping[str, frozenset[str]]
    profiles: ProfileLookup
    quarantine: Quarantine
    tally: CounterReader
    waiting: WaitingReader
    tables: Mapping[str, str]


@contextmanager
def deployment(config: Path) -> Iterator[Settings]:
    """Read the settings; where the state is embedded, run its server meanwhile.

    Raises ConfigurationError when the settings refuse plain links and have one.
    """
    settings = load_settings(config)
    refuse_plain(settings, plain_links(settings))
    if settings.redis_url != EMBEDDED:
        yield settings
        return
    with embedded_state(settings.data / "valkey") as url:
        yield replace(settings, redis_url=url)


@contextmanager
def opened_state(config: Path, flow: str = "profiles") -> Iterator[OpenState]:
    """Open the state of one flow of the deployment that a settings file describes."""
    if flow not in FLOWS:
        raise refuse(f"opening the flow {flow!r}", "there is none of this name", f"name {' or '.join(FLOWS)}")
    with deployment(config) as settings:
        own = stock_settings(settings) if flow == "stock" else settings
        with state_of(own) as state:
            yield state


@contextmanager
def state_of(settings: Settings) -> Iterator[OpenState]:
    """Open a deployment's state for reading."""
    mapping = read_mapping(settings.mapping_files)
    context = fold_context(mapping, Ids(settings.ids_secret()))
    items = [item for rule in mapping.topics for item in rule.mapping.items]
    names = {GUEST, *(item.name for item in items if item.kind == "customer")}
    keys = Keys(settings.prefix, settings.shards)
    realms = tuple(sorted({*context.realm.values(), "default"}))
    client = open_redis(settings.redis_url)
    systems = dict.fromkeys(mapping.systems, frozenset(names))
    with naming_failures(client):
        yield OpenState(
            settings,
            systems,
            ProfileLookup(client, keys, context),
            Quarantine(client, keys),
            CounterReader(client, keys, realms),
            WaitingReader(client, keys),
            {table_kind(number): title for number, title in read_numbers(client, keys).titles().items()},
        )
    client.close()
