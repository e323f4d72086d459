"""The agreement of a run with stored state: the same ids and shards, and layouts that the run can read.

Two keys say what the state was written under. `<prefix>:config` is a line of text that every version compares with its
own, letter by letter. `<prefix>:layouts` is a record of the stored tables, and of the contracts of stored profile
bodies; a start compares it with `state.layouts` and `contracts.schemas`:

* The same, or this version has more columns: this version goes on, and records its layouts.
* The state has columns that this version does not know, or has elsewhere: the start is refused. The version that wrote
  the state, or a later one, can run.
* No record: the state is of a version that did not record layouts. All such versions had the layouts of
  schemas/state-v1-first.json; this file never changes.

Versions that did not record layouts do not know the second key. So the line in `config` is in their form as long as the
state has the first layouts: then such a version can run again. When the state has other layouts, the line says so, too,
and these versions refuse the state.

Both keys change in one MULTI, which is refused when one of the keys changed meanwhile (WATCH): no start sees one key
without the other, and of two starts at once the second compares itself with the record of the first. An older run that
is already past this point may then still claim the state: it fences the newer run, and refuses each newer value that it
reads (`state/table.py`). Commands that only read need no agreement, and refuse newer values, too.
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
"""Text between fingerprint and digest in the line, for state that does not have the first layouts."""

_SHOWN_MAX = 5
_NEXT = "run the version of nurt that wrote it, or a later one, or give this deployment a prefix of its own"


def agree(client: Any, keys: Keys, fingerprint: str, layouts: Layouts | None = None) -> None:
    """Record with the state what its keys and values depend on, before a run takes a number.

    The control log names the fingerprint, too, but may be lost or another deployment's. Then runs that fail at the
    start would count up until one counts as the latest.

    Args:
        client: of the state; it does not decode replies.
        keys: of the deployment.
        fingerprint: what ids and places depend on.
        layouts: the layouts that this version writes and reads; None: those of `state.layouts`.

    Raises:
        ConfigurationError: the state was written under another fingerprint.
        StateTooNew: the state has columns that this version does not know.
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
    """Return the layouts that the state was written under."""
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
