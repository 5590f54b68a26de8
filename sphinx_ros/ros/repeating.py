"""Pictures that show nothing new -> the answers to the last one looked at, given once more.

Knows no ROS. What is new is decided by :mod:`sphinx_ros.image.still`, for each camera by itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sphinx_ros.image.still import MOST, Still
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.params import Config


@dataclass
class _Known:
    """What is known of one camera: its pictures, and the last answers with what was asked."""

    still: Still
    asked: tuple[tuple[Query, ...], Config] | None = None
    outcomes: Sequence[Outcome] = ()


class Repeating:
    """The last answers to each camera's standing queries. For one thread.

    model: the answers are its; the square that it sees decides how finely pictures are compared.
    """

    def __init__(self, model: Any):
        self._side = getattr(getattr(model, "config", None), "image_size", MOST)
        self._known: dict[str, _Known] = {}

    def again(
        self, rgb: np.ndarray, camera: str, asked: tuple[tuple[Query, ...], Config]
    ) -> Sequence[Outcome]:
        """The answers that a picture would get, if it shows nothing new; else none.

        rgb: [H, W, 3] uint8, the camera's next picture. asked: the queries, and the parameters
        that they are asked with; others than those of the last answers need a look.
        """
        known = self._known.get(camera)
        if known is None:
            known = self._known[camera] = _Known(Still(self._side))
        known.still.seconds = asked[1].still_seconds
        if known.asked != asked:
            known.still.forget()
        return () if known.still.reason(rgb, time.monotonic()) else known.outcomes

    def keep(
        self, camera: str, asked: tuple[tuple[Query, ...], Config], outcomes: Sequence[Outcome]
    ) -> None:
        """Take the answers to the picture that was given last; it becomes the one looked at."""
        known = self._known.get(camera)
        if known is None:
            return
        if all(outcome.status.answered for outcome in outcomes):
            known.asked, known.outcomes = asked, tuple(outcomes)
            known.still.looked()
        else:
            known.still.forget()

    def forget(self, camera: str) -> None:
        """Begin anew with a camera."""
        self._known.pop(camera, None)
