"""From published profiles to one receiver: nurt's delivery flow, a flow of its own for every destination.

    nurt.profiles, nurt.stock, nurt.orders --read--> changes --map, compare, call--> the receiver

A receiver that is down makes only its own flow lag. Offsets are committed when everything below them is settled:
accepted, refused and in quarantine, or parked. `nurt deliver run NAME` runs this file.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from nurt.runtime.assembly import DeliveryAssembly


def deliver(assembly: DeliveryAssembly) -> Dataflow:
    """Lay out the flow over one destination's pieces."""
    flow = Dataflow("deliver")

    # What was published, live changes first; a back-fill goes on beside them.
    changes = op.input("profiles", flow, assembly.source())

    # What differs from what the receiver holds is written, as fast as it allows; what it refuses goes to quarantine.
    op.output("delivered", changes, assembly.sink())
    return flow
