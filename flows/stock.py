"""From change events to what can be sold right now: nurt's flow of stock, from top to bottom.

    topics --translate--> rows --> documents, positions, ATP --> read model, nurt.stock, nurt.orders, nurt.stock-events

It reads the same topics as the flow of profiles, by the same mapping. State, run numbers and commits are its own, so
that no flow delays the other. `nurt run --flow stock` runs this file.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from nurt.runtime.assembly import FlowAssembly


def stock(assembly: FlowAssembly) -> Dataflow:
    """Lay out the flow over one deployment's pieces."""
    flow = Dataflow("stock")

    # Raw messages, one micro-batch an item; offsets are committed when everything below is done with them.
    messages = op.input("topics", flow, assembly.topics())

    # Columns of our entities; topics that only profiles read are counted as not ours. What cannot be read goes to
    # quarantine with its bytes.
    translated = op.flat_map("translate", messages, assembly.translate())

    # The newest event of every row stays, and goes to its sales document (order, document, shipment) or position (sku).
    rows = op.stateful_batch("rows", op.map("to_rows", translated, assembly.address), assembly.stage("rows"))

    # A row that the mapping makes of several is made again when one of them changes; without joins there is no level.
    for level in range(1, assembly.levels + 1):
        step = f"assemble_{level}"
        of_level = op.map(f"to_{step}", rows, lambda keyed: assembly.address(keyed[1]))
        rows = op.stateful_batch(step, of_level, assembly.stage(step))

    # One worker owns a realm: documents are matched, their holds go to positions, positions are netted, in one write.
    of_realms = op.map("to_stock", rows, lambda keyed: assembly.address(keyed[1]))
    published = op.stateful_batch("stock", of_realms, assembly.stage("stock"))

    # What can be sold, where each order is, and which thresholds were crossed.
    op.output("published", op.map("unkey", published, lambda keyed: keyed[1]), assembly.outputs())
    return flow
