"""One observation of the simulated tabletop, with all that is true in it. Knows no renderer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black")
KINDS = ("cube", "ball", "can", "cone", "mug", "bottle", "person")
SIZES = ("small", "large")


@dataclass(frozen=True)
class SceneObject:
    """One thing on the table as one camera sees it.

    kind: one of KINDS. colour: one of COLOURS (of a person: the shirt). size: one of SIZES in the
    world's own metres, so distance does not change it; "" for a person.
    box: (x0, y0, x1, y1) pixels, tight around the visible pixels (x1, y1 exclusive).
    visible: share of its own pixels, inside the picture, that nothing else covers (0..1].
    depth: median distance of the visible pixels along the optical axis, metres.
    position: (x, y, z) of its centre in the camera's optical frame, metres (x right, y down, z
        forward).
    keypoints: for a person [17, 3] float32 (x px, y px, v), COCO order, v as in COCO: 0 outside
        the picture (x = y = 0), 1 occluded by something or by the body itself, 2 visible.
    """

    kind: str
    colour: str
    size: str
    box: tuple[float, float, float, float]
    visible: float
    depth: float
    position: tuple[float, float, float]
    keypoints: np.ndarray | None = None

    @property
    def name(self) -> str:
        """Its words: "small red mug", "red person"."""
        return " ".join(word for word in (self.size, self.colour, self.kind) if word)

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box (x, y) in pixels."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Camera:
    """A pinhole without distortion: pixels = (fx X/Z + cx, fy Y/Z + cy) in the optical frame."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class Observation:
    """One picture and all that is true in it.

    rgb: [H, W, 3] uint8. segmentation: [H, W] uint8, 0 = background, i + 1 = objects[i].
    depth: [H, W] float32 metres along the optical axis, or None when it was not asked for.
    objects: those with visible pixels, every one of them fit to be asked about.
    """

    rgb: np.ndarray
    segmentation: np.ndarray
    objects: tuple[SceneObject, ...]
    camera: Camera
    depth: np.ndarray | None = None
    seed: int = -1
