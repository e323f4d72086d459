"""Figures for OpenTelemetry: the store's own counts, read when an exporter asks, so the flow has no cost.

OpenTelemetry's environment variables choose the exporter (OTEL_METRICS_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_METRIC_EXPORT_INTERVAL, OTEL_RESOURCE_ATTRIBUTES ...); without these variables there is no exporter. Names of
topics, systems, outcomes and reasons are attributes; nothing personal is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from typing import TypeVar

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from nurt.errors import ConfigurationError, NurtError
from nurt.inspect.counters import WAITING, Count, StoreFigures

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
_GROUP = "opentelemetry_metrics_exporter"
Result = TypeVar("Result")
_logger = logging.getLogger(__name__)

_FIGURES: Sequence[tuple[str, str, str, Callable[[StoreFigures], int]]] = (
    ("nurt.quarantine.messages", "{message}", "Messages in quarantine.", lambda now: now.quarantined),
    ("nurt.profiles.due", "{profile}", "Profiles that the clock will change.", lambda now: now.due),
    ("nurt.profiles.owed", "{profile}", "Profiles to say again should a run begin now.", lambda now: now.owed),
    ("nurt.state.memory", "By", "Memory of the server that holds the state.", lambda now: now.memory_bytes),
    ("nurt.state.keys", "{key}", "Keys of the server that holds the state.", lambda now: now.keys),
    ("nurt.run", "{run}", "Number of the newest run.", lambda now: max((h.run for h in now.heads.values()), default=0)),
)


def exporter_names() -> list[str]:
    """Return the exporters that the environment asks for; an endpoint alone asks for `otlp`."""
    asked = os.environ.get("OTEL_METRICS_EXPORTER")
    if asked is None:
        return ["otlp"] if any(os.environ.get(name) for name in _ENDPOINTS) else []
    return [name for part in asked.split(",") if (name := part.strip()) not in ("", "none")]


def start_metrics(counts: Callable[[], Iterable[Count]], figures: Callable[[], StoreFigures]) -> Callable[[], None]:
    """Export figures as the environment says; return a function that ends this, with a last export.

    Raises ConfigurationError when the chosen exporter is not installed.
    """
    readers = [_reader(name) for name in exporter_names() if os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"]
    return observe(readers, counts, figures) if readers else lambda: None


def observe(
    readers: Sequence[MetricReader], counts: Callable[[], Iterable[Count]], figures: Callable[[], StoreFigures]
) -> Callable[[], None]:
    """Let readers see the figures; return a function that ends this."""
    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "nurt")})
    provider = MeterProvider(readers, resource=resource)
    meter = provider.get_meter("nurt")

    def messages(_options: CallbackOptions) -> Iterable[Observation]:
        found = _ask(counts) or ()
        return [
            Observation(count.messages, {"topic": count.topic, "outcome": count.outcome, "reason": count.reason})
            for count in found
            if count.outcome != WAITING
        ]

    def waiting(_options: CallbackOptions) -> Iterable[Observation]:
        found = [count for count in _ask(counts) or () if count.outcome == WAITING]
        parts = [(count.messages, count.reason.partition(" of ")) for count in found]
        return [Observation(rows, {"kind": kind, "parent": parent}) for rows, (kind, _, parent) in parts]

    def gauge(of: Callable[[StoreFigures], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_options: CallbackOptions) -> Iterable[Observation]:
            now = _ask(figures)
            return [] if now is None else [Observation(of(now))]

        return observed

    meter.create_observable_counter(
        "nurt.messages",
        [messages],
        "{message}",
        "Messages by topic, outcome and reason.",
    )
    meter.create_observable_gauge("nurt.waiting", [waiting], "{row}", "Rows whose parent is not there, by kind.")
    for name, unit, description, of in _FIGURES:
        meter.create_observable_gauge(name, [gauge(of)], unit, description)

    def end() -> None:
        provider.shutdown(timeout_millis=5_000)

    return end


def _ask(ask: Callable[[], Result]) -> Result | None:
    """Ask the store; figures that it cannot return now are left out of this export, and logged."""
    try:
        return ask()
    except NurtError as failed:
        _logger.warning("reading figures for OpenTelemetry: %s", failed)
        return None


def _reader(name: str) -> MetricReader:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    wanted = name if name != "otlp" else "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    known = {found.name: found for found in entry_points(group=_GROUP)}
    if wanted not in known:
        raise ConfigurationError(
            f"exporting metrics to {name}: no exporter {wanted} is installed (there are: {', '.join(sorted(known))}); "
            "install `nurt[otlp]`, or change OTEL_METRICS_EXPORTER"
        )
    made = known[wanted].load()()
    if isinstance(made, MetricReader):
        return made
    assert isinstance(made, MetricExporter), "an entry point of this group gives an exporter or a reader"
    return PeriodicExportingMetricReader(made)
