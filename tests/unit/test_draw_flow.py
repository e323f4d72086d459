"""The drawing of the flows says what the flows say."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

WITH_A_NEW_STEP = '''"""From a to b.

    topics --read--> things --write--> nurt.things
"""
import bytewax.operators as op
from bytewax.dataflow import Dataflow


def lay_out(pieces):
    flow = Dataflow("new")

    # What comes.
    come = op.input("come", flow, pieces.source())

    # What is new here; what it cannot take goes to quarantine.
    fresh = op.flat_map("enrich", op.map("to_enrich", come, pieces.address), pieces.enrich)

    op.output("gone", fresh, pieces.sink())
    return flow
'''


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    """The names of tools/draw_flow.py."""
    names = runpy.run_path(str(ROOT / "tools" / "draw_flow.py"), run_name="draw_flow")
    sys.modules.pop("draw_flow", None)
    return names


def test_the_drawing_is_what_the_flows_say_today(tool: dict[str, Any]) -> None:
    drawn = tool["draw"](tool["drawn_flows"]())
    assert (ROOT / "docs" / "flow.svg").read_text(encoding="utf-8") == drawn, "write it again: make drawing"


def test_every_stage_of_profiles_is_drawn_with_the_keys_that_it_owns(tool: dict[str, Any]) -> None:
    profiles = tool["drawn_flows"]()[0]
    assert {step.name: step.state for step in profiles.steps if step.is_stateful} == {
        "rows": ("r t v n i",),
        "references": ("K",),
        "orders": ("o",),
        "accounts": ("a s c",),
        "identity": ("m d g p w",),
        "profiles": ("f w u x", "assemble: j q"),
    }


def test_a_new_step_of_a_flow_appears_by_itself(
    tool: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new_flow.py").write_text(WITH_A_NEW_STEP)
    monkeypatch.syspath_prepend(str(tmp_path))
    module: ModuleType = __import__("new_flow")
    flow = tool["read_flow"](module, module.lay_out)
    assert [(step.name, step.after) for step in flow.steps] == [
        ("come", ()),
        ("enrich", ("come",)),
        ("gone", ("enrich",)),
    ]
    assert (flow.reads, flow.writes) == (("topics",), ("nurt.things",))
    drawn = tool["draw"]([flow])
    assert all(f">{words}<" in drawn for words in ("enrich", "quarantine", "nurt.things"))
    assert "to_enrich" not in drawn


def test_every_caption_fits_into_its_box(tool: dict[str, Any]) -> None:
    captions = [step.caption for flow in tool["drawn_flows"]() for step in flow.steps]
    assert all(captions), "a step without a comment above it"
    lines = [tool["break_lines"](caption, tool["CAPTION_PX"], tool["CAPTION_SIZE"]) for caption in captions]
    assert max(map(len, lines)) <= 4
