"""`nurt init`: settings and a mapping to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from nurt.cli.frame import refuse, stdout

FILES = ("nurt.yaml", "mapping.yaml")


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made when it is not there.")] = Path(),
) -> None:
    """Write nurt.yaml and mapping.yaml, with a comment at every line; nothing that is there is overwritten.

    [bold]Examples[/bold]

    nurt init

    nurt init shops && cd shops && nurt check
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise refuse(f"writing into {folder}", f"{' and '.join(there)} is there", "choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_text(template(name), encoding="utf-8")
    stdout.print(f"{folder / FILES[0]} and {folder / FILES[1]} are there. Next:")
    stdout.print("  1. name your Kafka, registry and topics in nurt.yaml")
    stdout.print("  2. say what your tables mean in mapping.yaml")
    stdout.print("  3. nurt check")
    stdout.print("  4. nurt run")


def template(name: str) -> str:
    """Read one of the template files."""
    return (files("nurt.cli") / "templates" / name).read_text(encoding="utf-8")
