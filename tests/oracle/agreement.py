"""Say where published profiles differ from the oracle's, for a reader of a failing test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.oracle.deployment import Published


def differences(expected: Mapping[str, Mapping[str, Any]], published: Published) -> list[str]:
    """List every path at which live profiles differ, and every redirect that leads nowhere; [] when they agree.

    A profile whose content did not change keeps the day for which it was last computed: `as_of` may be earlier.
    """
    live = {name: record for name, record in published.items() if record["state"] == "live"}
    found = [f"{name}: missing, accounts {_accounts(expected[name])}" for name in sorted(expected.keys() - live.keys())]
    found += [
        f"{name}: should not be, accounts {_accounts(live[name])}" for name in sorted(live.keys() - expected.keys())
    ]
    for name in sorted(expected.keys() & live.keys()):
        got = {key: value for key, value in live[name].items() if key != "revision"}
        if got["as_of"] <= expected[name]["as_of"]:
            got["as_of"] = expected[name]["as_of"]
        found += _differ(name, expected[name], got)
    return found + _lost_redirects(published)


def _accounts(profile: Mapping[str, Any]) -> list[str]:
    return [f"{account['system']}/{account['entity']}/{account['key']}" for account in profile["accounts"]]


def _differ(path: str, expected: Any, got: Any) -> list[str]:
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        found = [
            f"{path}.{key}: {'missing' if key in expected else 'too much'}" for key in expected.keys() ^ got.keys()
        ]
        return found + [
            line for key in expected.keys() & got.keys() for line in _differ(f"{path}.{key}", expected[key], got[key])
        ]
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return [
            line for at, pair in enumerate(zip(expected, got, strict=True)) for line in _differ(f"{path}[{at}]", *pair)
        ]
    return [] if expected == got else [f"{path}: expected {expected!r}, got {got!r}"]


def _lost_redirects(published: Published) -> list[str]:
    """A redirect ends, perhaps through others, at a live profile or at an erased one: never at itself."""
    found = []
    for name, record in published.items():
        seen = {name}
        while record is not None and record["state"] == "redirect":
            if record["redirect_to"] in seen:
                found.append(f"{name}: redirects in a circle")
                break
            seen.add(record["redirect_to"])
            record = published.get(record["redirect_to"])  # type: ignore[assignment]
    return found
