"""What every receiver has besides its own protocol: a mapping, limits, and one client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from nurt.adapters.http import HttpClient
from nurt.delivery.gone import GonePolicy
from nurt.delivery.mapping import DestinationMapping
from nurt.errors import ConfigurationError
from nurt.model.delivery import Call, CallResult, Limits, RateLimit


class Receiver(ABC):
    """Receiver over HTTP; implements delivery.ports.Destination.

    A subclass sets `_http`.
    """

    _http: HttpClient

    def __init__(self, mapping: DestinationMapping, limits: Limits) -> None:
        self._mapping = mapping
        self._where = f"destinations.{mapping.name}"
        self.bucket = str(mapping.options.get("bucket", mapping.name))
        self.limits = limits_from(mapping.options, limits)
        for one in mapping.objects:
            if limits.whole_rows and one.plan.gone_there is not GonePolicy.ASK:
                raise ConfigurationError(
                    f"reading {self._where}.objects.{one.name}: `when_gone: {one.plan.gone_there}`: {mapping.kind} is "
                    "told whole rows, and does not say that it has one no more; remove the word"
                )

    def send(self, call: Call) -> CallResult:
        """See delivery.ports.Destination."""
        return self._http.rested(self._send(call))

    @abstractmethod
    def _send(self, call: Call) -> CallResult:
        """Make one call in the receiver's protocol."""

    def obey(self, spend: Callable[[], None]) -> None:
        """See delivery.ports.Destination."""
        self._http.spend = spend

    def refresh(self) -> None:
        """See delivery.ports.Destination."""
        self._http.refresh()

    @abstractmethod
    def verify(self) -> list[str]:
        """See delivery.ports.Destination."""

    def close(self) -> None:
        """See delivery.ports.Destination."""
        self._http.close()


def limits_from(options: Mapping[str, Any], default: Limits) -> Limits:
    """Read `limits` of a destination over the limits of its kind."""
    written = options.get("limits") or {}
    known = ("rows_max", "bytes_max", "concurrency", "rates")
    for name in written:
        if name not in known:
            raise ConfigurationError(f"reading `limits`: unknown key `{name}`; known are {', '.join(known)}")
    rates = default.rates
    if "rates" in written:
        rates = tuple(RateLimit(int(rate["calls"]), float(rate["seconds"])) for rate in written["rates"])
    return Limits(
        min(int(written.get("rows_max", default.rows_max)), default.rows_max) if default.rows_max > 1 else 1,
        int(written.get("bytes_max", default.bytes_max)),
        default.bulk_rows_max,
        default.bulk_from,
        int(written.get("concurrency", default.concurrency)),
        rates,
        default.whole_rows,
        default.one_row_ops,
    )
