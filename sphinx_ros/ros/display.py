"""Looks and outcomes -> what people see: ~/annotated and ~/markers. Knows no model.

Both are made only where somebody listens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sphinx_ros.draw import draw
from sphinx_ros.errors import Status
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.calibration import CalibrationCheck
from sphinx_ros.ros.markers import clear_markers, marker_array
from sphinx_ros.ros.outcomes import Look, Outcome
from sphinx_ros.ros.quiet import QuietLog

LIFETIME = 10.0
"""Seconds after which rviz takes markers down by itself, for a node that was killed."""


class Display:
    """What is shown of the last answers. markers, annotated: publishers. warnings: of markers."""

    def __init__(self, markers: Any, annotated: Any, warnings: QuietLog):
        self._markers, self._annotated, self._warnings = markers, annotated, warnings
        self._info: m.CameraInfo | None = None
        self._check = CalibrationCheck()
        self._shown: m.Header | None = None  # of the markers that are up

    def calibrate(self, info: m.CameraInfo) -> None:
        """Take the camera's calibration; needed for markers alone."""
        self._info = info
        if reason := self._check.news(info):
            self._warnings.say(reason.kind, f"no markers: {reason.text}")

    def show(self, look: Look, outcomes: Sequence[Outcome], depth: float) -> None:
        """Publish a camera's picture with everything drawn in, and its boxes at a depth, m."""
        if look.frame.own or look.rgb is None:
            return
        if self._annotated.get_subscription_count():
            picture = annotate(look.rgb, outcomes)
            self._annotated.publish(m.image_message(picture, look.frame.header))
        if self._info is None or not self._markers.get_subscription_count():
            return
        made = marker_array(outcomes, self._info, depth, lifetime=LIFETIME)
        if made is not None:
            self._markers.publish(made)
            self._shown = look.frame.header

    def clear(self) -> None:
        """Take down the markers that are up, once."""
        if self._shown is not None:
            header, self._shown = self._shown, None
            self._markers.publish(clear_markers(header))


def annotate(rgb: np.ndarray, outcomes: Sequence[Outcome]) -> np.ndarray:
    """The picture with all boxes, skeletons and regions; answers and failures in words below."""
    boxes = [box for outcome in outcomes for box in outcome.boxes]
    people = [person for outcome in outcomes for person in outcome.people]
    lines = []
    for outcome in outcomes:
        if outcome.status is not Status.OK:
            lines.append(f"{outcome.query.line()} -> {outcome.status}")
        elif text := getattr(outcome.result, "text", ""):
            lines.append(f"{outcome.query.line()} -> {text}")
    regions = [outcome.query.box for outcome in outcomes if outcome.query.box is not None]
    return draw(rgb, boxes, people, lines, regions=regions)
