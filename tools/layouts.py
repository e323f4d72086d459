"""Write the snapshot of all stored layouts, schemas/state-v1.json; it can only grow: `make layouts`."""

from __future__ import annotations

import sys
from pathlib import Path

from nurt.state.layout_changes import grown
from nurt.state.layouts import LAYOUTS

SNAPSHOT = Path(__file__).parents[1] / "schemas" / "state-v1.json"

if __name__ == "__main__":
    try:
        SNAPSHOT.write_text(grown(SNAPSHOT.read_text(encoding="utf-8"), LAYOUTS), encoding="utf-8")
    except ValueError as lost:
        sys.exit(str(lost))
