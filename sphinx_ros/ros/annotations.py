"""Outcomes -> what Foxglove draws into a picture: foxglove_msgs/ImageAnnotations, in its pixels.

Foxglove's Image panel lays them over the camera's own topic, so no picture has to be sent twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sphinx_ros.draw import WHITE, ink_on, label_colour
from sphinx_ros.prompt.plain import plain
from sphinx_ros.ros.captions import captions_of, spoken
from sphinx_ros.ros.lettering import LETTER, PITCH, Plates
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.runtime.printable import one_line
from sphinx_ros.types import COCO_EDGES, Box, Pose

XY = tuple[float, float]
RGB = tuple[int, int, int]

FOOTER: RGB = (28, 28, 28)
"""Colour below answers in words."""

TEXT_SHARE, LINE_SHARE, POINT_SHARE = 0.035, 0.006, 0.025
"""Height of letters, thickness of lines, diameter of points: shares of the picture's height."""

WIDE = 1.4
"""Foxglove's font size against the height that rviz's letters of the same width have."""


def image_annotations(outcomes: Sequence[Outcome], header: Any, m: Any) -> Any:
    """All boxes, points, skeletons, regions and answers of one picture.

    Nothing at all takes down what was there before. m: has the classes of foxglove_msgs by name,
    see :class:`sphinx_ros.ros.message_parts.Parts`.
    """
    shown = [one for one in outcomes if one.width > 0 and one.height > 0]
    page = _Page(m, header, (shown[0].width, shown[0].height) if shown else (0, 0))
    for outcome in shown:
        page.add(outcome)
    for outcome in shown:
        page.say(outcome)
    page.footer([line for outcome in shown if (line := spoken(outcome))])
    return page.made


class _Page:
    """The annotations of one picture. size: (width, height), px."""

    def __init__(self, m: Any, header: Any, size: tuple[int, int]):
        self.m, self.made, self.stamp = m, m.ImageAnnotations(), header.stamp
        if hasattr(self.made, "timestamp"):  # since 2025; before, each annotation has one alone
            self.made.timestamp = self.stamp
        self.width, self.height = size
        self.letters = TEXT_SHARE * self.height
        self.plates = Plates(*size, WIDE * self.letters)

    def add(self, outcome: Outcome) -> None:
        """The lines of what an outcome holds."""
        if outcome.query.box is not None:
            self._frame(outcome.query.box, WHITE)
        for item in outcome.boxes:
            self._frame(item.box, label_colour(item.label))
        for pose in outcome.people:
            self._person(pose)
        for spot in outcome.points:
            self._circle((spot.x, spot.y), POINT_SHARE, label_colour(spot.name))

    def say(self, outcome: Outcome) -> None:
        """The words of boxes and points, on free ground."""
        for caption in captions_of(outcome, POINT_SHARE * self.height / 2):
            if not caption.rows or not all(map(math.isfinite, caption.box)):
                continue
            rows = [self.plates.fit(one_line(row)) for row in caption.rows]
            for row, (x, y) in zip(rows, self.plates.place(rows, caption.box), strict=True):
                left = x - WIDE * LETTER * self.letters * len(row) / 2
                self._text(row, left, y + WIDE * self.letters / 2, label_colour(caption.name))

    def footer(self, lines: Sequence[str]) -> None:
        """Answers and failures, a row each, at the bottom of the picture."""
        for number, line in enumerate(reversed(lines)):
            words = self.plates.fit(one_line(plain(line)))
            bottom = self.height - WIDE * self.letters * PITCH * number
            self._text(words, 0.0, bottom, FOOTER)

    def _frame(self, box: Box, colour: RGB) -> None:
        x0, y0, x1, y1 = box
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        self._lines(self.m.PointsAnnotation.LINE_LOOP, corners, colour)

    def _person(self, pose: Pose) -> None:
        colour = label_colour("person")
        if pose.box is not None:
            self._frame(pose.box, colour)
        joints = [(joint.x, joint.y) for joint in pose.keypoints]
        bones = [(joints[one], joints[other]) for one, other in COCO_EDGES]
        ends = [end for bone in bones if _known(*bone) for end in bone]
        self._lines(self.m.PointsAnnotation.LINE_LIST, ends, colour)
        for joint in joints:
            self._circle(joint, POINT_SHARE / 2, colour)

    def _lines(self, kind: int, points: Sequence[XY], colour: RGB) -> None:
        if points and _known(*points):
            self.made.points.append(
                self.m.PointsAnnotation(
                    timestamp=self.stamp,
                    type=kind,
                    points=[self.m.Point2(x=float(x), y=float(y)) for x, y in points],
                    outline_color=self._colour(colour),
                    thickness=LINE_SHARE * self.height,
                )
            )

    def _circle(self, point: XY, share: float, colour: RGB) -> None:
        if _known(point):
            self.made.circles.append(
                self.m.CircleAnnotation(
                    timestamp=self.stamp,
                    position=self.m.Point2(x=float(point[0]), y=float(point[1])),
                    diameter=share * self.height,
                    thickness=LINE_SHARE * self.height / 2,
                    fill_color=self._colour(colour, 0.5),
                    outline_color=self._colour(colour),
                )
            )

    def _text(self, words: str, left: float, bottom: float, colour: RGB) -> None:
        if words:
            self.made.texts.append(
                self.m.TextAnnotation(
                    timestamp=self.stamp,
                    position=self.m.Point2(x=left, y=bottom),
                    text=words,
                    font_size=self.letters,
                    text_color=self._colour(ink_on(colour)),
                    background_color=self._colour(colour, 0.8),
                )
            )

    def _colour(self, rgb: RGB, alpha: float = 1.0) -> Any:
        red, green, blue = (channel / 255 for channel in rgb)
        return self.m.Color(r=red, g=green, b=blue, a=alpha)


def _known(*points: XY) -> bool:
    return all(math.isfinite(value) for point in points for value in point)
