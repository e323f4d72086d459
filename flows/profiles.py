"""From change events to live customer profiles: nurt's main flow, from top to bottom.

    topics --translate--> rows --> orders --> accounts --> identity --> profiles --> nurt.profiles, analytics

Every stage keeps its state in Redis and owns some shards of it; a micro-batch costs one read and one write. A stage
sends its stored state to the next one, and sends it again on every replay, so a crash between two stages loses nothing.
`nurt run` runs this file.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from nurt.runtime.assembly import FlowAssembly


def profiles(assembly: FlowAssembly) -> Dataflow:
    """Lay out the flow over one deployment's pieces."""
    flow = Dataflow("profiles")

    # Raw messages, one micro-batch an item; offsets are committed when everything below is done with them.
    messages = op.input("topics", flow, assembly.topics())

    # Avro and Debezium's envelope become columns of our entities; what cannot, goes to quarantine with its bytes.
    translated = op.flat_map("translate", messages, assembly.translate())

    # The newest event of every row stays. A row sends its contribution to its order or account.
    rows = op.stateful_batch("rows", op.map("to_rows", translated, assembly.address), assembly.stage("rows"))

    # A row that the mapping makes of several is made again when one of them changes; without joins there is no level.
    for level in range(1, assembly.levels + 1):
        step = f"assemble_{level}"
        rows = op.stateful_batch(step, _next(f"to_{step}", rows, assembly), assembly.stage(step))

    # Where the mapping names orders by a field (a payment by the order's number), its rows find the order first.
    if assembly.has_references:
        rows = op.stateful_batch("references", _next("to_references", rows, assembly), assembly.stage("references"))

    # Lines, payments and shipments make an order; an order sends what it adds to its account.
    orders = op.stateful_batch("orders", _next("to_orders", rows, assembly), assembly.stage("orders"))

    # Orders, addresses and consents make an account. From here on only names of changed accounts flow.
    accounts = op.stateful_batch("accounts", _next("to_accounts", orders, assembly), assembly.stage("accounts"))

    # Accounts that share an identifier are one customer; one worker owns a realm.
    identity = op.stateful_batch("identity", _next("to_identity", accounts, assembly), assembly.stage("identity"))

    # Profiles are recomputed from their accounts, so a split is as easy as a merge.
    unified = op.stateful_batch("profiles", _next("to_profiles", identity, assembly), assembly.stage("profiles"))

    # A worker writes its profiles to every output before it reads on; sinks absorb repeats by revision.
    op.output("published", op.map("unkey", unified, _without_key), assembly.outputs())
    return flow


def _next(step_id: str, items: op.KeyedStream, assembly: FlowAssembly) -> op.KeyedStream:
    """Send each item of a stage to the worker that owns its target."""
    return op.map(step_id, items, lambda keyed: assembly.address(keyed[1]))


def _without_key(keyed: tuple[str, object]) -> object:
    return keyed[1]
