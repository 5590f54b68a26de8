"""Where the things of an answer are in space, as plain values. Knows no message and no model."""

from __future__ import annotations

import math
from dataclasses import dataclass

XYZ = tuple[float, float, float]
"""Metres."""

UNKNOWN: XYZ = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Place:
    """Where a box's thing is, and how large; NaN where unknown.

    Attributes:
        position: the middle of the thing, metres, in the frame that :class:`Positions` names.
        size: extent along x, y and z of the camera's optical frame, whatever that frame is.
        surface: the point of its visible side that the camera sees in the middle of it; position
            lies behind it.
    """

    position: XYZ = UNKNOWN
    size: XYZ = UNKNOWN
    surface: XYZ = UNKNOWN

    @property
    def known(self) -> bool:
        """Whether there is a position."""
        return all(map(math.isfinite, self.position))


@dataclass(frozen=True)
class Positions:
    """Where what stands in an :class:`sphinx_ros.ros.outcomes.Outcome` is, metres.

    A 3D box of a thing has its middle at `position`, the sides `size` and the turn `orientation`.
    Each tuple is empty where nothing is known: :meth:`box`, :meth:`point` and :meth:`joint` give
    unknown values then.

    Attributes:
        frame: the frame of all points: the picture's own, which is the camera's optical frame (x
            right, y down, z forward; REP 103), or the parameter target_frame. "" where there are
            no positions.
        orientation: quaternion (x, y, z, w) that turns the axes of the optical frame into `frame`;
            (0, 0, 0, 1) where they are the same frame.
        boxes: in the order of ``Outcome.boxes``.
        points: in the order of ``Outcome.points``.
        people: for each of ``Outcome.people`` its 17 joints.
    """

    frame: str = ""
    orientation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    boxes: tuple[Place, ...] = ()
    points: tuple[XYZ, ...] = ()
    people: tuple[tuple[XYZ, ...], ...] = ()

    def box(self, number: int) -> Place:
        """Where the thing of a box is."""
        return self.boxes[number] if number < len(self.boxes) else Place()

    def point(self, number: int) -> XYZ:
        """Where a point is."""
        return self.points[number] if number < len(self.points) else UNKNOWN

    def joint(self, person: int, number: int) -> XYZ:
        """Where a joint of a person is."""
        return self.people[person][number] if person < len(self.people) else UNKNOWN
