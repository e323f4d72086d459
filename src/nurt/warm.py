"""Compile every kernel once, so that the first start and the first test need not: `python -m nurt.warm`.

numba keeps compiled kernels beside their sources and compiles for the types that it meets. So the surest way to meet
the real ones is a small real run: a few simulated people, from their bytes to their profiles, in memory.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import date
from importlib.resources import files
from pathlib import Path

from nurt import schemas
from nurt.adapters.archive import ArchiveLog
from nurt.adapters.memory_store import Memory, MemoryStore
from nurt.adapters.registry import FolderRegistry
from nurt.core.ids import SECRET_BYTES, Ids
from nurt.core.mapping import load_mapping
from nurt.model.entity_frame import Translated
from nurt.model.keys import Keys
from nurt.operators.translate import Translator
from nurt.operators.worker import Chain, Tick, Worker
from nurt.simulate.targets import simulate_to_archive
from nurt.wiring import fold_context

PEOPLE, DAYS = 12, 20
MESSAGES_MAX = 300
LAST_DAY = date(2026, 3, 31)
FAR_DAY = 30_000  # long after it, so that the clock changes every profile


def warm() -> int:
    """Carry a few simulated people from bytes to profiles; return how many messages that took."""
    ids = Ids(bytes(SECRET_BYTES))
    mapping = load_mapping((files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8"), "demo.yaml")
    keys = Keys("warm", 2)
    places = [*map(keys.shard_place, range(2)), keys.realm_place("default")]
    memory = Memory()
    memory.claim(1, places)
    store = MemoryStore(memory, 1, places)
    chain = Chain(Worker(store, keys, fold_context(mapping, ids), schemas.load(schemas.PROFILE_VALUE)))
    with tempfile.TemporaryDirectory(prefix="nurt-warm-") as name:
        folder = Path(name)
        simulated = simulate_to_archive(folder, seed=1, customers=PEOPLE, days=DAYS, last_day=LAST_DAY)
        translator = Translator(mapping, FolderRegistry(folder), ids)
        log = ArchiveLog([folder])
        log.start(None)
        chain.tick(Tick(1, 0, 0))
        while not log.exhausted():
            batches: list[Translated] = [translator.translate(batch) for batch in log.poll(MESSAGES_MAX)]
            chain.feed(batches)
        log.close()
    chain.tick(Tick(2, FAR_DAY, 0))
    return simulated.total


def main() -> None:
    """Warm and say so, on stderr."""
    began = time.monotonic()
    print("nurt: compiling kernels (about half a minute the first time)", file=sys.stderr, flush=True)
    warm()
    print(f"nurt: compiled in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
