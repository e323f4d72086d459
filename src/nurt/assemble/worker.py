"""The stages of all levels over one store, for a flow's worker."""

from __future__ import annotations

from collections.abc import Callable

from nurt.assemble.emitter import JoinEmitter, T
from nurt.assemble.stage import AssembleStage
from nurt.mapping.joins.plan import Joins
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.rows.stage import RowEmitter


def assembling(
    emitter: RowEmitter[T], store: Store, keys: Keys, joins: Joins, context: FoldContext, epoch: Callable[[], int]
) -> tuple[RowEmitter[T], list[AssembleStage[T]]]:
    """Return the emitter of a flow whose mapping joins, and the stages of its levels; nothing joins: the flow's own."""
    if not joins.levels:
        return emitter, []
    over = JoinEmitter(emitter, joins, context.ids)
    return over, [
        AssembleStage(store, keys, over, joins, level, context.timezone, context.ids, epoch)
        for level in range(1, len(joins.levels) + 1)
    ]
