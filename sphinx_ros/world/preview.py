"""Observations -> annotated pictures and contact sheets for people to look at."""

from __future__ import annotations

import cv2
import numpy as np

from sphinx_ros.world.mannequin import BONES
from sphinx_ros.world.shapes import PALETTE
from sphinx_ros.world.truth import Observation


def draw_truth(observation: Observation) -> np.ndarray:
    """[H, W, 3] uint8 RGB copy with boxes, names, visible shares and skeletons drawn in."""
    rgb = observation.rgb.copy()
    scale = max(0.3, observation.camera.width / 1400)
    for item in observation.objects:
        x0, y0, x1, y1 = (round(v) for v in item.box)
        colour = tuple(int(255 * c) for c in PALETTE[item.colour])
        cv2.rectangle(rgb, (x0, y0), (x1 - 1, y1 - 1), colour, 1)
        name = f"{item.size[:1]} {item.colour} {item.kind} {item.visible:.2f}"
        cv2.putText(
            rgb,
            name,
            (x0, max(8, y0 - 2)),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            (255, 0, 255),
            1,
            cv2.LINE_AA,
        )
        if item.keypoints is None:
            continue
        points = item.keypoints
        for a, b in BONES:
            if points[a, 2] and points[b, 2]:
                cv2.line(
                    rgb,
                    tuple(int(v) for v in points[a, :2]),
                    tuple(int(v) for v in points[b, :2]),
                    (0, 255, 255),
                    1,
                )
        for i, (x, y, v) in enumerate(points):
            if v:
                left = i % 2 == 1
                shade = (0, 255, 0) if left else (255, 80, 0)
                cv2.circle(rgb, (int(x), int(y)), 3, shade, -1 if v == 2 else 1)
    return rgb


def sheet(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size side by side, row by row."""
    rows = [
        np.concatenate(pictures[i : i + columns], axis=1)
        for i in range(0, len(pictures) - columns + 1, columns)
    ]
    return np.concatenate(rows, axis=0)
