"""The worker's state and counters to one DiagnosticStatus. Knows no model."""

from __future__ import annotations

import math

import numpy as np

from sphinx_ros.errors import Status
from sphinx_ros.ros.messages import DiagnosticStatus, KeyValue
from sphinx_ros.ros.worker import State


def report(name: str, node) -> DiagnosticStatus:
    """What /diagnostics says of a SphinxNode. name: its fully qualified name."""
    worker, inbox, config = node.worker, node.worker.inbox, node.config
    level, text = _verdict(worker, inbox, config)
    values = {
        "state": worker.state.value,
        "checkpoint": config.checkpoint,
        "standing queries": len(inbox.queries),
        "waiting requests": inbox.waiting,
        "pictures received": inbox.counts["received"],
        "pictures looked at": inbox.counts["looked"],
        "pictures dropped unseen": inbox.counts["dropped"],
        "age of the newest picture (s)": _number(inbox.newest_age),
        **{f"outcomes {s.name}": inbox.counts[s.name] for s in Status if inbox.counts[s.name]},
        **_times(list(worker.recent)),
        "last error": worker.last_error,
    }
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=level, name=f"{name}: model", message=text, hardware_id=config.device, values=pairs
    )


def _verdict(worker, inbox, config) -> tuple[bytes, str]:
    if worker.state is State.FAILED:
        return DiagnosticStatus.ERROR, f"the model could not be loaded: {worker.trouble}"
    if worker.state is not State.READY:
        return DiagnosticStatus.WARN, f"the model is {worker.state.value}"
    if not config.active:
        return DiagnosticStatus.OK, "switched off by the parameter active"
    if inbox.newest is None:
        return DiagnosticStatus.WARN, "no picture has arrived yet"
    if 0 < config.max_image_age < inbox.newest_age:
        return DiagnosticStatus.WARN, f"no picture for {inbox.newest_age:.1f} s"
    return DiagnosticStatus.OK, "ready"


def _times(recent) -> dict[str, str]:
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
