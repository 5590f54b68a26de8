"""The worker's state and counters to one DiagnosticStatus. Knows no model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.ros.messages import DiagnosticStatus, KeyValue
from sphinx_ros.ros.outcomes import Times
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.waiting import Inbox
from sphinx_ros.ros.worker import State, Worker


def report(name: str, node: Any) -> DiagnosticStatus:
    """What /diagnostics says of a SphinxNode. name: its fully qualified name."""
    worker, inbox, config, counts = node.worker, node.worker.inbox, node.config, node.worker.counts
    level, text = _verdict(worker, inbox, config, node.now())
    values = {
        "state": worker.state.value,
        "checkpoint": config.checkpoint,
        "standing queries": len(inbox.queries),
        "waiting requests": inbox.waiting,
        "pictures received": counts["received"],
        "pictures looked at": counts["looked"],
        "pictures dropped unseen": counts["dropped"],
        "age of the newest picture (s)": _number(inbox.age(node.now())),
        **{f"outcomes {s}": counts[s.name] for s in Status if counts[s.name]},
        **_times(counts.recent),
        "last error": worker.last_error,
    }
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=level,
        name=f"{name}: model",
        message=text,
        hardware_id=worker.device or config.device,
        values=pairs,
    )


def _verdict(worker: Worker, inbox: Inbox, config: Config, now: float) -> tuple[bytes, str]:
    problem = worker.life.problem()
    if problem is not None:
        lost = worker.state is State.FAILED or bool(worker.trouble)
        return DiagnosticStatus.ERROR if lost else DiagnosticStatus.WARN, str(problem)
    if not config.active:
        return DiagnosticStatus.OK, "switched off by the parameter active"
    try:
        inbox.fresh_frame(now)
    except SphinxError as error:
        return DiagnosticStatus.WARN, str(error)
    return DiagnosticStatus.OK, "ready"


def _times(recent: list[Times]) -> dict[str, str]:
    """Median and 95th percentile of the last answers, milliseconds."""
    values = {}
    for field in ("image_age_ms", "queue_ms", "decode_ms", "look_ms", "query_ms"):
        numbers = [v for v in (getattr(t, field) for t in recent) if math.isfinite(v)]
        if numbers:
            middle, high = np.percentile(numbers, [50, 95])
            values[f"{field} p50 / p95"] = f"{middle:.1f} / {high:.1f}"
    return values


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "unknown"
