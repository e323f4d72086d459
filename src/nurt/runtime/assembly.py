"""The pieces that flows need from the code that assembles them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bytewax.inputs import Source
from bytewax.outputs import Sink

from nurt.runtime.steps import Parcel, Stage


class FlowAssembly(Protocol):
    """Pieces of a flow from change events to published messages, opened when they are asked for."""

    def topics(self) -> Source[Any]:
        """Make the source of all topics."""
        ...

    def translate(self) -> Callable[[Any], list[Parcel]]:
        """Make the translating step."""
        ...

    @property
    def has_references(self) -> bool:
        """Whether the mapping names orders by a field."""
        ...

    @property
    def levels(self) -> int:
        """Return how many levels of joins the mapping has."""
        ...

    def address(self, parcel: Parcel) -> tuple[str, Parcel]:
        """Add to a parcel the routing key of its worker."""
        ...

    def stage(self, name: str) -> Callable[[object], Stage]:
        """Make the builder of a stage's logic, by its name."""
        ...

    def outputs(self) -> Sink[Any]:
        """Make the sink of published batches, over every output."""
        ...


class DeliveryAssembly(Protocol):
    """Pieces of a flow from published messages to one receiver."""

    def source(self) -> Source[Any]:
        """Make the source of changes."""
        ...

    def sink(self) -> Sink[Any]:
        """Make the sink, the receiver."""
        ...
