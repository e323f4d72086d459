"""The command line: `nurt`. One module a command; `frame` has what commands share.

A command's module holds what its help shows: options, examples, and the form of the result. At its top it imports only
Typer, Rich and `frame`, nothing of the engine: a command imports the engine when it is called, at the beginning of its
function. So `nurt --help`, the help of every command and shell completion load no Bytewax, polars or numba. Imports for
type annotations stand under TYPE_CHECKING. Modules that commands import at the call (`opening`, `watching`, `sampling`,
`source_sweeps`, `demo_steps`, `commands.deliveries` and the pages) import at their top as usual.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from rich.text import Text
from typer import rich_utils

import nurt
from nurt.adapters.file_modes import keep_files_private
from nurt.adapters.visible_text import tell_no_values, visible
from nurt.cli.commands import (
    check,
    deliver,
    demo,
    drill,
    init,
    profile,
    quarantine,
    run,
    simulate,
    source,
    state,
    stats,
    stock,
)
from nurt.cli.frame import shown, stderr
from nurt.errors import NurtError

EXIT_CODES = (
    "[bold]Exit codes[/bold]: 0 done; 1 failed; 2 the command, the settings or the mapping cannot be used as written; "
    "3 a service does not answer; 4 a position to resume from is gone; 5 another run took over, or the state came back "
    "older; 6 the state was written by a later nurt; 7 the topics' partitions changed: start again; 8 a source or "
    "topic waits for your word: `nurt source list`; 9 a topic was made anew while nurt read it: start again; 10 a "
    "stored value is damaged; 130 interrupted."
)

app = typer.Typer(
    name="nurt",
    help=(
        "Live, unified customer profiles from the change streams of shop and ERP databases.\n\n"
        "Begin with [bold]nurt demo[/bold]; then [bold]nurt init[/bold] writes settings and a mapping for your own."
    ),
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nurt {nurt.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which nurt.")
    ] = False,
    _debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="NURT_DEBUG",
            help="Show tracebacks, which may quote values; may stand after the command, too.",
        ),
    ] = False,
) -> None:
    pass


app.command("demo", rich_help_panel="Begin")(demo.demo)
app.command("init", rich_help_panel="Begin")(init.init)
app.command("check", rich_help_panel="Run")(check.check)
app.command("run", rich_help_panel="Run")(run.run)
app.add_typer(deliver.app, name="deliver", rich_help_panel="Run")
app.add_typer(source.app, name="source", rich_help_panel="Run")
app.command("profile", rich_help_panel="Look")(profile.profile)
app.command("stock", rich_help_panel="Look")(stock.stock)
app.command("order", rich_help_panel="Look")(stock.order)
app.command("reserve", rich_help_panel="Sell")(stock.reserve)
app.command("release", rich_help_panel="Sell")(stock.release)
app.command("stats", rich_help_panel="Look")(stats.stats)
app.add_typer(state.app, name="state", rich_help_panel="Look")
app.add_typer(quarantine.app, name="quarantine", rich_help_panel="Look")
app.command("simulate", rich_help_panel="Try")(simulate.simulate)
app.command("drill", rich_help_panel="Try")(drill.drill)


def main() -> None:
    """Run a command; an error is one line with the next step, and an exit code by kind of error."""
    keep_files_private()
    arguments, debug = _without_debug(sys.argv[1:])
    if not debug:
        tell_no_values()
        os.environ["RUST_BACKTRACE"] = "0"  # Bytewax's stack says nothing to an operator
    try:
        code = app(args=arguments, prog_name="nurt", standalone_mode=False)
    except NurtError as failed:
        if debug:
            traceback.print_exc()
        stderr.print(Text.assemble(("nurt: ", "bold red"), shown(failed)), soft_wrap=True)
        sys.exit(failed.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except typer.Abort:
        rich_utils.rich_abort_error()
        sys.exit(1)
    except Exception as failed:
        if hasattr(failed, "format_message"):  # Typer's own, of what was typed
            sys.exit(_say_usage(failed))
        if debug:
            raise
        # the text may hold values of rows: only the error's kind is printed
        stderr.print(
            Text.assemble(
                ("nurt: ", "bold red"),
                f"{' '.join(arguments[:1])}: {type(failed).__name__} (a mistake in nurt); "
                "run it again with --debug and report what it shows",
            ),
            soft_wrap=True,
        )
        sys.exit(1)
    if isinstance(code, int) and code:
        sys.exit(code)


def _say_usage(failed: Any) -> int:
    """Say what is wrong with the arguments; it repeats what was typed, and a script may have pasted that."""
    failed.message = visible(failed.message)
    rich_utils.rich_format_error(failed)
    return int(failed.exit_code)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Take --debug from any place of the arguments."""
    asked = "--debug" in arguments or os.environ.get("NURT_DEBUG", "") not in ("", "0")
    return [argument for argument in arguments if argument != "--debug"], asked
