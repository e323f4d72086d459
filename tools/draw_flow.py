"""Draw the three flows as docs/flow.svg: `python tools/draw_flow.py` writes it, a test compares it.

The picture is read from the code, so that it cannot say something else:

- the steps and the arrows between them from the Dataflow objects that flows/*.py lay out;
- a step's caption from the comment above it, and a flow's ends from the line with arrows in its docstring;
- the state of a step from the catalogue of keys in nurt/model/keys.py, by its column "owner".

Steps that only readdress items (FOLDED) are part of their arrow. Every other step gets a box of its own.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from itertools import chain
from pathlib import Path
from textwrap import wrap
from types import ModuleType
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.visualize import RenderedOperator, to_rendered

TARGET = Path(__file__).parents[1] / "docs" / "flow.svg"

FOLDED = {"map", "map_value", "key_on", "key_rm", "inspect", "inspect_debug", "redistribute"}
STATEFUL = re.compile("stateful|fold|reduce|collect|window|join")
INTO = {"topics": "Debezium's change events from every shop and ERP database, on Kafka", "the receiver": ""}
"""What stands beside an end of a flow."""


@dataclass(frozen=True, slots=True)
class Step:
    """One box: a step of a Dataflow.

    Attributes:
        after: names of the steps whose output it takes.
        state: lines of key kinds that it owns, if it is stateful.
    """

    name: str
    is_stateful: bool
    caption: str
    after: tuple[str, ...]
    state: tuple[str, ...] = ()

    @property
    def quarantines(self) -> bool:
        """Tell whether its comment says that something of it goes to quarantine."""
        return "quarantine" in self.caption


@dataclass(frozen=True, slots=True)
class Key:
    """One kind of keys in the catalogue, and who writes it; `is_taken` when its line stands in an earlier table."""

    kind: str
    owners: tuple[str, ...]
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow: a file of flows/, its steps in order, what it reads and what it writes."""

    file: str
    title: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    steps: tuple[Step, ...]


class _Pieces:
    """A deployment that is only looked at: whatever a flow asks it for is this object again."""

    levels = 0  # nothing is joined

    def __getattr__(self, name: str) -> _Pieces:
        if name.startswith("_"):  # what Bytewax looks for in a stream
            raise AttributeError(name)
        return self

    def __call__(self, *given: object) -> _Pieces:
        return self


def read_flow(module: ModuleType, lay_out: Callable[[Any], Dataflow], keys: Sequence[Key] = ()) -> Flow:
    """Read one flow from its module: the Dataflow that it lays out, its comments, its docstring."""
    source = inspect.getsource(module)
    captions = read_captions(source)
    doc = inspect.getdoc(module) or ""
    line = next(line for line in doc.splitlines() if "-->" in line)
    ends = [end.strip() for end in re.split(r"--[^>]*>", line)]
    steps = _visible(to_rendered(lay_out(_Pieces())).substeps, captions)
    own = [step.name for step in steps if step.is_stateful]
    states = {name: [_kinds(key for key in keys if name in key.owners)] for name in own}
    beside = [key for key in keys if not key.is_taken and not set(key.owners) & set(own)]
    for owner in sorted({owner for key in beside for owner in key.owners}):  # drawn at the last state of the flow
        states[own[-1]].append(f"{owner}: {_kinds(key for key in beside if owner in key.owners)}")
    return Flow(
        file=f"flows/{Path(str(module.__file__)).name}",
        title=doc.splitlines()[0].split(":")[0].removesuffix("."),
        reads=tuple(ends[0].split(", ")),
        writes=tuple(ends[-1].split(", ")),
        steps=tuple(
            Step(step.name, step.is_stateful, step.caption, step.after, tuple(filter(None, states.get(step.name, ()))))
            for step in steps
        ),
    )


def _kinds(keys: Iterable[Key]) -> str:
    return " ".join(dict.fromkeys(key.kind for key in keys))


def _visible(operators: Sequence[RenderedOperator], captions: Mapping[str, str]) -> list[Step]:
    """Make a step of every operator that is not folded into an arrow."""
    owner: dict[str, str] = {}  # port -> the visible step whose items it gives
    steps: list[Step] = []
    for operator in operators:
        sources = [owner[port] for inp in operator.inp_ports for port in inp.from_port_ids if port in owner]
        kind = operator.op_type
        if kind in FOLDED:
            owner.update({port.port_id: source for port in operator.out_ports for source in sources})
            continue
        caption = captions.get(operator.step_name, "")
        steps.append(Step(operator.step_name, bool(STATEFUL.search(kind)), caption, tuple(dict.fromkeys(sources))))
        owner.update({port.port_id: operator.step_name for port in operator.out_ports})
    return steps


def read_captions(source: str) -> dict[str, str]:
    """Read the comment above each step, by the step's name: the first argument of a call `op.*`."""
    lines = source.splitlines()
    captions: dict[str, str] = {}
    for statement in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign | ast.Expr)):
        above: list[str] = []
        row = statement.lineno - 2
        while row >= 0 and lines[row].strip():
            above[:0] = [lines[row].strip().lstrip("# ")] * lines[row].strip().startswith("#")
            row -= 1
        for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
            is_operator = isinstance(call.func, ast.Attribute) and ast.unparse(call.func).startswith("op.")
            if is_operator and call.args and isinstance(call.args[0], ast.Constant):
                captions[str(call.args[0].value)] = " ".join(above)
    return captions


def read_keys(catalogue: str) -> list[list[Key]]:
    """Read the catalogue of keys: the rows of each of its tables, without the keys that every step writes.

    A later table takes kinds of the first over that the text between them names ("kinds `h r` as above").
    """
    tables: list[list[Key]] = []
    taken: set[str] = set()
    for line in catalogue.splitlines():
        if line.startswith("| kind"):
            tables.append([replace(key, is_taken=True) for key in chain(*tables[:1]) if key.kind in taken])
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("| ").split("|")]
            owners = tuple(cells[-1].split(", "))
            if not any("place's worker" in owner for owner in owners):
                tables[-1].append(Key(cells[0].split("`")[1], owners))
        elif found := re.search(r"kinds `([a-z ]+)` as above", line):
            taken = set(found.group(1).split())
    return tables


def drawn_flows() -> list[Flow]:
    """Read nurt's three flows."""
    from nurt.flows import deliver, profiles, stock
    from nurt.model import keys

    of_profiles, of_stock = read_keys(keys.__doc__ or "")[:2]
    return [
        read_flow(profiles, profiles.profiles, of_profiles),
        read_flow(stock, stock.stock, of_stock),
        read_flow(deliver, deliver.deliver),
    ]


# ------------------------------------------------------------------------------------------------ the picture

WIDTH, MARGIN, GUTTER = 880, 10, 32
COLUMN = (WIDTH - 2 * MARGIN - GUTTER) // 2
PAD = 14
SIDE, SIDE_GAP = 94, 18
BOX = COLUMN - 2 * PAD - SIDE - SIDE_GAP
CAPTION_PX, CAPTION_SIZE = BOX - 24, 12
GAP = 24  # between boxes: room for an arrow
NARROW, WIDE = frozenset("iljtfrI.,;:'`|!() "), frozenset("mwMWGOQ@%")

STYLE = """
text { font-family: -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328; }
.mono { font-family: ui-monospace, SFMono-Regular, Menlo, 'Liberation Mono', monospace; }
.title { font-size: 14.5px; font-weight: 600; } .file { font-size: 12px; fill: #59636e; }
.name { font-size: 14px; font-weight: 600; } .caption { font-size: 12px; fill: #424a53; }
.small { font-size: 11.2px; fill: #424a53; }
.panel { fill: #f6f8fa; stroke: #d1d9e0; } .box { fill: #ffffff; stroke: #8c959f; }
.holds { fill: #ddf4ff; stroke: #218bff; } .end { fill: #dafbe1; stroke: #2da44e; }
.aside { fill: #fff8c5; stroke: #bf8700; }
.arrow { fill: none; stroke: #59636e; stroke-width: 1.6; } .tip { fill: #59636e; }
.keyed { stroke-dasharray: 5 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .file { fill: #9198a1; } .caption, .small { fill: #c3cad2; }
  .panel { fill: #151b23; stroke: #3d444d; } .box { fill: #0d1117; stroke: #656c76; }
  .holds { fill: #121d2f; stroke: #388bfd; } .end { fill: #12261e; stroke: #2ea043; }
  .aside { fill: #272115; stroke: #bb8009; }
  .arrow { stroke: #9198a1; } .tip { fill: #9198a1; }
}
""".strip()


@dataclass(slots=True)
class Canvas:
    """The elements drawn so far, and where the ends of flows stand: (left, top, right, bottom) by name."""

    elements: list[str] = field(default_factory=list)
    ends: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)

    def text(self, x: float, y: float, words: str, style: str, anchor: str = "start") -> None:
        """Write one line; y is its base line."""
        self.elements.append(f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, height: float, style: str, radius: float = 6) -> None:
        """Draw a rounded rectangle."""
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" class="{style}"/>'
        )

    def arrow(self, *points: tuple[float, float], keyed: bool = False, both: bool = False) -> None:
        """Draw a line with rounded corners and a tip at its end, or at both."""
        path = f"M{points[0][0]:g} {points[0][1]:g}"
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            into, out = _towards(corner, before), _towards(corner, after)
            path += f" L{into[0]:g} {into[1]:g} Q{corner[0]:g} {corner[1]:g} {out[0]:g} {out[1]:g}"
        path += f" L{points[-1][0]:g} {points[-1][1]:g}"
        tips = ' marker-end="url(#tip)"' + (' marker-start="url(#tip)"' if both else "")
        self.elements.append(f'<path d="{path}" class="arrow{" keyed" if keyed else ""}"{tips}/>')

    def cylinder(self, x: float, y: float, width: float, height: float) -> None:
        """Draw a store."""
        rim = 6
        self.elements.append(
            f'<path class="holds" d="M{x:g} {y + rim:g} v{height - 2 * rim:g} a{width / 2:g} {rim} 0 0 0 {width:g} 0 '
            f'v{2 * rim - height:g} a{width / 2:g} {rim} 0 0 0 {-width:g} 0 a{width / 2:g} {rim} 0 0 0 {width:g} 0"/>'
        )


def break_lines(words: str, width_px: float, size_px: float) -> list[str]:
    """Break a caption into lines that fit, by the letters of a common sans-serif font."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if (
            lines
            and sum(0.33 if one in NARROW else 0.86 if one in WIDE else 0.57 for one in longer) * size_px <= width_px
        ):
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _towards(start: tuple[float, float], end: tuple[float, float], by: float = 8) -> tuple[float, float]:
    length = max(abs(end[0] - start[0]) + abs(end[1] - start[1]), 1)
    share = min(by / length, 0.5)
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def draw(flows: Sequence[Flow]) -> str:
    """Draw flows: those that read what nobody here writes side by side, and those that read their outputs below."""
    canvas = Canvas()
    written = {name for flow in flows for name in flow.writes}
    read = {name for flow in flows for name in flow.reads}
    first = [flow for flow in flows if not written & set(flow.reads)]
    then = [flow for flow in flows if written & set(flow.reads)]
    columns = [MARGIN, MARGIN + COLUMN + GUTTER]
    heights = [float(MARGIN)] * 2
    for name in dict.fromkeys(name for flow in first for name in flow.reads):
        _draw_input(canvas, name, heights[0])
        heights = [heights[0] + 44 + GAP] * 2
    for flow in [*first, *then]:
        column = heights.index(min(heights))
        heights[column] = _draw_flow(canvas, flow, columns[column], heights[column], read) + GAP
    shorter = heights.index(min(heights))
    bottom = max(max(heights) - GAP, heights[shorter] + 76)
    _draw_legend(canvas, columns[shorter] + PAD, bottom - 66)
    height = bottom + MARGIN
    title = "; ".join(f"{flow.file}: {', '.join(step.name for step in flow.steps)}" for flow in flows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{STYLE}\n</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse" markerUnits="userSpaceOnUse"><path d="M0 0 L8 4 L0 8 z" class="tip"/></marker>'
            "</defs>",
            *canvas.elements,
            "</svg>",
            "",
        ]
    )


def _draw_input(canvas: Canvas, name: str, y: float) -> None:
    canvas.box(MARGIN, y, WIDTH - 2 * MARGIN, 40, "end", 20)
    words = INTO.get(name, "")
    canvas.elements.append(
        f'<text x="{WIDTH / 2:g}" y="{y + 25:g}" text-anchor="middle"><tspan class="name">{escape(name)}</tspan>'
        f'<tspan class="caption" dx="10">{escape(words)}</tspan></text>'
    )
    canvas.ends[name] = (MARGIN, y, WIDTH - MARGIN, y + 40)


def _draw_flow(canvas: Canvas, flow: Flow, x: float, y: float, read: set[str]) -> float:
    """Draw one flow at (x, y) and return where it ends. `read` names the ends that other flows read."""
    panel = len(canvas.elements)
    top = y
    canvas.text(x + PAD, y + 24, flow.title, "title")
    canvas.text(x + PAD, y + 41, flow.file, "file mono")
    y += 54
    left, middle = x + PAD, x + PAD + BOX / 2
    places: dict[str, tuple[float, float]] = {}
    for index, step in enumerate(flow.steps):
        lines = break_lines(step.caption, CAPTION_PX, CAPTION_SIZE)
        sides = [line for state in step.state for line in _state_lines(state)]
        height = max(32 + 15 * len(lines), (26 + 14 * len(sides)) if sides else 0)
        _draw_step(canvas, step, left, y, height, lines, sides)
        for name in step.after:
            above = places[name]
            if index and flow.steps[index - 1].name == name:
                canvas.arrow((middle, above[1]), (middle, y - 1), keyed=step.is_stateful)
            else:  # past the boxes between
                canvas.arrow(
                    (left, above[1] - 14), (left - 9, above[1] - 14), (left - 9, y + 14), (left - 1, y + 14),
                    keyed=step.is_stateful,
                )  # fmt: skip
        places[step.name] = (y, y + height)
        y += height + GAP
    _draw_reads(canvas, flow, x, top)
    y = _draw_writes(canvas, flow, middle, y, read)
    canvas.elements.insert(
        panel, f'<rect x="{x:g}" y="{top:g}" width="{COLUMN}" height="{y - top:g}" rx="10" class="panel"/>'
    )
    return y


def _draw_step(
    canvas: Canvas, step: Step, left: float, y: float, height: float, lines: Sequence[str], sides: Sequence[str]
) -> None:
    canvas.box(left, y, BOX, height, "box")
    canvas.text(left + 12, y + 20, step.name, "name")
    for index, line in enumerate(lines):
        canvas.text(left + 12, y + 38 + 15 * index, line, "caption")
    side = left + BOX + SIDE_GAP
    if sides:
        canvas.cylinder(side, y + 1, SIDE, height - 2)
        begin = y + 9 + (height - 14 * len(sides)) / 2 + 4
        for index, line in enumerate(sides):
            style = "small" if max(map(len, line.split())) > 1 else "small mono"  # kinds are single letters
            canvas.text(side + SIDE / 2, begin + 14 * index, line, style, "middle")
        canvas.arrow((left + BOX + 1, y + height / 2), (side - 1, y + height / 2), both=True)
    elif step.quarantines:
        canvas.box(side, y + height / 2 - 14, SIDE, 28, "aside")
        canvas.text(side + SIDE / 2, y + height / 2 + 4, "quarantine", "small", "middle")
        canvas.arrow((left + BOX, y + height / 2), (side - 1, y + height / 2))


def _state_lines(state: str) -> list[str]:
    """Break a line of key kinds, with the owner's name on a line of its own."""
    owner, _, kinds = state.rpartition(": ")
    return [*([owner] if owner else []), *wrap(kinds, 10)]


def _draw_reads(canvas: Canvas, flow: Flow, x: float, top: float) -> None:
    """Draw arrows from the ends that a flow reads to the flow's panel."""
    for name in (name for name in flow.reads if name in canvas.ends):
        left, above, right, below = canvas.ends[name]
        if right < x:  # written in the column to the left: through the gutter
            at, gutter = (above + below) / 2, x - GUTTER / 2
            canvas.arrow((right, at), (gutter, at), (gutter, top + 27), (x - 1, top + 27))
        else:
            down = x + PAD + BOX / 2 if right - left > COLUMN else (left + right) / 2
            canvas.arrow((down, below), (down, top - 1))


def _draw_writes(canvas: Canvas, flow: Flow, middle: float, y: float, read: set[str]) -> float:
    """Draw what a flow writes as pills, what other flows read in the last row; return where they end."""
    canvas.arrow((middle, y - GAP), (middle, y - 1))
    for row in ([name for name in flow.writes if name not in read], [name for name in flow.writes if name in read]):
        widths = [7 * len(name) + 22 for name in row]
        at = middle - (sum(widths) + 8 * (len(row) - 1)) / 2
        for name, width in zip(row, widths, strict=True):
            canvas.box(at, y, width, 26, "end", 13)
            canvas.text(at + width / 2, y + 17, name, "small mono", "middle")
            canvas.ends[name] = (at, y, at + width, y + 26)
            at += width + 8
        y += 34 if row else 0
    return y - 8 + PAD


def _draw_legend(canvas: Canvas, x: float, y: float) -> None:
    """Explain the signs, one under the other."""
    for index, words in enumerate(
        (
            "goes to the worker that owns the order, account, realm or profile",
            "state in Redis, by kind of key: see nurt/model/keys.py",
            "kept whole, with the reason, until it is put right",
        )
    ):
        canvas.text(x + 46, y + 4 + 26 * index, words, "small")
    canvas.arrow((x, y), (x + 34, y), keyed=True)
    canvas.cylinder(x + 3, y + 16, 28, 20)
    canvas.box(x + 3, y + 44, 28, 16, "aside", 4)


def main() -> None:
    """Write docs/flow.svg."""
    TARGET.write_text(draw(drawn_flows()), encoding="utf-8")
    print(f"wrote {TARGET}", file=sys.stderr)


if __name__ == "__main__":
    main()
