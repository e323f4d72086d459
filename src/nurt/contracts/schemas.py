"""The Avro contracts of nurt's published topics, and the first layouts of its state, from a wheel or a checkout."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import orjson

from nurt.errors import ConfigurationError

PROFILE_VERSION = 2
"""Contract version of profiles that are written today."""
PROFILE_VALUE = f"nurt.profiles-value.v{PROFILE_VERSION}"
PROFILE_KEY = "nurt.profiles-key.v1"
FIRST_LAYOUTS = "state-v1-first.json"


def profile_value(version: int) -> str:
    """Name the contract of profile bodies of a version."""
    return f"nurt.profiles-value.v{version}"


def load(name: str) -> dict[str, Any]:
    """Read the contract `name`, for example `nurt.profiles-value.v2`.

    An installed nurt carries the files inside the package (`nurt/_schemas`); a checkout has them in `schemas/`.

    Raises ConfigurationError when there is no such contract.
    """
    for folder in _folders():
        path = folder / f"{name}.avsc"
        if path.is_file():
            schema: dict[str, Any] = orjson.loads(path.read_bytes())
            return schema
    known = ", ".join(names()) or "none: the installation is incomplete"
    raise ConfigurationError(f"loading schema {name}: there is no such contract (known: {known}); correct the name")


def names() -> list[str]:
    """List the contracts that this installation holds."""
    return sorted(
        {path.name.removesuffix(".avsc") for folder in _folders() for path in folder.iterdir() if ".avsc" in path.name}
    )


def first_layouts() -> dict[str, dict[str, list[Any]]]:
    """Read the first layouts, for state without a record of its own: table -> column -> [bit, type]. They never change.

    Raises ConfigurationError when the installation is incomplete.
    """
    for folder in _folders():
        path = folder / FIRST_LAYOUTS
        if path.is_file():
            layouts: dict[str, dict[str, list[Any]]] = orjson.loads(path.read_bytes())
            return layouts
    raise ConfigurationError(f"loading {FIRST_LAYOUTS}: the installation is incomplete; install nurt again")


def _folders() -> Iterator[Traversable]:
    for folder in (files("nurt") / "_schemas", Path(__file__).parents[3] / "schemas"):
        if folder.is_dir():
            yield folder
