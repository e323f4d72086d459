"""The rules by which the identifiers in the state are normalised, under `<prefix>:normalisation`.

Rules have a number here, which grows when they change; shards mark the number by which their rows were read (see
`rows/children/renormalising.py`). The record also names the latest run that knew it. When a later run holds the state,
an older version of nurt ran meanwhile, by rules of its own, and the number grows, too. No record: the state is of a
version that had no number.
"""

from __future__ import annotations

from typing import Any

import orjson

from nurt.model.keys import Keys


def agree_on_rules(client: Any, keys: Keys, digest: str, run: int, latest: int) -> int:
    """Record the rules of a run before it takes the state; return their number.

    Args:
        client: of the state; it does not decode replies.
        keys: of the deployment.
        digest: of the rules of this run.
        run: number of this run.
        latest: the latest run that held the state; 0: none.
    """
    name = keys.named("normalisation")
    stored = client.get(name)
    known: dict[str, Any] = {"digest": "", "number": 0, "run": 0} if stored is None else orjson.loads(stored)
    number: int = known["number"]
    if known["digest"] != digest or latest > known["run"]:
        number += 1
    client.set(name, orjson.dumps({"digest": digest, "number": number, "run": run}))
    return number
