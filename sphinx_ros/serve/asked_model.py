"""The name of a model in a request -> which of a backend's models is asked. Knows no HTTP."""

from __future__ import annotations

from dataclasses import replace

from sphinx_ros.errors import quoted
from sphinx_ros.serve.refusals import Refused
from sphinx_ros.serve.work import Health, Work

TASKS = ":tasks"
"""How the name of a model ends that takes query lines in place of a conversation."""


def names(health: Health) -> list[str]:
    """All names that can be asked."""
    return [f"{name}{end}" for name in (health.model, *health.adapters) for end in ("", TASKS)]


def asking(work: Work, health: Health, lenient: bool = False) -> Work:
    """The work, for the model whose name it has; the checkpoint's own and "" are the same.

    lenient: where there is one model, any name is its own: programs have those of others built in.
    Raises Refused, 404: there is no such model.
    """
    if work.model in health.adapters:
        return work
    if work.model in ("", health.model) or (lenient and not health.adapters):
        return replace(work, model="")
    known = ", ".join((health.model, *health.adapters))
    raise Refused(
        f"there is no model {quoted(work.model)}: this server has {known}", 404, param="model"
    )


def answering(work: Work, health: Health) -> str:
    """The name of the model that answers a work."""
    return work.model or health.model
