"""A random number generator -> joint angles of a mannequin that does something. Knows no body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Pair = tuple[float, float]
"""Of a pair of limbs (left, right)."""


@dataclass
class Posture:
    """Joint angles in degrees; pairs are (left, right).

    flex: arm forward. lift: arm sideways. twist: turn of the arm about itself, inward.
    elbow, knee: bend. hip: leg forward. splay: leg sideways. look: head (turn, nod).
    lean: trunk forward. seat: whether there is something to sit on.
    """

    flex: Pair = (0, 0)
    lift: Pair = (10, 10)
    twist: Pair = (0, 0)
    elbow: Pair = (10, 10)
    hip: Pair = (0, 0)
    splay: Pair = (4, 4)
    knee: Pair = (2, 2)
    look: Pair = (0, 0)
    lean: float = 0.0
    seat: bool = False


class _Draws:
    """Uniform numbers, and which side of the body an action takes."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.mirrored = False

    def one(self, low: float, high: float) -> float:
        """A number between the two."""
        return float(self.rng.uniform(low, high))

    def two(self, low: float, high: float) -> Pair:
        """Two of them, the left limb's first."""
        return self.one(low, high), self.one(low, high)

    def sided(self, near: float, far: float) -> Pair:
        """(left, right) of a limb that acts and its counterpart, on the side that was drawn."""
        return (far, near) if self.mirrored else (near, far)


# The order of the draws is part of what a seed means: a picture changes with it.


def _stand(pose: Posture, draw: _Draws) -> None:
    """As the first draws left it."""


def _walk(pose: Posture, draw: _Draws) -> None:
    swing = draw.one(18, 36)
    pose.hip = draw.sided(swing, -swing * 0.7)
    pose.knee = draw.sided(draw.one(5, 25), draw.one(15, 40))
    pose.flex = draw.sided(-swing, swing)


def _raise(pose: Posture, draw: _Draws) -> None:
    pose.lift, pose.elbow = draw.two(130, 172), draw.two(0, 30)
    pose.flex = (0.0, 0.0)


def _wave(pose: Posture, draw: _Draws) -> None:
    pose.lift = draw.sided(draw.one(95, 165), pose.lift[1])
    pose.elbow = draw.sided(draw.one(10, 75), pose.elbow[1])
    pose.flex = draw.sided(0.0, pose.flex[1])
    pose.twist = draw.sided(draw.one(150, 200), 0.0)


def _sit(pose: Posture, draw: _Draws) -> None:
    pose.hip, pose.knee = draw.two(78, 92), draw.two(75, 95)
    pose.splay, pose.seat, pose.lean = draw.two(4, 16), True, draw.one(-4, 8)
    pose.flex = draw.two(5, 50)


def _point(pose: Posture, draw: _Draws) -> None:
    pose.flex = draw.sided(draw.one(55, 95), pose.flex[1])
    pose.lift = draw.sided(draw.one(10, 60), pose.lift[1])
    pose.elbow = draw.sided(draw.one(0, 15), pose.elbow[1])


def _hips(pose: Posture, draw: _Draws) -> None:
    pose.lift, pose.elbow = draw.two(38, 55), draw.two(75, 100)
    pose.twist, pose.flex = draw.two(70, 95), draw.two(-15, 5)


def _spread(pose: Posture, draw: _Draws) -> None:
    pose.lift, pose.elbow = draw.two(60, 100), draw.two(0, 35)
    pose.splay = draw.two(8, 20)


ACTIONS: dict[str, Callable[[Posture, _Draws], None]] = {
    "stand": _stand,
    "walk": _walk,
    "raise": _raise,
    "wave": _wave,
    "sit": _sit,
    "point": _point,
    "hips": _hips,
    "spread": _spread,
}
"""What a mannequin may do -> how that changes the angles of somebody who stands."""


def random_posture(rng: np.random.Generator) -> Posture:
    """One of ACTIONS with the angles varied inside what a body can do."""
    action = tuple(ACTIONS)[int(rng.integers(len(ACTIONS)))]
    draw = _Draws(rng)
    pose = Posture(
        flex=draw.two(-15, 25),
        lift=draw.two(6, 28),
        elbow=draw.two(3, 45),
        splay=draw.two(2, 11),
        hip=draw.two(-6, 10),
        look=(draw.one(-35, 35), draw.one(-12, 18)),
        lean=draw.one(-3, 6),
    )
    pose.knee = (max(2.0, pose.hip[0] * 1.4), max(2.0, pose.hip[1] * 1.4))
    draw.mirrored = bool(rng.integers(2))
    ACTIONS[action](pose, draw)
    return pose
