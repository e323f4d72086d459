"""Compare stored rows of tables, which no output shows, with the rows that the databases hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from nurt.model.entities import BY_CODE
from nurt.model.entity_frame import DELETE
from nurt.model.table_kinds import CODES
from nurt.rows.layouts import ROW, ROW_TABLES
from tests.oracle.final_row import FinalRow


def table_differences(rows: Mapping[str, Sequence[FinalRow]], stored: Mapping[bytes, bytes]) -> list[str]:
    """List rows of tables that are stored otherwise than the databases hold them; [] when all agree.

    Args:
        rows: at the end, by kind.
        stored: values of the state by their keys.
    """
    expected = {
        one.row: (kind, one.key, dict(one.fields)) for kind, some in rows.items() if "/" in kind for one in some
    }
    found: dict[bytes, tuple[str, str, dict[str, object]]] = {}
    for key, value in stored.items():
        rest = key[key.index(b"}") + 1 :] if b"}" in key else b""
        if len(rest) != 18 or rest[:1] != b"r" or rest[1] not in CODES:
            continue
        entity = BY_CODE[rest[1]]
        for row in ROW_TABLES[entity.kind].unpack([value]).filter(pl.col("part") == ROW).to_dicts():
            if row["op"] != DELETE:
                found[rest[2:]] = entity.kind, row["key"], {name: row[name] for name in entity.fields}
    return [
        f"{row.hex()}: expected {expected.get(row)}, stored {found.get(row)}"
        for row in sorted(expected.keys() | found.keys())
        if expected.get(row) != found.get(row)
    ]
