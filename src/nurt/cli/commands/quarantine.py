"""`nurt quarantine`: what could not be folded, why, and how to try again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nurt.cli.frame import (
    DEFAULT_CONFIG,
    AsJson,
    Config,
    Flow,
    print_json,
    print_json_line,
    print_table,
    refuse,
    stderr,
    stdout,
)
from nurt.errors import ConfigurationError, NurtError
from nurt.model.refusal import Reason, Refused

if TYPE_CHECKING:
    from nurt.inspect.quarantine import Quarantine, RefusedFilter
    from nurt.settings import Settings

BATCH_ROWS = 500
REMEDIES: dict[Reason, str] = {
    Reason.NOT_CONFLUENT: "the producer does not write Confluent's wire format: check the connector's converter",
    Reason.UNKNOWN_SCHEMA: "the registry does not know the id: check `registry.url`, then requeue",
    Reason.BAD_AVRO: "the bytes do not fit their schema: damaged, or the id of another registry",
    Reason.NO_ENVELOPE: "neither Debezium's envelope nor a flattened row: narrow `match` to tables",
    Reason.UNKNOWN_OPERATION: "an operation that nurt does not know: report it",
    Reason.NO_KEY: "the table has no primary key: give it one, or name columns under `key`",
    Reason.NO_POSITION: "the row has no place in time: check the connector",
    Reason.NO_PARENT: "a child that names no parent: correct `parent` in the mapping, then requeue",
    Reason.WRONG_TYPE: "a column cannot become its field: correct the mapping, then requeue",
    Reason.OUT_OF_RANGE: "a value that no field can hold: correct it at the source",
    Reason.UNREAD: "a time that its declared type does not explain: check the connector's converters, then requeue",
    Reason.MAPPING_FAILED: "an expression failed: correct the mapping, then requeue",
}
"""What to do about each reason."""

OnlyReason = Annotated[
    Reason | None, typer.Option("--reason", "-r", metavar="reason", help="Only messages with this reason.")
]
OnlyTopic = Annotated[str | None, typer.Option("--topic", "-t", help="Only messages of this topic.")]
Name = Annotated[str, typer.Argument(help="topic:partition:offset, as `list` shows it.", show_default=False)]

app = typer.Typer(
    help="See what could not be folded and why; give it another chance.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("list")
def list_quarantine(
    reason: OnlyReason = None,
    topic: OnlyTopic = None,
    rows_max: Annotated[int, typer.Option("--limit", "-n", help="How many to list, the newest first.")] = 20,
    as_json: AsJson = False,
    flow: Flow = "profiles",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """List what is in quarantine: how many for each reason and what to do, then the newest.

    [bold]Examples[/bold]

    nurt quarantine list

    nurt quarantine list --reason unknown_schema_id --limit 100

    nurt quarantine list --json | jq -r .place  [dim]# one JSON document a line[/dim]
    """
    from nurt.cli.opening import opened_state
    from nurt.inspect.quarantine import RefusedFilter

    wanted = RefusedFilter(reason, topic)
    with opened_state(config, flow) as state:
        newest = list(state.quarantine.newest(wanted, rows_max))
        if as_json:
            for refused in newest:
                print_json_line(_plain(refused))
            return
        reasons = state.quarantine.reasons()
    if not reasons:
        stdout.print("The quarantine is empty.")
        return
    rows = [(where, why, number, REMEDIES[Reason(why)]) for (where, why), number in sorted(reasons.items())]
    print_table("In quarantine", ("topic", "reason", "messages>", "what to do"), rows)
    stdout.print()
    print_table("The newest", ("place", "time", "reason", "detail"), [_row(refused) for refused in newest])


@app.command("show")
def show(
    name: Name,
    whole: Annotated[
        bool, typer.Option("--bytes", help="Show the original bytes, which may hold personal data.")
    ] = False,
    as_json: AsJson = False,
    flow: Flow = "profiles",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show one message: its reason, where it came from, and with --bytes what it is.

    [bold]Examples[/bold]

    nurt quarantine show shop_pl.magento.sales_order:3:1207

    nurt quarantine show shop_pl.magento.sales_order:3:1207 --bytes --json | jq -r .value
    """
    from nurt.cli.opening import opened_state

    with opened_state(config, flow) as state:
        refused = _found(state.quarantine, name)
    if as_json:
        print_json(_plain(refused, whole))
        return
    place, time, reason, detail = _row(refused)
    rows: list[tuple[str, object]] = [
        ("place", place),
        ("time", time),
        ("reason", reason),
        ("detail", detail),
        ("what to do", REMEDIES[refused.reason]),
        ("key", _size(refused.key)),
        ("value", _size(refused.value)),
        ("headers", ", ".join(header for header, _ in refused.headers or []) or "none"),
    ]
    print_table("", ("", ""), rows)
    if whole:
        for title, content in (("key", refused.key), ("value", refused.value)):
            stdout.print(Text(f"\n{title}", "dim"))
            stdout.print(Text(_dump(content or b"")))


@app.command("requeue")
def requeue(
    name: Annotated[
        str | None, typer.Argument(help="One message, as topic:partition:offset.", show_default=False)
    ] = None,
    reason: OnlyReason = None,
    topic: OnlyTopic = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: AsJson = False,
    flow: Flow = "profiles",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Put messages on the input again, with their original bytes, and take them out of quarantine.

    First mend what refused them (the mapping, the registry) and start `nurt run` with it. The rows' own positions say
    how old they are, so what has changed since stays; rows of a connector without positions would count as new.

    [bold]Examples[/bold]

    nurt quarantine requeue shop_pl.magento.sales_order:3:1207

    nurt quarantine requeue --reason column_cannot_become_field --topic erp.public.document

    nurt quarantine requeue --all
    """
    from nurt.cli.opening import opened_state
    from nurt.inspect.quarantine import RefusedFilter

    ways = {"a message": name is not None, "--reason or --topic": bool(reason or topic), "--all": everything}
    chosen = [way for way, is_chosen in ways.items() if is_chosen]
    if not chosen:
        raise refuse("requeuing", "it is not said what", "name one message, or --reason, --topic or --all")
    if len(chosen) > 1:
        raise refuse("requeuing", f"{' and '.join(chosen)} exclude each other", "give one of them")
    with opened_state(config, flow) as state:
        quarantine = state.quarantine
        wanted = [_found(quarantine, name)] if name is not None else _messages(quarantine, RefusedFilter(reason, topic))
        wanted.reverse()  # oldest first, in the order of arrival
        requeued = _requeue(quarantine, wanted, _putting(state.settings))
        left = len(quarantine)
    if as_json:
        print_json({"requeued": requeued, "left": left})
    else:
        stdout.print(f"{requeued:,} requeued, {left:,} left in quarantine; a running `nurt run` reads them at once.")


def _messages(quarantine: Quarantine, wanted: RefusedFilter) -> list[Refused]:
    """List messages that can be put on the input again; a damaged place of an archive stays."""
    from nurt.adapters.requeued import can_requeue

    return [refused for refused in quarantine.newest(wanted) if can_requeue(refused)]


def _requeue(quarantine: Quarantine, wanted: Sequence[Refused], put: Callable[[Sequence[Refused]], None]) -> int:
    from rich.progress import Progress

    requeued = 0
    rest = iter(wanted)
    with Progress(console=stderr, transient=True) as progress:
        task = progress.add_task("requeuing", total=len(wanted))
        while batch := list(islice(rest, BATCH_ROWS)):
            requeued += quarantine.requeue(batch, put)
            progress.advance(task, len(batch))
    return requeued


def _putting(settings: Settings) -> Callable[[Sequence[Refused]], None]:
    """Choose the function that puts messages on the input again."""
    from nurt.adapters.files.requeue import requeue_to_archive
    from nurt.adapters.kafka.requeue import requeue_to_kafka

    kafka = settings.kafka
    if settings.kafka_input is not None and kafka is not None:
        return lambda batch: requeue_to_kafka(kafka, batch)
    return lambda batch: requeue_to_archive(settings.archives, batch)


def _found(quarantine: Quarantine, name: str) -> Refused:
    from nurt.inspect.quarantine import MessagePlace

    place = MessagePlace.parse(name)
    if place is None:
        raise ConfigurationError(
            f"looking into the quarantine: {name!r} is no place (expected topic:partition:offset); "
            "see `nurt quarantine list`"
        )
    refused = quarantine.get(place)
    if refused is None:
        raise NurtError(f"looking into the quarantine {place}: it is not there; see `nurt quarantine list`")
    return refused


def _row(refused: Refused) -> tuple[str, str, str, str]:
    from nurt.inspect.quarantine import place_of

    at = datetime.fromtimestamp(refused.timestamp_ms / 1000, UTC)
    return str(place_of(refused)), f"{at:%Y-%m-%d %H:%M:%S}", str(refused.reason), refused.detail


def _plain(refused: Refused, whole: bool = False) -> dict[str, Any]:
    place, time, reason, detail = _row(refused)
    plain: dict[str, Any] = {
        "place": place,
        "topic": refused.topic,
        "partition": refused.partition,
        "offset": refused.offset,
        "time": time,
        "reason": reason,
        "detail": detail,
        "key_bytes": None if refused.key is None else len(refused.key),
        "value_bytes": None if refused.value is None else len(refused.value),
    }
    if whole:
        plain |= {"key": refused.key, "value": refused.value, "headers": refused.headers}
    return plain


def _size(content: bytes | None) -> str:
    return "none" if content is None else f"{len(content):,} bytes"


def _dump(content: bytes) -> str:
    lines = []
    for at in range(0, len(content), 16):
        some = content[at : at + 16]
        readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in some)
        lines.append(f"{at:06x}  {some.hex(' '):<47}  {readable}")
    return "\n".join(lines)
