"""A camera's pose -> where world points fall in the picture, and silhouettes. Knows no renderer.

Optical frame: x right, y down, z forward. Pixels: continuous, pixel i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from sphinx_ros.world.shapes import Part, hulls
from sphinx_ros.world.truth import Camera


@dataclass(frozen=True)
class View:
    """eye: [3] world; axes: [3, 3] rows right, down, forward in the world; fovy radians."""

    eye: np.ndarray
    axes: np.ndarray
    fovy: float
    width: int
    height: int

    @staticmethod
    def looking(
        eye: ArrayLike,
        target: ArrayLike,
        fovy: float,
        width: int,
        height: int,
        roll: float = 0.0,
    ) -> View:
        """A camera at eye that looks at target, rolled by `roll` radians about its axis."""
        eye = np.asarray(eye, float)
        forward = np.asarray(target, float) - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        c, s = np.cos(roll), np.sin(roll)
        axes = np.stack([c * right + s * down, c * down - s * right, forward])
        return View(eye, axes, fovy, width, height)

    @property
    def aspect(self) -> float:
        """Width by height."""
        return self.width / self.height

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.height / 2 / np.tan(self.fovy / 2)

    @property
    def camera(self) -> Camera:
        """Intrinsics."""
        f = float(self.focal)
        return Camera(self.width, self.height, f, f, self.width / 2, self.height / 2)

    def to_optical(self, points: np.ndarray) -> np.ndarray:
        """World [..., 3] -> optical frame [..., 3]."""
        return (points - self.eye) @ self.axes.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """World [..., 3] -> pixels and depth [..., 3] (x, y, z); z <= 0 is behind the camera."""
        p = self.to_optical(points)
        z = np.maximum(p[..., 2:], 1e-4)
        centre = np.array([self.width / 2, self.height / 2])
        return np.concatenate([p[..., :2] / z * self.focal + centre, p[..., 2:]], axis=-1)

    def onto_table(self, x: float, y: float) -> np.ndarray | None:
        """The table point (z = 0) [3] seen at a pixel, or None when the ray misses the plane."""
        ray = np.array([(x - self.width / 2) / self.focal, (y - self.height / 2) / self.focal, 1])
        ray = ray @ self.axes
        if ray[2] > -1e-3:
            return None
        return self.eye - ray * self.eye[2] / ray[2]


def outlines(view: View, parts: list[Part]) -> list[np.ndarray]:
    """Convex polygons [n, 2] float32 pixels, one per bounding cloud, unclipped."""
    clouds = [cloud for part in parts for cloud in hulls(part)]
    flat = view.project(np.concatenate(clouds))[:, :2].astype(np.float32)
    polygons, start = [], 0
    for cloud in clouds:
        polygons.append(cv2.convexHull(flat[start : start + len(cloud)])[:, 0])
        start += len(cloud)
    return polygons


def bounds(polygons: list[np.ndarray]) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) around all polygons, not clipped to the picture."""
    points = np.concatenate(polygons)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def fill(
    polygons: list[np.ndarray],
    shape: tuple[int, int],
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Union of the polygons as [H, W] uint8 0/1, after scaling and then shifting by pixels."""
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        # Four binary digits below the pixel; a pixel's middle is a whole number for OpenCV.
        points = np.rint((polygon * scale + shift - 0.5) * 16).astype(np.int32)
        cv2.fillConvexPoly(mask, points, 1, cv2.LINE_8, 4)
    return mask
