"""From change events to what can be sold right now: nurt's flow of stock, from top to bottom.

    topics --translate--> rows --> papers, shelves, promises --> read model, nurt.stock, nurt.orders, nurt.stock-events

It reads the topics that the flow of profiles reads, by the same mapping, and keeps state, run numbers and commits of
its own, so that neither holds up the other. `nurt run --flow stock` runs this file; so does
`python -m bytewax.run nurt.flows.stock` with NURT_CONFIG set.
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

    # The newest event of every row stays. It says itself to its paper (order, document, shipment) or shelf (sku).
    rows = op.stateful_batch("rows", op.map("to_rows", translated, assembly.address), assembly.stage("rows"))

    # One owner a realm: papers are joined, what they hold goes to shelves, shelves are weighed, all in one write.
    said = op.map("to_stock", rows, lambda keyed: assembly.address(keyed[1]))
    published = op.stateful_batch("stock", said, assembly.stage("stock"))

    # What can be sold, where each order is, and which thresholds were crossed.
    op.output("published", op.map("unkey", published, lambda keyed: keyed[1]), assembly.outputs())
    return flow
