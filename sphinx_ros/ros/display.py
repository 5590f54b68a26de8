"""Looks and outcomes -> what people see of a camera: pictures, markers, annotations.

Each is made only where somebody listens. Knows no model.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sphinx_ros.ros import messages as m
from sphinx_ros.ros.annotated import annotate
from sphinx_ros.ros.annotations import image_annotations
from sphinx_ros.ros.calibration import CalibrationCheck
from sphinx_ros.ros.markers import REQUEST, STANDING, Names, clear_markers, marker_array
from sphinx_ros.ros.outcomes import Look, Outcome
from sphinx_ros.ros.pace import SHORTEST, Pace
from sphinx_ros.ros.quiet import QuietLog


class Display:
    """What is shown of the last answers about one camera. Any thread may call any method.

    Args:
        make: a publisher of a class of messages, on a topic below the node's (or the camera's)
            own name, of a depth.
        warnings: of calibrations that can't be used.
        clock: seconds of the node's clock.
    """

    def __init__(
        self,
        make: Callable[[Any, str, int], Any],
        warnings: QuietLog,
        clock: Callable[[], float],
    ):
        self._annotated = make(m.Image, "annotated", 2)
        self._compressed = make(m.CompressedImage, "annotated/compressed", 2)
        self._markers = make(m.MarkerArray, "markers", 4)
        foxglove = m.ImageAnnotations is not None
        self._annotations = make(m.ImageAnnotations, "image_annotations", 2) if foxglove else None
        self._warnings, self._pace = warnings, Pace(clock)
        # What is drawn and what takes it down go out one after the other, whoever asks for them:
        # the worker, a timer and the lifecycle do.
        self._showing = threading.RLock()
        self._info: m.CameraInfo | None = None
        self._check = CalibrationCheck()
        self._standing: m.Header | None = None  # of what is shown of standing queries
        self._names: set[Names] = set()  # of the markers that may be up

    def calibrate(self, info: m.CameraInfo) -> None:
        """Take the camera's calibration; needed for markers alone."""
        with self._showing:
            self._info, reason = info, self._check.news(info)
        if reason:
            self._warnings.say(reason.kind, f"no markers: {reason.text}")

    def forget(self) -> None:
        """Take down what is shown of standing queries, and let go of the calibration."""
        with self._showing:
            self.clear()
            self._info, self._check = None, CalibrationCheck()

    def show(
        self,
        look: Look,
        outcomes: Sequence[Outcome],
        depth: float,
        standing: bool = True,
        pause: float = 0.0,
    ) -> None:
        """Show what is known of a picture of the camera, to whoever listens.

        A picture that could not be looked at takes down what is shown of the ones before.

        Args:
            depth: metres in front of the camera, of markers over the picture.
            standing: whether standing queries were asked. The answers to a request leave their
                markers alone, and are drawn into pictures only where there are no others.
            pause: least seconds between passes, as far as is known.
        """
        if look.frame.own:
            return
        with self._showing:
            if look.rgb is not None:
                self._show(look.frame.header, look.rgb, outcomes, depth, standing, pause)
            elif standing:
                self.clear()

    def clear(self) -> None:
        """Take down what is shown of standing queries, once; that of requests goes by itself."""
        with self._showing:
            if self._standing is None:
                return
            header, self._standing = self._standing, None
            self._pace.rest()
            self._take_down(header, STANDING)
            if self._annotations is not None and self._annotations.get_subscription_count():
                self._annotations.publish(image_annotations((), header, m))

    def close(self) -> None:
        """Take down everything, at the end of the node."""
        with self._showing:
            header = self._standing or m.Header()
            self.clear()
            self._take_down(header, REQUEST)

    def _show(
        self,
        header: m.Header,
        rgb: np.ndarray,
        outcomes: Sequence[Outcome],
        depth: float,
        standing: bool,
        pause: float,
    ) -> None:
        if standing or self._standing is None:
            self._draw(rgb, outcomes, header)
        names, lifetime = REQUEST, SHORTEST
        if standing:
            self._standing, names = header, STANDING
            lifetime = self._pace.lifetime(max(pause, seconds_of(outcomes)))
        made = None
        if self._info is not None:
            if not self._markers.get_subscription_count():
                return
            made = marker_array(outcomes, self._info, depth, lifetime=lifetime, names=names)
        if made is None:  # those that are up are of a picture before
            self._take_down(header, names)
            return
        self._markers.publish(made)
        self._names.add(names)

    def _draw(self, rgb: np.ndarray, outcomes: Sequence[Outcome], header: m.Header) -> None:
        wanted = [one.get_subscription_count() for one in (self._annotated, self._compressed)]
        if any(wanted):
            picture = annotate(rgb, outcomes)
            if wanted[0]:
                self._annotated.publish(m.image_message(picture, header))
            if wanted[1]:
                self._compressed.publish(m.compressed_message(picture, header))
        if self._annotations is not None and self._annotations.get_subscription_count():
            self._annotations.publish(image_annotations(outcomes, header, m))

    def _take_down(self, header: m.Header, names: Names) -> None:
        if names in self._names:
            self._names.discard(names)
            self._markers.publish(clear_markers(header, names))


def seconds_of(outcomes: Sequence[Outcome]) -> float:
    """How long a pass took, of whose outcomes all were asked together."""
    times = [outcome.times for outcome in outcomes]
    spent = [
        1e-3 * sum(v for v in (one.look_ms, one.query_ms) if math.isfinite(v)) for one in times
    ]
    return max(spent, default=0.0)
