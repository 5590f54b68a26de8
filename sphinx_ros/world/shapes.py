"""Solid parts that a renderer draws, and the points that bound them.

A `Part` is one convex-or-mesh solid with a pose; `hulls` gives point clouds whose projected
convex hulls, put together, are its silhouette. Knows no camera and no renderer.
Frames: world, z up, table top at z = 0, metres.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, ...]
"""Red, green, blue, each 0..1."""

# Outlines (radius, height) turned about the z axis, unit radius and unit height.
PROFILES = {
    "cone": ((1.0, 0.0), (1.0, 0.06), (0.80, 0.06), (0.07, 1.0)),
    "bottle": ((0.93, 0.0), (1.0, 0.03), (1.0, 0.56), (0.86, 0.64), (0.40, 0.74), (0.36, 0.90)),
    "mug": ((0.90, 0.0), (0.94, 0.04), (1.0, 1.0), (0.86, 1.0), (0.80, 0.14)),
}


@dataclass
class Part:
    """One solid. shape: "box" "sphere" "ellipsoid" "cylinder" "capsule" or a key of PROFILES.

    size: half extents (x, y, z) in metres; of a cylinder or capsule (radius, radius, half length
    of the straight part); of a profile (radius, radius, height) with its foot at `at`.
    turn: [3, 3] rotation, columns are the part's axes in the world. material: index into the
    texture library or -1.
    """

    shape: str
    size: tuple[float, float, float]
    at: np.ndarray
    turn: np.ndarray
    colour: Colour
    material: int = -1
    shine: float = 0.15


def about_z(angle: float) -> np.ndarray:
    """[3, 3] rotation by `angle` radians about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def along(direction: np.ndarray) -> np.ndarray:
    """[3, 3] rotation whose z axis is `direction` (need not be a unit vector)."""
    # Written out: np.cross costs more than everything else in a scene.
    a, b, c = (direction / math.sqrt(float(direction @ direction))).tolist()
    if abs(a) < 0.8:
        n = math.hypot(b, c)
        x = (0.0, -c / n, b / n)
    else:
        n = math.hypot(a, c)
        x = (c / n, 0.0, -a / n)
    y = (b * x[2] - c * x[1], c * x[0] - a * x[2], a * x[1] - b * x[0])
    return np.array([[x[0], y[0], a], [x[1], y[1], b], [x[2], y[2], c]])


def limb(
    a: np.ndarray, b: np.ndarray, radius: float, colour: Colour, shape: str = "capsule"
) -> Part:
    """A capsule or cylinder from a to b."""
    axis = b - a
    half = math.sqrt(float(axis @ axis)) / 2
    return Part(shape, (radius, radius, half), (a + b) / 2, along(axis), colour)


_RING = np.stack([np.cos(np.arange(14) * np.pi / 7), np.sin(np.arange(14) * np.pi / 7)], 1)
# A polygon around the circle on average as large as the circle itself.
_RING14 = _RING / np.sqrt(np.sinc(2 / 14))


def _sphere_points() -> np.ndarray:
    i = np.arange(90) + 0.5
    z = 1 - 2 * i / 90
    angle = np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return 1.012 * np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


_BALL = _sphere_points()
_BOX = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_SMALL_BALL = _BALL[::3] * 1.02


def _ring(radius: float, z: float) -> np.ndarray:
    ring = np.empty((14, 3))
    ring[:, :2], ring[:, 2] = _RING14 * radius, z
    return ring


def hulls(part: Part) -> list[np.ndarray]:
    """Point clouds [n, 3] (world) whose convex hulls together fill the part's silhouette."""
    sx, _sy, sz = part.size
    if part.shape == "box":
        local = [_BOX * part.size]
    elif part.shape in ("sphere", "ellipsoid"):
        local = [_BALL * part.size]
    elif part.shape == "cylinder":
        local = [np.concatenate([_ring(sx, -sz), _ring(sx, sz)])]
    elif part.shape == "capsule":
        end = np.array([0, 0, sz])
        local = [np.concatenate([_SMALL_BALL * sx - end, _SMALL_BALL * sx + end])]
    else:
        outer = PROFILES[part.shape][:3] if part.shape == "mug" else PROFILES[part.shape]
        rings = [_ring(r * sx, h * sz) for r, h in outer]
        local = [np.concatenate(p) for p in itertools.pairwise(rings)]
    return [points @ part.turn.T + part.at for points in local]
