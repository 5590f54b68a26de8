"""Requests and their events -> figures for Prometheus. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.memory import memory_in_use
from sphinx_ros.serve.work import Json

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Upper bounds of the histograms."""

COUNTED = {
    "looks": "pictures that were looked at",
    "hits": "looks that cost nothing, as the picture had been looked at",
    "joined": "requests that were given the answer of an equal one",
    "questions": "questions that were answered, or failed, by the model",
    "tokens": "tokens that the model wrote",
    "passes": "passes of the network for answers",
}
"""Figures of a backend that only grow."""

NOW = {
    "running": "requests that the model answers now",
    "waiting": "requests that wait for it",
    "pictures": "pictures that are kept by their names",
    "picture_bytes": "their files",
    "replicas": "models that answer, of a fleet",
}
"""Figures of a backend that go up and down."""

OTHER = "other"
"""The path of requests that came to no route."""


class Counting:
    """All figures of one server. figures: of its backend, see :class:`serve.work.Backend`."""

    def __init__(self, figures: Callable[[], Mapping[str, float]]):
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Backend(figures))
        self._requests = Counter(
            "sphinx_requests", "requests by path and status", ["path", "http"], registry=registry
        )
        self._refusals = Counter(
            "sphinx_refusals",
            "requests that were refused, by reason",
            ["reason"],
            registry=registry,
        )
        self._answers = Counter(
            "sphinx_answers", "answers by task and status", ["task", "status"], registry=registry
        )
        self._in_flight = Gauge(
            "sphinx_in_flight", "requests that are under way", registry=registry
        )
        self._look_seconds = Histogram(
            "sphinx_look_seconds", "of looks that cost", buckets=SECONDS, registry=registry
        )
        self._answer_seconds = Histogram(
            "sphinx_answer_seconds",
            "of answers, without the look",
            ["task"],
            buckets=SECONDS,
            registry=registry,
        )

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    def refused(self, reason: str | SphinxError) -> None:
        """A request was refused: by its Host, its token or its error's status."""
        name = reason if isinstance(reason, str) else reason.status.name
        if name != Status.CANCELLED.name:  # the client has gone, or the server ends
            self._refusals.labels(name).inc()

    def turned_away(self, reason: str, http: int) -> None:
        """A request was refused before anything looked at where it wanted to go."""
        self.refused(reason)
        self.answered(http)

    def answered(self, http: int, path: str = OTHER) -> None:
        """A request was answered. path: of the route, so that there is a bounded number."""
        self._requests.labels(path, http).inc()

    def under_way(self) -> Any:
        """A block in which one more request is under way."""
        return self._in_flight.track_inprogress()

    def saw(self, event: Json) -> None:
        """An event of a work."""
        if event["type"] == "look" and not event["cached"]:
            self._look_seconds.observe(1e-3 * event["look_ms"])
        elif event["type"] == "finished":
            answer = event["answer"]
            self._answers.labels(answer["task"], answer["status"]).inc()
            if answer["milliseconds"] is not None:
                self._answer_seconds.labels(answer["task"]).observe(1e-3 * answer["milliseconds"])


class _Backend:
    """The figures of a backend, asked for whenever they are read."""

    def __init__(self, figures: Callable[[], Mapping[str, float]]):
        self._figures = figures

    def collect(self) -> Iterable[Any]:
        """Them, and the memory of this process."""
        figures = self._figures()
        for name, about in COUNTED.items():
            yield CounterMetricFamily(f"sphinx_{name}", about, value=figures.get(name, 0.0))
        for name in NOW.keys() & figures.keys():
            yield GaugeMetricFamily(f"sphinx_{name}", NOW[name], value=figures[name])
        memory = GaugeMetricFamily("sphinx_memory_bytes", "held by kind", labels=["kind"])
        for kind, size in memory_in_use().items():
            memory.add_metric([kind], size)
        yield memory
