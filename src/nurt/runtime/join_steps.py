"""The steps of a flow's levels of joins: what is made of several rows, before the flow's own stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from nurt.assemble.stage import AssembleStage
from nurt.model.tick import Tick
from nurt.ports.store import Store
from nurt.rows.children.contributions import Contributions, JoinsSaid, Touched, join_contributions
from nurt.runtime.routing import WorkerRoutes
from nurt.runtime.steps import Parcel

_STEP = "assemble_"

FAN_OUT_S = 0.2
"""How long a step makes rows again whose looked-up row changed; the others wait for the next step."""


class _JoiningWorker(Protocol):
    """A flow's worker, as these steps see it."""

    @property
    def levels(self) -> Sequence[AssembleStage[Any]]:
        """Return the stages of the levels, the lowest first."""
        ...

    @property
    def store(self) -> Store:
        """Return the worker's store."""
        ...

    def owed_joins(self) -> list[bytes]:
        """Return what earlier runs left pending of rows that are made of several."""
        ...


class JoinSteps:
    """Steps of a worker's levels, named `assemble_1` and so on; a flow's steps inherit them.

    Args:
        worker: of the flow.
        split: makes parcels of what the flow's rows say, joins left out.
    """

    fan_out_s = FAN_OUT_S

    def __init__(
        self, worker: _JoiningWorker, routes: WorkerRoutes, index: int, split: Callable[[Any], Iterable[Parcel]]
    ) -> None:
        self._joining, self._joined_routes, self._here, self._split_said = worker, routes, index, split

    def __getattr__(self, name: str) -> Any:
        """Give the step of a level."""
        if name.startswith(_STEP):
            return partial(self._assemble, int(name.removeprefix(_STEP)))
        raise AttributeError(f"{type(self).__name__} has no step {name}")

    def said(self, contributions: Any) -> Iterator[Parcel]:
        """Make parcels of what rows say, those to rows that are made of several included."""
        joins = contributions.joins
        yield from self._split_said(contributions if joins is None else contributions.with_joins(None))
        if joins is not None:
            if joins.touched and self._joined_routes.workers > 1:
                self._joining.store.settle()  # who hears of a row reads it
            yield from self._joined_routes.split_joins(joins)

    def _assemble(self, level: int, items: Sequence[Any]) -> Iterator[Parcel]:
        """Make the rows of one level again; what is not for this level goes on down the same worker."""
        stage = self._joining.levels[level - 1]
        mine: list[Contributions] = []
        touched: list[Touched] = []
        ticks: list[Parcel] = []
        for item in items:
            if isinstance(item, Tick):
                ticks.append((self._here, item))
            elif isinstance(item, JoinsSaid):
                if level in item.beside:
                    mine.append(item.beside[level])
                touched += item.touched.get(level, ())
                beside = {one: some for one, some in item.beside.items() if one != level}
                others = {one: some for one, some in item.touched.items() if one != level}
                if beside or others:
                    yield self._here, JoinsSaid(beside, others)
            else:
                yield self._here, item
        if ticks:
            stage.resume(self._joining.owed_joins())
        if touched:
            stage.hear(touched)
        if mine:
            yield from self.said(stage.fold(join_contributions(mine)))
        until_s = time.monotonic() + self.fan_out_s
        while stage.owes:
            yield from self.said(stage.portion())
            if time.monotonic() > until_s:
                break
        yield from ticks
