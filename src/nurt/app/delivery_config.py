"""Read destinations: the section, its preset, the topics of its input and the readers of these topics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import yaml

from nurt.adapters.analytics.clickhouse import ClickhouseSink
from nurt.adapters.analytics.delta import DeltaSink
from nurt.adapters.analytics.iceberg import IcebergSink
from nurt.adapters.analytics.postgres import PostgresSink
from nurt.adapters.receivers.dataverse import Dataverse
from nurt.adapters.receivers.hubspot import Hubspot
from nurt.adapters.receivers.mailchimp import Mailchimp
from nurt.adapters.receivers.marketing_cloud import MarketingCloud
from nurt.adapters.receivers.salesforce import Salesforce
from nurt.adapters.receivers.webhook import Webhook
from nurt.app.guards.exposure import plain_links_of, refuse_plain
from nurt.app.opening import open_registry
from nurt.delivery.diff import DeliveryRules
from nurt.delivery.journal import Message
from nurt.delivery.last_known import Fingerprinter
from nurt.delivery.mapping import DestinationMapping, DestinationReader
from nurt.delivery.ports import DesiredStateReader, Destination, TableSink
from nurt.delivery.read.bodies import WriterSchemas
from nurt.delivery.read.contracts import (
    CONTRACTS,
    BundledSchemas,
    ContractMessageReader,
    ContractStateReader,
    MixedStateReader,
    columns_of,
)
from nurt.delivery.read.families import FAMILIES, ContractTables, tables_of
from nurt.delivery.read.profiles import PREFIXES, SCHEMAS, ProfileMessageReader, ProfileStateReader
from nurt.delivery.run.table_deliverer import TableTarget
from nurt.delivery.table_family import OF, TableFamily
from nurt.errors import ConfigurationError
from nurt.mapping.yaml_lines import BadYaml, load_yaml, meant
from nurt.model.delivery import PROFILES
from nurt.model.raw import RawBatch
from nurt.settings import Settings

KINDS: Mapping[str, Callable[[DestinationMapping], Destination]] = {
    "dataverse": Dataverse,
    "hubspot": Hubspot,
    "mailchimp": Mailchimp,
    "marketing_cloud": MarketingCloud,
    "salesforce": Salesforce,
    "webhook": Webhook,
}
"""Receivers that take rows, by the word of `kind`."""

TABLE_KINDS: Mapping[str, Callable[[DestinationMapping, TableFamily], TableSink]] = {
    "clickhouse": ClickhouseSink,
    "delta": DeltaSink,
    "iceberg": IcebergSink,
    "postgres": PostgresSink,
}
"""Analytics stores; they take whole profiles, figures and orders."""

TABLE_LINGER_MS: Mapping[str, int] = {"clickhouse": 1_000, "delta": 10_000, "iceberg": 10_000, "postgres": 200}
"""How long a change may wait for others: a commit, or a part, is costly where many must be joined later."""

TABLE_ROWS_MAX = 20_000
EXAMPLES: Mapping[str, str] = {"path": "s3://lake/{of}", "table": "nurt.{of}"}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Input of a destination for one kind of messages.

    Attributes:
        of: profiles, stock or orders.
        name: of a topic, else of the contract: then profiles are read from the state, figures and orders from Redis.
    """

    of: str
    name: str
    is_topic: bool


def read_destinations(settings: Settings) -> dict[str, DestinationMapping]:
    """Read the destinations. Raises ConfigurationError."""
    path = settings.destinations
    try:
        written = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as failed:
        raise ConfigurationError(
            f"reading destinations {path}: {failed.strerror}; write one (docs/delivery.md shows how), or name it under "
            "`destinations` in the settings"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"reading destinations {path}: it is no UTF-8; write it as UTF-8") from None
    except BadYaml as failed:
        raise ConfigurationError(
            f"reading destinations {path}, line {failed.line}: it is no YAML ({failed.what}); "
            "look at quotes and indentation"
        ) from None
    sections = written.get("destinations") if isinstance(written, dict) else None
    if not isinstance(sections, dict):
        raise ConfigurationError(f"reading destinations {path}: `destinations:` is missing; begin with it")
    return {str(name): _read(str(path), str(name), section) for name, section in sections.items()}


def _read(file_name: str, name: str, section: Any) -> DestinationMapping:
    written = section if isinstance(section, dict) else {}
    preset = read_presets(written["preset"]) if written.get("preset") else {}
    of = written.get("of", preset.get("of", PROFILES))
    contents = list(dict.fromkeys(map(str, of))) if isinstance(of, list) and of else [str(of)]
    kinds = {PROFILES: SCHEMAS, **{one: columns_of(one) for one in CONTRACTS}}
    for one in contents:
        if one not in kinds:
            raise ConfigurationError(
                f"reading destinations.{name}: `of: {one}`; choose one of {', '.join(kinds)}{meant(one, list(kinds))}"
            )
    mapping = DestinationReader(file_name, kinds, PREFIXES, contents[0]).destination(name, section, preset)
    known = sorted({*KINDS, *TABLE_KINDS})
    if mapping.kind not in known:
        raise ConfigurationError(
            f"reading destinations.{name}: `kind: {mapping.kind}` is no receiver that nurt knows; choose one of "
            f"{', '.join(known)}{meant(mapping.kind, known)}"
        )
    if mapping.kind in TABLE_KINDS:
        return _whole(mapping, contents)
    if len(contents) > 1:
        raise ConfigurationError(
            f"reading destinations.{name}: `of` is a list, which analytics stores take only "
            f"({', '.join(sorted(TABLE_KINDS))}); write `of: ...` at each object"
        )
    return mapping


def _whole(mapping: DestinationMapping, contents: Sequence[str]) -> DestinationMapping:
    """Check the section of an analytics store, and put into it what the store gets."""
    if mapping.objects:
        raise ConfigurationError(
            f"reading destinations.{mapping.name}: `{mapping.kind}` takes what it is told whole and no `objects`; "
            "remove them"
        )
    for option, is_asked in (("path", mapping.kind == "delta"), ("table", mapping.kind == "iceberg")):
        written = str(mapping.options.get(option, OF))
        if is_asked and len(contents) > 1 and OF not in written:
            raise ConfigurationError(
                f"reading destinations.{mapping.name}.{option}: {', '.join(contents)} would be in one table; write "
                f"`{OF}` where their names shall stand, for example `{option}: '{EXAMPLES[option]}'`"
            )
    return replace(mapping, of=tuple(contents))


def read_presets(names: str | Sequence[str]) -> Mapping[str, Any]:
    """Read the objects of a preset, or of several presets that add to each other in their order."""
    presets = [read_preset(name) for name in ([names] if isinstance(names, str) else names)]
    objects = {
        key: {"of": preset.get("of", PROFILES), **value}
        for preset in presets
        for key, value in preset.get("objects", {}).items()
    }
    rest = {key: value for preset in presets for key, value in preset.items() if key != "of"}
    contents = {preset.get("of", PROFILES) for preset in presets}
    return {**rest, "objects": objects, "of": contents.pop() if len(contents) == 1 else PROFILES}


def read_preset(name: str) -> Mapping[str, Any]:
    """Read the objects of a known receiver."""
    folder = files("nurt") / "presets" / "delivery"
    known = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
    if name not in known:
        raise ConfigurationError(
            f"reading preset {name}: there is none; choose one of {', '.join(known)}{meant(name, known)}"
        )
    preset: Mapping[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return preset


def destination_named(settings: Settings, name: str) -> DestinationMapping:
    """Find one destination. Raises ConfigurationError with the nearest name, or when its link is refused."""
    known = read_destinations(settings)
    if name not in known:
        raise ConfigurationError(
            f"looking for destination {name}: {settings.destinations} has {', '.join(known) or 'none'}"
            f"{meant(name, known)}; name one of them"
        )
    refuse_plain(settings, plain_links_of(known[name]))
    return known[name]


def kinds_of(mapping: DestinationMapping) -> list[str]:
    """Return what a destination gets: profiles, stock, orders, or several of these."""
    return sorted({*mapping.kinds(), *mapping.of}, key=(PROFILES, *CONTRACTS).index) or [PROFILES]


def inputs_of(settings: Settings, mapping: DestinationMapping) -> list[InputSpec]:
    """Return the inputs of a destination, profiles first.

    Raises ConfigurationError where an input is published to no topic and kept nowhere.
    """
    topics = {PROFILES: settings.topic, "stock": settings.stock.topic, "orders": settings.stock.orders_topic}
    keys = {"stock": "topic", "orders": "orders_topic"}
    inputs = []
    for of in kinds_of(mapping):
        topic, contract = topics[of], f"nurt.{of}"
        if topic is None and of != PROFILES and contract not in settings.stock_kept():
            raise ConfigurationError(
                f"opening destination {mapping.name}: {of} are published to no topic and not kept; set "
                f"`stock: {{{keys[of]}: ...}}`, or `stock: {{kept: true}}`"
            )
        inputs.append(InputSpec(of, topic or contract, topic is not None))
    return inputs


def message_reader_of(settings: Settings, mapping: DestinationMapping) -> Callable[[RawBatch], list[Message]]:
    """Make the reader of a destination's messages."""
    readers: dict[str, Callable[[RawBatch], list[Message]]] = {}
    for one in inputs_of(settings, mapping):
        registry = open_registry(settings) if one.is_topic else None
        readers[one.name] = (
            ProfileMessageReader(registry).messages if one.of == PROFILES else ContractMessageReader(one.of).messages
        )
    return lambda batch: readers[batch.topic](batch)


def state_reader_of(settings: Settings, mapping: DestinationMapping) -> DesiredStateReader:
    """Make the reader of messages as desired states."""
    readers: dict[str, DesiredStateReader] = {}
    for one in inputs_of(settings, mapping):
        if one.of == PROFILES:
            readers[one.of] = ProfileStateReader(mapping)
        else:
            readers[one.of] = ContractStateReader(mapping, one.of, _writers(settings, one))
    return MixedStateReader(readers) if len(readers) > 1 else next(iter(readers.values()))


def table_targets_of(settings: Settings, mapping: DestinationMapping) -> dict[str, TableTarget]:
    """Open an analytics store for its table families."""
    targets = {}
    for one in inputs_of(settings, mapping):
        family = FAMILIES[one.of]
        sink = TABLE_KINDS[mapping.kind](mapping, family)
        if one.of == PROFILES:
            targets[one.of] = TableTarget(family, sink, tables_of)
        else:
            targets[one.of] = TableTarget(family, sink, ContractTables(one.of, _writers(settings, one)))
    return targets


def _writers(settings: Settings, one: InputSpec) -> WriterSchemas | None:
    """Return the source of schemas of figures and orders."""
    return open_registry(settings) if one.is_topic else BundledSchemas(f"nurt.{one.of}")


def rules_of(settings: Settings, mapping: DestinationMapping, to: Destination, generation: int) -> DeliveryRules:
    """Make the rules that compare rows. Fingerprints are keyed with the deployment's secret."""
    key = hashlib.blake2b(settings.ids_secret(), person=b"delivery", digest_size=32).digest()
    return DeliveryRules(
        tuple(one.plan for one in mapping.objects), Fingerprinter(key), generation, to.limits.whole_rows
    )
