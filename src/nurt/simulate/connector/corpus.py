"""Genuine change events beside the simulated ones: real output of connectors, oddities included."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

FOLDERS = ("postgres", "mariadb", "postgres_outbox_router", "sqlserver_synthetic")
_FILES = ("messages.jsonl", "schemas.json")


@dataclass(frozen=True, slots=True)
class Recorded:
    """Archive of genuine messages."""

    folder: Path
    messages: int
    topics: frozenset[str]


def copy_corpus(home: Path) -> list[Recorded]:
    """Copy the recorded archives into `home`, one folder each.

    An installed nurt carries them inside the package (`nurt/_corpus`); a checkout has them in `tests/corpus`.
    """
    carried = files("nurt") / "_corpus"
    found = []
    with as_file(carried if carried.is_dir() else Path(__file__).parents[4] / "tests" / "corpus") as corpus:
        for name in FOLDERS:
            folder = home / name
            folder.mkdir(parents=True)
            for file in _FILES:
                shutil.copyfile(corpus / name / file, folder / file)
            lines = (folder / "messages.jsonl").read_bytes().splitlines()
            topics = frozenset(json.loads(line)["topic"] for line in lines)
            found.append(Recorded(folder, len(lines), topics))
    return found
