"""A kind, a colour, a size and a place -> the solid parts of one thing. Knows no renderer.

Frames: world, z up, table top at z = 0, metres.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.world.shapes import Colour, Part, about_z, limb

PALETTE = {
    "red": (0.86, 0.07, 0.08),
    "green": (0.08, 0.58, 0.14),
    "blue": (0.08, 0.22, 0.86),
    "yellow": (0.98, 0.88, 0.08),
    "orange": (1.0, 0.47, 0.03),
    "purple": (0.50, 0.10, 0.66),
    "white": (0.97, 0.97, 0.97),
    "black": (0.07, 0.07, 0.075),
}
SPAN = {"small": (0.050, 0.058), "large": (0.092, 0.108)}
METAL = (0.72, 0.73, 0.76)


@dataclass(frozen=True)
class Stand:
    """Where one thing stands, and how large it is.

    span, radius, height: metres. foot: [3] world, the middle of what it stands on. turn: [3, 3].
    """

    span: float
    radius: float
    height: float
    foot: np.ndarray
    turn: np.ndarray
    colour: Colour

    def above(self, height: float) -> np.ndarray:
        """[3] the point ``height`` metres above the foot."""
        return self.foot + np.array([0.0, 0.0, 1.0]) * height

    def part(
        self,
        shape: str,
        radius: float,
        high: float,
        at: np.ndarray,
        colour: Colour,
        shine: float = 0.15,
    ) -> Part:
        """A solid as wide as ``radius`` and, as its shape counts, as ``high``."""
        return Part(shape, (radius, radius, high), at, self.turn, colour, shine=shine)


def _cube(s: Stand) -> list[Part]:
    return [s.part("box", s.height / 2, s.height / 2, s.above(s.height / 2), s.colour)]


def _ball(s: Stand) -> list[Part]:
    middle = s.above(s.height / 2)
    return [s.part("sphere", s.height / 2, s.height / 2, middle, s.colour, 0.5)]


def _can(s: Stand) -> list[Part]:
    """A wall of its colour between two lids of metal, and a pale ring on top."""
    lid, wall, rim = s.height * 0.06, s.height * 0.88, s.radius * 0.93
    return [
        s.part("cylinder", rim, lid / 2, s.above(lid / 2), METAL),
        s.part("cylinder", s.radius, wall / 2, s.above(s.height / 2), s.colour, 0.5),
        s.part("cylinder", rim, lid / 2, s.above(s.height - lid / 2), METAL, 0.7),
        s.part("cylinder", s.radius * 0.72, 0.002, s.above(s.height), (0.55, 0.56, 0.6)),
    ]


def _cone(s: Stand) -> list[Part]:
    return [s.part("cone", s.radius, s.height, s.foot, s.colour)]


def _mug(s: Stand) -> list[Part]:
    """A cup that is open at the top, with a handle of three capsules on its local +x side."""
    thick, darker = s.span * 0.065, tuple(0.8 * c for c in s.colour)
    grip = np.array([[1.03, 0.82], [1.60, 0.76], [1.66, 0.36], [1.02, 0.22]])
    grip = grip * [s.radius, s.height]
    points = [s.foot + s.turn @ np.array([p[0], 0.0, p[1]]) for p in grip]
    parts = [s.part("mug", s.radius, s.height, s.foot, s.colour, 0.4)]
    parts += [limb(a, b, thick, s.colour) for a, b in itertools.pairwise(points)]
    parts.append(s.part("cylinder", s.radius * 0.8, 0.002, s.above(s.height * 0.13), darker))
    return parts


def _bottle(s: Stand) -> list[Part]:
    cap = s.height * 0.1
    return [
        s.part("bottle", s.radius, s.height, s.foot, s.colour, 0.6),
        s.part(
            "cylinder", s.radius * 0.44, cap / 2, s.above(s.height - cap / 2), (0.88, 0.87, 0.84)
        ),
    ]


@dataclass(frozen=True)
class Shape:
    """How a kind of thing is made; lengths are shares of a thing's nominal span.

    radius: of its body. height. parts: the solids of one that stands. middle: height of its
    centre as a share of its own. reach: radius of the ground it needs; 0: its body's.
    """

    radius: float
    height: float
    parts: Callable[[Stand], list[Part]]
    middle: float = 0.5
    reach: float = 0.0


SHAPES = {
    "cube": Shape(0.72, 1.0, _cube),
    "ball": Shape(0.56, 1.12, _ball),
    "can": Shape(0.43, 1.35, _can),
    "cone": Shape(0.60, 1.45, _cone, middle=0.4),
    "mug": Shape(0.47, 1.12, _mug, reach=0.85),
    "bottle": Shape(0.37, 2.15, _bottle, middle=0.45),
}
"""Every kind of :data:`sphinx_ros.world.truth.KINDS` but the person, who has a body."""


def _plate(s: Stand) -> list[Part]:
    """A low bowl with a wide flat rim, and a ring in its middle."""
    darker = tuple(0.85 * c for c in s.colour)
    foot, rim = s.height * 0.35, s.height * 0.12
    return [
        s.part("cylinder", s.radius * 0.6, foot / 2, s.above(foot / 2), darker),
        s.part("mug", s.radius, s.height - foot, s.above(foot), s.colour, 0.5),
        s.part("cylinder", s.radius * 0.95, rim / 2, s.above(foot + rim), s.colour, 0.5),
        s.part("cylinder", s.radius * 0.6, rim / 2, s.above(foot + 1.5 * rim), darker, 0.5),
    ]


SHAPES_OF_NEWCOMERS = {"plate": Shape(0.72, 0.26, _plate)}
"""Kinds that are no :data:`KINDS`: the demonstration model has to be taught them."""


def _shape(kind: str) -> Shape:
    """The kind's row; BadRequest for a kind that has none."""
    known = SHAPES | SHAPES_OF_NEWCOMERS
    if kind not in known:
        raise BadRequest(f"{kind!r} is no kind of thing that can be built: {', '.join(known)}")
    return known[kind]


def dimensions(kind: str, span: float) -> tuple[float, float]:
    """(radius of the ground it needs, height) in metres of a thing of nominal span ``span``.

    Raises BadRequest for a kind that is not in SHAPES.
    """
    shape = _shape(kind)
    return span * (shape.reach or shape.radius), span * shape.height


def build(
    kind: str, span: float, x: float, y: float, yaw: float, colour: Colour
) -> tuple[list[Part], np.ndarray]:
    """Parts of one thing that stands at (x, y), turned by yaw radians, and its centre [3].

    Raises BadRequest for a kind that is not in SHAPES.
    """
    shape = _shape(kind)
    height = span * shape.height
    foot = np.array([x, y, 0.0])
    stand = Stand(span, span * shape.radius, height, foot, about_z(yaw), colour)
    return shape.parts(stand), stand.above(height * shape.middle)
