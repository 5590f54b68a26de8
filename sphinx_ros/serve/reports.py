"""What replicas say of themselves, again and again -> how a fleet is and what it has done.

Knows no model, no HTTP and no Ray.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sphinx_ros.serve.counting import NOW
from sphinx_ros.serve.work import Health

SILENT = 100
"""Replicas that say nothing any more and may come back, those heard of last."""


@dataclass(frozen=True)
class Report:
    """What a replica says of itself. name: its own. figures: see :meth:`Desk.figures`."""

    name: str
    health: Health
    figures: Mapping[str, float]


class Reports:
    """The newest report of each replica. One thread hears, any may read.

    A replica that is silent may only be slow; of those that were silent for longest the sums alone
    are kept, as a fleet may start new ones for years.
    """

    def __init__(self) -> None:
        self._last: dict[str, Report] = {}
        self._ended: Counter[str] = Counter()
        self._live: frozenset[str] = frozenset()

    def hear(self, said: Iterable[Report]) -> None:
        """All that say something now; the others are silent."""
        now = {one.name: one for one in said}
        silent = {name: one for name, one in self._last.items() if name not in now}
        ended = self._ended.copy()
        for name in list(silent)[:-SILENT]:
            ended.update(_lasting(silent.pop(name)))
        self._last, self._ended, self._live = {**silent, **now}, ended, frozenset(now)

    def ready(self) -> Health | None:
        """That of a replica which can answer now; None where none can."""
        live = (self._last.get(name) for name in self._live)
        ready = (one.health for one in live if one and one.health.state == "ready")
        return next(ready, None)

    def adapters(self) -> tuple[str, ...] | None:
        """Those that the replica had which was heard of last; None where none ever was."""
        heard = [*self._last.values()]
        return heard[-1].health.adapters if heard else None

    def figures(self) -> Mapping[str, float]:
        """The sums over all replicas, and how many there are."""
        total, live = self._ended.copy(), self._live
        for name, one in self._last.items():
            total.update(one.figures if name in live else _lasting(one))
        return {**total, "replicas": len(live)}


def _lasting(report: Report) -> dict[str, float]:
    """What was done stays done when a replica ends; what it was doing does not."""
    return {key: value for key, value in report.figures.items() if key not in NOW}
