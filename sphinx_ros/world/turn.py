"""One question with its exact answer, as training and evaluation use it. Knows no maker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sphinx_ros.tasks import Task
from sphinx_ros.world.nouns import Tabletop


@dataclass(frozen=True)
class Turn:
    """One question about one observation.

    question: the Human text. answer: what the model should write, without leading space.
    kind: the name of its maker in :data:`sphinx_ros.world.exercises.MAKERS`. target, as far as it
    applies: "objects" indices into the observation, "boxes" their (x0, y0, x1, y1) px in the same
    order, "labels" their labels in the answer, "said" the words of a referring expression, "steps"
    the indices that it passes (:class:`sphinx_ros.world.phrases.Expression`),
    "answers" the accepted strings, "person" the index for a pose.
    """

    task: Task
    question: str
    answer: str
    kind: str
    target: dict = field(default_factory=dict)


def target_of(
    table: Tabletop, indices: Sequence[int], labels: Sequence[str] = (), **more: Any
) -> dict:
    """The target of a turn about these things."""
    boxes = [tuple(float(v) for v in table.things[i].box) for i in indices]
    return {"objects": list(indices), "boxes": boxes, "labels": list(labels), **more}
