"""`nurt run`: run a flow until it must end."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from nurt.cli.frame import DEFAULT_CONFIG, Config, refuse

if TYPE_CHECKING:
    from nurt.settings import Settings


def run(
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", help="Processes (threads with --until-end or embedded state).", min=1, max=256),
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End when everything that was there at the start is done.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read all topics from the beginning; let go what no topic holds any more.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --rebuild: let it go even if it is more than 0.1 % of the rows.")
    ] = False,
    flow: Annotated[
        str, typer.Option("--flow", help="profiles: customers; stock: what can be sold. Run both, each by itself.")
    ] = "profiles",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Fold change streams into live customer profiles.

    Goes on until Ctrl-C or SIGTERM, which finish what was read; killing it loses nothing either, the next run repeats
    what was not committed. Archives end by themselves unless they are followed.

    [bold]Examples[/bold]

    nurt run  [dim]# the deployment in ./nurt.yaml[/dim]

    nurt run --workers 4  [dim]# four processes; they live and die together[/dim]

    nurt run --until-end  [dim]# catch up, then end: for jobs and tests[/dim]

    nurt run --flow stock  [dim]# what can be sold, instead of customers[/dim]

    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 nurt run  [dim]# with metrics[/dim]
    """
    from nurt.adapters.redis.embedded import EMBEDDED
    from nurt.app.guards.exposure import warn_of_exposure
    from nurt.app.running import run_cluster
    from nurt.cli.opening import deployment
    from nurt.cli.watching import log_to_stderr, watching
    from nurt.mapping.load import read_mapping
    from nurt.runtime.compiled import ensure_compiled
    from nurt.settings import load_settings

    if flow not in ("profiles", "stock"):
        raise refuse(f"running flow {flow!r}", "there is no such flow", "name profiles or stock")
    level = logging.WARNING if quiet else logging.INFO
    log_to_stderr(level)
    loaded = load_settings(config)
    read_mapping(loaded.mapping_files)  # so that a mistake is reported at once, not after half a minute of compiling
    ensure_compiled()
    with deployment(config) as settings:
        warn_of_exposure(settings)
        many = workers or settings.workers
        if many == 1 or loaded.redis_url == EMBEDDED or until_end:
            _run_here(replace(_ending(settings, until_end), workers=many), rebuild, flow, yes)
            return
        with watching(settings):
            code = run_cluster(config, many, rebuild, flow=flow, level=level, confirmed=yes)
    raise typer.Exit(code)


def _run_here(settings: Settings, rebuild: bool, flow: str = "profiles", confirmed: bool = False) -> None:
    from nurt.app.running import run_here, run_stock_here
    from nurt.cli.watching import watching
    from nurt.flows.profiles import profiles
    from nurt.flows.stock import stock
    from nurt.runtime.stopping import stopping_on_signals

    with stopping_on_signals() as stop, watching(settings):
        if flow == "stock":
            run_stock_here(stock, settings, rebuild, stop, confirmed)
        else:
            run_here(profiles, settings, rebuild, stop, confirmed)


def _ending(settings: Settings, until_end: bool) -> Settings:
    if not until_end:
        return settings
    if settings.kafka_input is not None:
        return replace(settings, kafka_input=replace(settings.kafka_input, stop_at_end=True))
    if settings.archives:
        return replace(settings, follow=False)
    raise refuse("running until the end", "there is no input", "name topics or archives under `input`")
