"""Answers of the demonstration -> the picture that it leaves: nine, each on its own frame."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx_ros.ros.demo_questions import WRIST
from sphinx_ros.tasks import Task

if TYPE_CHECKING:
    import numpy as np

    from sphinx_ros.ros.demo_client import Row

SCALE = 0.62
"""Of the letters."""

WANTED: tuple[Callable[[Row], bool], ...] = (
    lambda row: row.question.task is Task.GROUND and row.question.about is not None,
    lambda row: row.question.task is Task.POINT,
    lambda row: row.question.region,
    lambda row: row.question.task is Task.POSE,
    lambda row: row.question.task is Task.CAPTION,
    lambda row: row.question.task is Task.GROUND and row.question.about is None,
    lambda row: row.question.task is Task.DETECT and row.question.how == "topic",
    lambda row: row.question.task is Task.ASK and row.question.how == "topic",
    lambda row: row.question.camera == WRIST and row.question.how == "topic",
)
"""What the panels show, by rows; the first answer of each kind."""


def picture(rows: Sequence[Row]) -> np.ndarray:
    """Nine answers of all kinds, three by three, each in the frame it is about."""
    from sphinx_ros.draw import draw, labels_of, side_by_side

    panels, shown = [], set()
    for wanted in WANTED:
        fitting = (row for row in rows if row.jpeg and id(row) not in shown and wanted(row))
        row = next(fitting, None)
        if row is None:
            continue
        shown.add(id(row))
        # on a picture a box or a point is drawn, and its numbers are left out
        drawn_alone = {"[": "this box", "(": "this point"}
        answer = drawn_alone.get(row.answer[:1], row.answer)
        words = f"{row.question.camera}: {row.question.line} -> {answer}"
        verdict = f"{row.verdict}, {row.milliseconds:.0f} ms"
        reply = row.reply
        boxes, points = [] if reply.points else list(reply.boxes), list(reply.points)
        places = [*map(note, reply.places)]
        labels = [
            f"{label}\n{place}" if place else label
            for label, place in itertools.zip_longest(
                labels_of(boxes, points), places, fillvalue=""
            )
        ]
        panels.append(
            draw(
                row.rgb,
                boxes,
                reply.people,
                (words, verdict),
                SCALE,
                regions=row.regions,
                points=points,
                labels=labels,
            )
        )
    return side_by_side(panels, columns=3)


def note(place: Sequence[float]) -> str:
    """A place in space as it stands behind a label; "" where it is unknown."""
    x, y, z = place
    return f"{x:+.2f} {y:+.2f} {z:.2f} m" if x + y + z == x + y + z else ""


def write_picture(rows: Sequence[Row], out: Path) -> None:
    """The picture of a whole run; of a part of one, nothing, and the last whole one stays."""
    import cv2

    from sphinx_ros.runtime.files import write_bytes

    if not all(row.came for row in rows):
        print(f"no picture was written: only a run with all answers replaces {out}")
        return
    write_bytes(out, cv2.imencode(".png", picture(rows)[:, :, ::-1])[1].tobytes())
    print(f"picture: {out}")
