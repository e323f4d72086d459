"""Settings, mappings and destinations as nobody would write them: each is read, or refused in words."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random

from nurt.app.delivery_config import read_destinations
from nurt.app.guards.exposure import open_folders, plain_links, plain_links_of
from nurt.errors import ConfigurationError
from nurt.mapping.load import load_mapping
from nurt.settings import load_settings
from tests.fuzz.harness import mutated

COUNT = 100_000
ODD = [
    *(
        "",
        "null",
        "~",
        "true",
        "-1",
        "1e400",
        "9" * 400,
        "0640",
        "2026-99-99",
        "''",
        "'\\x1b[2J'",
        "!!int x",
        "!!binary x",
    ),
    *(
        "[]",
        "{}",
        "[[]]",
        "[1, a]",
        "{a: 1}",
        "*a",
        "&a [*a]",
        "<<: *a",
        "|",
        ">-",
        "# x",
        "%",
        "@",
        "`",
        "\t",
        "- - - x",
    ),
    *("(a+)+b", "(?!a)b", "(?P<x>a)", "a{2,}", "[a", "CASE WHEN a THEN b END", "a::int::text", "(((((a)))))", "a; b"),
    *("redis://h:x/0", "http://[::1", "postgresql://%zz", "file:/nowhere", "${NOT_THERE}", "$", "unix:", "\u202e"),
]
DESTINATIONS = """\
destinations:
  crm: {preset: salesforce, url: 'https://x.example', client_id: a, client_secret: '${S}', limits: {concurrency: 2}}
  hook:
    kind: webhook
    url: 'http://127.0.0.1:1'
    limits: {rates: [{calls: 9, seconds: 1}]}
    objects:
      contact: {key: id, when: email IS NOT NULL, fields: {email: email, name: "upper(first_name)"}}
  ware: {kind: postgres, of: [profiles, stock], url: 'postgresql://u@h/x?sslmode=require', schema: s}
"""


@dataclass(frozen=True)
class Shared:
    """Sound texts by kind, and a folder for files."""

    texts: dict[str, list[str]]
    folder: Path


def prepare() -> Shared:
    """Read the sound texts."""
    logging.disable(logging.CRITICAL)
    templates, presets = files("nurt.cli") / "templates", files("nurt") / "presets"
    texts = {
        "mapping": [
            (templates / "mapping.yaml").read_text("utf-8"),
            (presets / "demo.yaml").read_text("utf-8")[:4_000],
        ],
        "settings": [(templates / "nurt.yaml").read_text("utf-8")],
        "destinations": [DESTINATIONS],
    }
    return Shared(texts, Path(tempfile.mkdtemp(prefix="nurt-fuzz-")))


def attempt(random: Random, shared: Shared) -> str:
    """Read a text that was changed in some places."""
    kind = random.choice(list(shared.texts))
    text = changed(random, random.choice(shared.texts[kind]))
    try:
        if kind == "mapping":
            for topic in ("shop.public.customers", "a", "\u202e", "x" * 300):
                load_mapping(text, "fuzz.yaml").for_topic(topic)
        else:
            path = shared.folder / "nurt.yaml"
            path.write_text(
                text if kind == "settings" else "mapping: m\ninput: {archives: [a]}\n", "utf-8", "surrogatepass"
            )
            settings = load_settings(path)
            plain_links(settings)
            open_folders(settings)
            if kind == "destinations":
                (shared.folder / "delivery.yaml").write_text(text, "utf-8", "surrogatepass")
                for mapping in read_destinations(settings).values():
                    plain_links_of(mapping)
    except ConfigurationError as refused:
        assert str(refused).startswith(("reading ", "opening ", "mapping ")), refused
        return "refused"
    return "read"


def changed(random: Random, text: str) -> str:
    """Change a text in some places: bytes, lines, indentation, values."""
    if random.random() < 0.2:
        return mutated(random, text.encode()).decode("utf-8", "replace")
    lines = text.splitlines()
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        way = random.randrange(6)
        if way == 0:
            lines[at] = lines[at].partition(":")[0] + ": " + random.choice(ODD)
        elif way == 1:
            del lines[at : at + random.choice((1, 2, 9))]
        elif way == 2:
            lines.insert(random.randrange(len(lines) + 1), lines[at])
        elif way == 3:
            lines[at] = " " * random.randrange(9) + lines[at].strip()
        elif way == 4:
            lines[at] = lines[at].replace(random.choice((":", "'", "{", "}", "[", ",")), random.choice(ODD))
        else:
            lines.insert(at, " " * random.randrange(5) + random.choice(ODD))
        lines = lines or [""]
    return "\n".join(lines)
