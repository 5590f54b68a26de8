"""The worker's state and counters to messages of /diagnostics: the model, and each camera.

Knows no model.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.ros.messages import DiagnosticStatus, KeyValue
from sphinx_ros.ros.outcomes import Times
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.slot import Slot
from sphinx_ros.ros.worker import State, Worker
from sphinx_ros.runtime.memory import memory_in_use

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

AHEAD = 1.0
"""Seconds that a stamp may lie in the future before the clocks are said to disagree."""

FRAMES = ("received", "looked", "reused", "dropped", "late", "repeated")
"""What is counted of a camera's pictures; see :class:`sphinx_ros.ros.counts.Counts`."""


def reports(name: str, node: Any) -> list[DiagnosticStatus]:
    """What /diagnostics says of a SphinxNode. name: its fully qualified name."""
    cameras = [_camera(name, node, port) for port in node.cameras.values()]
    return [_model(name, node), *cameras, *_web(name, node)]


def _status(
    name: str, verdict: tuple[bytes, str], hardware: str, values: dict
) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    level, text = verdict
    return DiagnosticStatus(
        level=level, name=name, message=text, hardware_id=hardware, values=pairs
    )


def _model(name: str, node: Any) -> DiagnosticStatus:
    worker, config = node.worker, node.config
    inbox, counts, life = worker.inbox, worker.counts, worker.life
    done, whole = life.progress
    values = {
        "state": worker.state.value,
        "lifecycle": node.lifecycle_state,
        **_whose(config, worker),
        **({"bytes read": f"{done} of {whole}"} if whole else {}),
        "standing queries": len(inbox.queries),
        "waiting requests": inbox.waiting,
        "requests under way": len(inbox.in_hand),
        "pictures received": counts["received"],
        "pictures looked at": counts["looked"],
        "pictures reused": counts["reused"],
        "pictures dropped unseen": counts["dropped"],
        **{f"outcomes {s}": counts[s.name] for s in Status if counts[s.name]},
        **_times(counts.recent),
        **getattr(worker.model, "connection", {}),
        "model restarts": life.restarts,
        **{f"memory {what}": f"{size / 1e6:.0f} MB" for what, size in memory_in_use().items()},
        "last error": worker.last_error,
    }
    return _status(
        f"{name}: model",
        _verdict(worker, node),
        worker.device or config.device,
        values,
    )


def _whose(config: Config, worker: Worker) -> dict[str, str]:
    """Which model it is, and where."""
    if not config.server:
        return {"checkpoint": config.checkpoint}
    return {"server": config.server, "checkpoint": getattr(worker.model, "name", "unknown")}


def _verdict(worker: Worker, node: Any) -> tuple[bytes, str]:
    problem = worker.life.problem()
    if problem is not None:
        lost = worker.state is State.FAILED or bool(worker.trouble)
        idle = not lost and worker.state in (State.UNLOADED, State.READY)
        return (ERROR if lost else OK if idle else WARN), str(problem)
    if not node.config.active:
        return OK, "switched off by the parameter active"
    if len(node.cameras) == 1:  # people look here first
        return _pictures(node, next(iter(node.cameras.values())))
    return OK, "ready"


def _web(name: str, node: Any) -> list[DiagnosticStatus]:
    """Of the page, where there is to be one."""
    web = node.web
    if web.trouble:
        return [_status(f"{name}: web", (ERROR, web.trouble), "", {})]
    return [_status(f"{name}: web", (OK, web.address), "", {})] if web.address else []


def _camera(name: str, node: Any, port: Any) -> DiagnosticStatus:
    which = f"camera {port.name}" if port.name else "camera"
    slot: Slot | None = node.worker.inbox.slots.get(port.name)
    if slot is None:
        return _status(f"{name}: {which}", (WARN, "the camera is being taken away"), "", {})
    newest = slot.newest
    age = node.now() - newest.stamp if newest is not None else math.nan
    values = {
        "topic": port.topic,
        **{f"pictures {what}": slot.counts[what] for what in FRAMES},
        "rate of pictures (Hz)": _number(slot.rate),
        "age of the newest picture (s)": _number(slot.age(node.now())),
        "age by its stamp (s)": _number(age),
        "standing queries": len(slot.queries),
        **port.facts(),
    }
    return _status(f"{name}: {which}", _pictures(node, port), port.topic, values)


def _pictures(node: Any, port: Any) -> tuple[bytes, str]:
    """Whether a camera's pictures come, and are of now."""
    now, inbox = node.now(), node.worker.inbox
    if node.lifecycle_state != "active":
        return OK, "not heard: the node is not active"
    if problem := port.problem():
        return WARN, problem
    try:
        frame = inbox.fresh_frame(now, port.name)
    except SphinxError as error:
        return WARN, str(error)
    if frame.stamp - now > AHEAD:
        ahead = frame.stamp - now
        return WARN, f"pictures are stamped {ahead:.1f} s in the future: do the clocks agree?"
    return OK, "ready"


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
