"""Figures for OpenTelemetry, as an exporter sees them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from nurt.errors import ConfigurationError, ConnectionFailed
from nurt.inspect import metrics
from nurt.inspect.counters import Count, StoreFigures
from nurt.model.fence import FencingToken

COUNTS = [Count("shop/order", "folded", "", 7), Count("shop.public.orders", "quarantined", "row_without_key", 2)]
FIGURES = StoreFigures({"nurt{00}": FencingToken(3, 9, 27)}, owed=1, due=5, quarantined=2, memory_bytes=4_096, keys=11)


def _seen(reader: InMemoryMetricReader) -> dict[str, Any]:
    found = reader.get_metrics_data()
    assert found is not None
    scope = found.resource_metrics[0].scope_metrics[0]
    return {
        metric.name: {tuple(sorted(point.attributes.items())): point.value for point in metric.data.data_points}
        for metric in scope.metrics
    }


def test_an_exporter_sees_the_stores_own_counts() -> None:
    reader = InMemoryMetricReader()
    end = metrics.observe([reader], lambda: COUNTS, lambda: FIGURES)
    seen = _seen(reader)
    assert seen["nurt.messages"] == {
        (("outcome", "folded"), ("reason", ""), ("topic", "shop/order")): 7,
        (("outcome", "quarantined"), ("reason", "row_without_key"), ("topic", "shop.public.orders")): 2,
    }
    assert {name: points[()] for name, points in seen.items() if name != "nurt.messages"} == {
        "nurt.quarantine.messages": 2,
        "nurt.profiles.due": 5,
        "nurt.profiles.owed": 1,
        "nurt.state.memory": 4_096,
        "nurt.state.keys": 11,
        "nurt.run": 3,
    }
    end()


def test_what_waits_is_a_gauge_and_no_count_of_messages() -> None:
    reader = InMemoryMetricReader()
    end = metrics.observe([reader], lambda: [Count("", "waiting", "order_line of order", 4)], lambda: FIGURES)
    seen = _seen(reader)
    assert seen["nurt.waiting"] == {(("kind", "order_line"), ("parent", "order")): 4}
    assert seen.get("nurt.messages", {}) == {}
    end()


def test_a_store_that_is_away_leaves_its_figures_out_and_harms_nobody() -> None:
    def away() -> Any:
        raise ConnectionFailed("reading state at x: no answer; wait")

    reader = InMemoryMetricReader()
    end = metrics.observe([reader], away, lambda: FIGURES)
    seen = _seen(reader)
    assert seen.get("nurt.messages", {}) == {}
    assert seen["nurt.profiles.due"] == {(): 5}
    end()


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_a_word_in_the_environment_nothing_is_exported(no_environment: pytest.MonkeyPatch) -> None:
    assert metrics.exporter_names() == []
    no_environment.setenv("OTEL_METRICS_EXPORTER", "none")
    no_environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1")
    assert metrics.exporter_names() == []


def test_an_exporter_that_is_not_installed_is_named_with_the_remedy(no_environment: pytest.MonkeyPatch) -> None:
    no_environment.setenv("OTEL_METRICS_EXPORTER", "carrier_pigeon")
    with pytest.raises(ConfigurationError, match=r"carrier_pigeon.*nurt\[otlp\]"):
        metrics.start_metrics(lambda: COUNTS, lambda: FIGURES)


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A receiver of OTLP over HTTP: its address, and what it got."""
    got: list[bytes] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.path.encode() + b" " + self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


def test_an_endpoint_in_the_environment_is_enough_to_export(
    no_environment: pytest.MonkeyPatch, collector: tuple[str, list[bytes]]
) -> None:
    endpoint, got = collector
    no_environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    no_environment.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    metrics.start_metrics(lambda: COUNTS, lambda: FIGURES)()
    assert got
    assert got[-1].startswith(b"/v1/metrics ")
    assert b"nurt.messages" in got[-1]
    assert b"row_without_key" in got[-1]
