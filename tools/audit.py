"""Ask osv.dev which of the locked packages have known vulnerabilities, and write a bill of materials (CycloneDX).

`make audit` runs it, apart from `make check`: it needs a network, and new advisories come without a change here. Exit
codes: 0 nothing is known; 1 something is; 3 nobody answered. The bill is written in any case.

Source: OSV's API (querybatch); CycloneDX 1.5.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "docker/requirements.lock")
BILL = Path("build/sbom.cdx.json")
OSV = os.environ.get("NURT_OSV_URL", "https://api.osv.dev/v1/querybatch")
TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 32 << 20

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
Pin = tuple[str, str]


def pins(lock: str) -> list[Pin]:
    """Read (name, version) of a lock file; one name may have several versions, by markers."""
    return sorted({(name.lower().replace("_", "-"), version) for name, version in _PIN.findall(lock)})


def bill_of(packages: Sequence[Pin]) -> dict[str, Any]:
    """Make the bill of materials; the same packages make the same bill."""
    digest = hashlib.sha256(repr(list(packages)).encode()).digest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "nurt"}},
        "components": [
            {"type": "library", "name": name, "version": version, "purl": _purl(name, version)}
            for name, version in packages
        ],
    }


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def advisories(packages: Sequence[Pin]) -> dict[Pin, list[str]]:
    """Ask for the advisories about packages. Raises OSError when nobody answers, ValueError for a strange answer."""
    queries = [{"package": {"purl": _purl(name, version)}} for name, version in packages]
    asked = urllib.request.Request(
        OSV, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json", "User-Agent": "nurt"}
    )
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        results = json.loads(answer.read(ANSWER_BYTES_MAX))["results"]
    if len(results) != len(packages):
        raise ValueError(f"{len(results)} results for {len(packages)} packages")
    found = zip(packages, results, strict=True)
    return {pin: [str(one["id"]) for one in result["vulns"]] for pin, result in found if result and result.get("vulns")}


def main() -> int:
    """Write the bill, then ask."""
    packages = sorted({pin for lock in LOCKS for pin in pins((ROOT / lock).read_text(encoding="utf-8"))})
    path = ROOT / BILL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bill_of(packages), indent=2) + "\n", encoding="utf-8")
    print(f"{len(packages)} packages are locked; {BILL} lists them")
    try:
        found = advisories(packages)
    except (OSError, ValueError, LookupError, TypeError) as failed:
        print(
            f"asking {OSV} for advisories: no answer ({type(failed).__name__}); nothing is known either way; "
            "run `make audit` again where there is a network",
            file=sys.stderr,
        )
        return 3
    for (name, version), ids in found.items():
        print(f"{name} {version}: {', '.join(ids)} (https://osv.dev/{ids[0]})")
    print(f"{len(found)} of them have known vulnerabilities" if found else "no vulnerability of them is known")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
