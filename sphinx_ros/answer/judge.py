"""What the boxes of an answer are worth: score, spread and presence, by a calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sphinx_ros.answer.coordinates import Spread
from sphinx_ros.answer.presence import YesNo
from sphinx_ros.answer.score_calibration import Calibration, Evidence
from sphinx_ros.answer.written import Written
from sphinx_ros.errors import Status
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import Span
from sphinx_ros.prompt.places import to_source_box
from sphinx_ros.types import Box, Detection, Points, PointSource, Results, ScoreSource, iou

Finish = Callable[[Detection, Span], Detection]
"""A box as it was read, and its characters in the text -> it with all that is known of it."""


AGREEING = 0.6
"""IoU that the written and the expected box must have, for a point: where the model wavers between
two things, what it expects lies between them and is neither. A box says so by its score, and the
point would lie on nothing. Measured by `sphinx-ros eval world`: 0.5 to 0.8 do as well."""


def better_box(written: Box, expected: Box) -> Box:
    """The box by expected coordinates, unless it disagrees with the one that was written."""
    return expected if iou(written, expected) >= AGREEING else written


class Judge:
    """Of one checkpoint.

    calibration: None gives raw scores and denies nothing. expected: take the expected coordinates
    for boxes, where they are known, in place of the digits that were written; None: as the
    calibration found better, without one the digits.
    """

    def __init__(
        self,
        yes_no: YesNo,
        calibration: Calibration | None = None,
        expected: bool | None = None,
    ):
        self.yes_no, self.calibration = yes_no, calibration
        usual = calibration is not None and calibration.expected
        self.expected = usual if expected is None else expected

    @property
    def asks(self) -> bool:
        """Whether it can be asked if a thing is there: yes and no are pieces of its tokenizer."""
        return bool(self.yes_no.yes)

    def presence(self, answer: Written) -> float:
        """What the model answers to whether a thing is there: probability of yes, NaN unknown."""
        return self.yes_no.presence(answer.first)

    def finish(
        self,
        written: Written,
        place: Letterbox,
        presence: float = math.nan,
        *,
        for_point: bool = False,
    ) -> Finish:
        """A function that finishes the boxes of an answer.

        place: of the picture in its square. for_point: their middles are wanted, see
        :func:`better_box`.
        """

        def finished(found: Detection, span: Span) -> Detection:
            """The box with its presence and, where its four numbers are known, their spreads."""
            found, spreads = replace(found, presence=presence), written.spreads(span)
            if len(spreads) != 4:
                return found
            factor = place.side * (self.calibration.sigma if self.calibration else 1.0)
            x0, y0, x1, y1 = (factor * one.deviation for one in _ordered(spreads))
            means = tuple(one.mean for one in spreads)
            box = None if math.isnan(sum(means)) else to_source_box(means, place)
            found = replace(found, sigma=(x0, y0, x1, y1), expected=box or found.expected)
            # The calibration was fitted on the size of the box as it was written.
            found = self._scored(found, place)
            if not self.expected or box is None:
                return found
            return replace(found, box=better_box(found.box, box) if for_point else box)

        return finished

    def _scored(self, found: Detection, place: Letterbox) -> Detection:
        """With the calibrated score, where there is a calibration and the thing was asked for."""
        if self.calibration is None or math.isnan(found.presence):
            return found
        score = self.calibration.score(evidence_of(found, place, self.calibration.sigma))
        if math.isnan(score):
            return found
        return replace(found, score=score, score_source=ScoreSource.CALIBRATED)

    def judged(self, results: Results[Any]) -> Results[Any]:
        """Boxes of what is not there become ``denied``, and the answer NOT_FOUND."""
        if self.calibration is None or results.status is not Status.OK:
            return results
        denied = tuple(d for d in results if d.presence < self.calibration.present)
        if not denied:
            return results
        kept = tuple(d for d in results if d not in denied)
        status = results.status if kept else Status.NOT_FOUND
        return replace(results, items=kept, denied=denied, status=status)

    def judged_points(self, points: Points, presence: float) -> Points:
        """Without points on what is not there; their boxes become ``denied``. As `judged`."""
        if self.calibration is None or points.status is not Status.OK:
            return points
        if not presence < self.calibration.present:  # NaN denies nothing
            return points
        return replace(
            points,
            items=(),
            source=PointSource.NONE,
            boxes=(),
            denied=points.boxes,
            status=Status.NOT_FOUND,
        )


def _ordered(spreads: Sequence[Spread]) -> list[Spread]:
    """Those of x0, y0, x1, y1 as they stand once inverted corners are put in order."""
    x0, y0, x1, y1 = spreads
    x0, x1 = (x1, x0) if x0.written > x1.written else (x0, x1)
    y0, y1 = (y1, y0) if y0.written > y1.written else (y0, y1)
    return [x0, y0, x1, y1]


def evidence_of(found: Detection, place: Letterbox, factor: float = 1.0) -> Evidence:
    """What is known of a box with a raw score. factor: what its sigma was multiplied with."""
    x0, y0, x1, y1 = found.box
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    sides = zip(found.sigma, (width, height, width, height), strict=True)
    error = math.hypot(*(sigma / side for sigma, side in sides)) / factor
    size = max(width, height) / place.side
    return Evidence(found.score, found.presence, error, size)
