"""What a comparison showed: medians, and ratios of new to old beside those of old to old."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

LIMITS = {
    "cpu_us": 1 / 0.97,
    "later_cpu_us": 1 / 0.97,
    "server_cpu_us": 1 / 0.97,
    "messages_s": 0.97,
    "peak_mb": 1.03,
    "rss_mb": 1.03,
    "state_mb": 1.03,
    "p50_ms": 1.15,
    "p99_ms": 1.15,
}
"""How far new may be from old; of times of commands nothing more. A rate may not be less, all others not be more."""


def report(results: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> tuple[list[str], dict[str, Any]]:
    """Write a table of each job, and the same as data."""
    lines: list[str] = []
    seen: dict[str, Any] = {}
    for job, found in results.items():
        lines += [
            f"{job}, {len(found['new'])} rounds: medians; ratios round by round: median (lowest to highest)",
            f"  {'':26s}{'old':>12s}{'again':>12s}{'new':>12s}   {'new / old':24s} {'again / old':24s}",
        ]
        seen[job] = {}
        for name in found["new"][0]:
            figures = {who: [one[name] for one in some] for who, some in found.items()}
            row = compared(name, figures["old"], figures["again"], figures["new"])
            seen[job][name] = row
            ratios = [
                f"{row[of]:.3f} ({row[f'{of}_spread'][0]:.3f} to {row[f'{of}_spread'][1]:.3f})"
                for of in ("new_old", "again_old")
            ]
            medians = "".join(f"{row[who]:12,.5g}" for who in ("old", "again", "new"))
            lines.append(f"  {name:26s}{medians}   {ratios[0]:24s} {ratios[1]:24s} {row['verdict']}")
        lines.append("")
    return lines, seen


def compared(name: str, old: Sequence[float], again: Sequence[float], new: Sequence[float]) -> dict[str, Any]:
    """Compare one figure: `ok` within its limit, `spread` within what old differs from itself, else `LOOK`."""
    to_old = _ratios(new, old)
    of_old = _ratios(again, old)
    middle = statistics.median(to_old)
    # old against old has no direction: what one way is less is the other way more
    widest = max(max(ratio, 1 / ratio) for ratio in of_old)
    is_rate = name == "messages_s"
    limit = LIMITS.get(name, 1.0)
    if name.startswith(("user_s", "system_s", "state_keys", "p999")):
        verdict = ""
    elif middle >= limit if is_rate else middle <= limit:
        verdict = "ok"
    elif middle >= 1 / widest if is_rate else middle <= widest:
        verdict = "spread"
    else:
        verdict = "LOOK"
    return {
        "old": statistics.median(old),
        "again": statistics.median(again),
        "new": statistics.median(new),
        "new_old": middle,
        "new_old_spread": [min(to_old), max(to_old)],
        "again_old": statistics.median(of_old),
        "again_old_spread": [min(of_old), max(of_old)],
        "verdict": verdict,
    }


def _ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other if other else 1.0 for one, other in zip(some, others, strict=True)]
