"""How hard property tests search, by NURT_HYPOTHESIS_PROFILE: `desk` (unless CI is set), `ci`, `quick`,
`thousand`, `thorough`.

No profile has a deadline: the first example of a run may compile a kernel. `ci` draws the same examples every time, so
that a submission fails for what it changed; `thorough` searches on, with other examples each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.services.stack.absence import in_ci

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

QUICK = 10

settings.register_profile("quick", max_examples=QUICK, deadline=None, suppress_health_check=_QUIET)
settings.register_profile("desk", max_examples=60, deadline=None, suppress_health_check=_QUIET)
settings.register_profile("ci", max_examples=150, deadline=None, suppress_health_check=_QUIET, derandomize=True)
settings.register_profile("thousand", max_examples=1_000, deadline=None, suppress_health_check=_QUIET, print_blob=True)
settings.register_profile("thorough", max_examples=5_000, deadline=None, suppress_health_check=_QUIET, print_blob=True)
PROFILE = os.environ.get("NURT_HYPOTHESIS_PROFILE") or ("ci" if in_ci() else "desk")
settings.load_profile(PROFILE)


def examples(count: int) -> int:
    """Return how many examples a test searches that names a number of its own: fewer in `make quick`."""
    return min(count, QUICK) if PROFILE == "quick" else count
