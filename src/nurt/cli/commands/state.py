"""`nurt state`: look after what Redis holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import Progress

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, print_json, print_table, stderr, stdout

app = typer.Typer(
    help="Look after the stored state.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SHOWN_MAX = 100


@app.command("check")
def check(
    rows_max: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many values.")] = SHOWN_MAX,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Read every stored value, and name those that are damaged. Changes nothing; nurt may run meanwhile.

    A value is named by its kind (`nurt.model.keys` lists them) and the hash in its key. Exit code 10 when one is
    damaged: restore an older copy of Redis (the next start reads again what it lacks), or start `nurt run --rebuild`.

    [bold]Examples[/bold]

    nurt state check

    nurt state check --json | jq .damaged
    """
    from nurt.adapters.redis.client import open_redis
    from nurt.cli.opening import deployment
    from nurt.errors import StateDamaged
    from nurt.inspect.state_check import check_state, count_keys
    from nurt.model.keys import Keys
    from nurt.model.value_forms import PROFILES, STOCK
    from nurt.settings import stock_settings

    found: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    with deployment(config) as settings, Progress(console=stderr, transient=True, disable=as_json) as progress:
        client = open_redis(settings.redis_url)
        task = progress.add_task("reading stored values", total=count_keys(client))
        for flow, own, forms in (("profiles", settings, PROFILES), ("stock", stock_settings(settings), STOCK)):

            def seen(keys: int, flow: str = flow) -> None:
                counts[flow] += keys
                progress.advance(task, keys)

            damaged = check_state(client, Keys(own.prefix, own.shards), forms, seen)
            found += [{"flow": flow, **asdict(one)} for one in damaged]
        client.close()
    if as_json:
        print_json({"keys": dict(counts), "damaged": found})
    elif found:
        rows = [(one["flow"], one["kind"], one["id"], one["why"]) for one in found[:rows_max]]
        print_table(f"{len(found)} damaged values", ("flow", "kind", "key's hash", "what is wrong"), rows)
    else:
        stdout.print(f"{sum(counts.values()):,} keys: no stored value is damaged.")
    if found:
        raise StateDamaged(
            f"checking state: {len(found)} values are damaged (none); restore an older copy of Redis, or start "
            "`nurt run --rebuild`"
        )
