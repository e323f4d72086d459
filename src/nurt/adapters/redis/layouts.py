"""The agreement of a run with the state that it finds: the same ids and shards, and layouts that it can read.

Two keys say what the state was written under. `<prefix>:config` is a line of text that every version compares with its
own, letter by letter. `<prefix>:layouts` is a record of the stored tables, and of the contracts of stored profile
bodies; a start compares it with `state.layouts` and `contracts.schemas`:

* The same, or this version has more columns: it goes on, and its own layouts are recorded.
* The state has columns that this version does not know, or has elsewhere: it is refused. What wrote it, or later, runs.
* No record: the state is of a version that did not record, and those all had the layouts of
  schemas/state-v1-first.json, which never changes.

Versions that did not record know nothing of the second key. So the line in `config` is theirs as long as the state has
the first layouts: then they can be gone back to. As soon as it has others, the line says so too, and they refuse it.

Both keys change in one MULTI that is refused when one of them changed meanwhile (WATCH): no start sees one without the
other, and of two starts at once the second compares itself with what the first recorded. An older run that is already
past this point may then still claim the state: it fences the newer one, and refuses each newer value that it meets
(`state/table.py`). So do commands that only read, which need no agreement.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
from redis.exceptions import WatchError

from nurt.contracts import schemas
from nurt.errors import ConfigurationError, StateTooNew
from nurt.model.keys import Keys
from nurt.state.layout_changes import Layouts, digest, listed, misread
from nurt.state.layouts import LAYOUTS
from nurt.state.table import VERSION
from nurt_client.keys import config_key

_LATER = "; layouts of a later version: "
"""Between the fingerprint and the digest, in the line of state that does not have the first layouts."""

_SHOWN_MAX = 5
_NEXT = "run the version of nurt that wrote it, or a later one, or give this deployment a prefix of its own"


def agree(client: Any, keys: Keys, fingerprint: str, layouts: Layouts | None = None) -> None:
    """Note with the state what its keys and values depend on, before a run takes a number.

    The register names the fingerprint too, but may be lost or another deployment's, and then runs that only ever try
    would count up until one passes for the latest.

    Args:
        client: of the state; does not decode replies.
        keys: of the deployment.
        fingerprint: what ids and places depend on.
        layouts: that this version writes and reads; None: those of `state.layouts`.

    Raises:
        ConfigurationError: the state was written under another fingerprint.
        StateTooNew: it has columns that this version does not know.
    """
    known = _of_this_version() if layouts is None else layouts
    first = schemas.first_layouts()
    line = (fingerprint if known == first else f"{fingerprint}{_LATER}{digest(known)}").encode()
    record = orjson.dumps({"version": VERSION, "tables": known})
    config, recorded = config_key(keys.prefix), keys.named("layouts")
    while True:
        with client.pipeline() as pipe, suppress(WatchError):
            pipe.watch(config, recorded)
            stored_line, stored_record = pipe.mget(config, recorded)
            _check_fingerprint(keys, stored_line, fingerprint)
            _check_layouts(keys, _stored(keys, stored_line, stored_record, known, first), known)
            if (stored_line, stored_record) == (line, record):
                return
            pipe.multi()
            pipe.mset({config: line, recorded: record})
            pipe.execute()
            return


def _of_this_version() -> Layouts:
    """List the layouts, and the contracts of stored profile bodies; the first one is taken for granted."""
    contracts = {f"version {number}": [number, "contract"] for number in range(2, schemas.PROFILE_VERSION + 1)}
    return listed(LAYOUTS) | ({"profile_bodies": contracts} if contracts else {})


def _check_fingerprint(keys: Keys, line: bytes | None, fingerprint: str) -> None:
    was = fingerprint if line is None else line.decode().partition(_LATER)[0]
    if was != fingerprint:
        raise ConfigurationError(
            f"starting with state {keys.prefix.decode()}: it was written under {was} (this run: {fingerprint}; state "
            "keys depend on it); set `secret` and `shards` back, or give this deployment a prefix of its own"
        )


def _stored(keys: Keys, line: bytes | None, record: bytes | None, known: Layouts, first: Layouts) -> Layouts:
    """Say which layouts the state was written under."""
    if record is not None:
        kept = orjson.loads(record)
        if kept["version"] != VERSION:
            raise StateTooNew(
                f"starting with state {keys.prefix.decode()}: its values have encoding {kept['version']} (this version "
                f"knows {VERSION}); {_NEXT}"
            )
        tables: Layouts = kept["tables"]
        return tables
    _, later, named = ("" if line is None else line.decode()).partition(_LATER)
    if not later:
        return first
    if named == digest(known):
        return known
    raise StateTooNew(
        f"starting with state {keys.prefix.decode()}: its layouts are {named} (this version's: {digest(known)}), and "
        f"their record {keys.named('layouts').decode()} is gone; {_NEXT}"
    )


def _check_layouts(keys: Keys, was: Layouts, known: Layouts) -> None:
    lost = misread(was, known)
    if lost:
        more = f" and {len(lost) - _SHOWN_MAX} more" if len(lost) > _SHOWN_MAX else ""
        raise StateTooNew(
            f"starting with state {keys.prefix.decode()}: it has columns that this version of nurt lacks or has "
            f"elsewhere: {', '.join(map(str, lost[:_SHOWN_MAX]))}{more} (as the state has them -> as this version "
            f"does); {_NEXT}"
        )
