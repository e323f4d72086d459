"""What the flows ask of whoever puts them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bytewax.inputs import Source
from bytewax.outputs import Sink

from nurt.runtime.steps import Parcel, Stage


class FlowAssembly(Protocol):
    """The pieces of a flow from change events to what is published, opened when they are asked for."""

    def topics(self) -> Source[Any]:
        """Make the source of all topics."""
        ...

    def translate(self) -> Callable[[Any], list[Parcel]]:
        """Make the translating step."""
        ...

    def address(self, parcel: Parcel) -> tuple[str, Parcel]:
        """Write on a parcel the routing key of the worker that it is for."""
        ...

    def stage(self, name: str) -> Callable[[object], Stage]:
        """Make the builder of a stage's logic, by its name."""
        ...

    def outputs(self) -> Sink[Any]:
        """Make the sink of what is published, over every output."""
        ...


class DeliveryAssembly(Protocol):
    """The pieces of a flow from what was published to one receiver."""

    def source(self) -> Source[Any]:
        """Make the source of changes."""
        ...

    def sink(self) -> Sink[Any]:
        """Make the sink, which is the receiver."""
        ...
