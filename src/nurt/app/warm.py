"""Compile every kernel once, so that the first start and the first test do not have to: `python -m nurt.app.warm`.

numba compiles for the types of actual arguments (`kernel_cache` says where it keeps the result). So the surest way to
the real types is a small real run: a few simulated people, from bytes to profiles.
"""

from __future__ import annotations

import compileall
import sys
import tempfile
import time
from datetime import date
from importlib.resources import files
from pathlib import Path

from nurt import kernel_cache
from nurt.errors import ConfigurationError

PEOPLE, DAYS, LAST_DAY = 12, 20, date(2026, 3, 31)
ROWS_MAX = 300  # so that later micro-batches meet what earlier ones stored


def warm() -> int:
    """Process a few simulated people from bytes to profiles; return how many messages this took.

    Raises ConfigurationError where there is no embedded Valkey for this machine.
    """
    # imported here: a second start has nothing to compile and need not load it all
    from nurt.adapters.redis.embedded import embedded_state
    from nurt.app.running import run_here
    from nurt.flows.profiles import profiles
    from nurt.settings import Settings
    from nurt.simulate.connector.targets import simulate_to_archive

    with tempfile.TemporaryDirectory(prefix="nurt-warm-") as name:
        folder = Path(name)
        archive, mapping = folder / "archive", folder / "mapping.yaml"
        simulated = simulate_to_archive(archive, seed=1, customers=PEOPLE, days=DAYS, last_day=LAST_DAY)
        mapping.write_bytes((files("nurt") / "presets" / "demo.yaml").read_bytes())
        with embedded_state(folder / "valkey") as url:
            run_here(
                profiles, Settings(mapping, folder / "data", url, shards=2, rows_max=ROWS_MAX, archives=(archive,))
            )
    return simulated.total


def main() -> None:
    """Warm, unless that was done for these sources, and say so on stderr.

    Where this is impossible, kernels compile at their first use. The modules' bytecode is written, too: where Python is
    told not to write it (PYTHONDONTWRITEBYTECODE), every start would compile 300 modules, a quarter of a second.
    """
    compileall.compile_dir(Path(kernel_cache.__file__).parent, quiet=2)
    folder = kernel_cache.current()
    if folder is not None and kernel_cache.is_complete(folder):
        return
    began = time.monotonic()
    print("nurt: compiling kernels (half a minute the first time)", file=sys.stderr, flush=True)
    try:
        warm()
    except ConfigurationError as failed:
        print(f"nurt: not compiled ahead: {failed}", file=sys.stderr, flush=True)
        return
    if folder is not None:
        kernel_cache.note_complete(folder)
    print(f"nurt: compiled in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
