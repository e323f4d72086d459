"""Profiles of made-up accounts, as the kernel writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nurt.columnar.values import Values
from nurt.profiles.golden_record.write import Profiles

Account = tuple[bytes | None, bytes | None]
"""Values of ACCOUNT_RECORDS and of AGGREGATES."""


def profile_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def live_profiles(
    profiles: Profiles, accounts: Sequence[Sequence[Account]], as_of: int
) -> tuple[list[bytes], list[int]]:
    """Write the profiles of accounts; returns their bodies, and the days that the clock changes them."""
    held = [account for of_one in accounts for account in of_one]
    firsts = np.cumsum([0, *map(len, accounts)], dtype=np.int64)
    ids = [profile_id(number) for number in range(len(accounts))]
    slots, sums = Values.of([slots for slots, _ in held]), Values.of([sums for _, sums in held])
    live = profiles.live(ids, ["eu"] * len(ids), firsts, slots, sums, as_of)
    whole = live.joined.tobytes()
    bodies = [whole[start:end] for start, end in zip(live.places[:-1], live.places[1:], strict=True)]
    return bodies, live.due.tolist()
