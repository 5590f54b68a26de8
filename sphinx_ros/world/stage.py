"""A stage (things, scenery, lights, one view) plus a canvas -> an Observation that is true.

What is visible comes from the identity and depth images; how much is hidden, from the outlines.
How a stage was thought up is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from sphinx_ros.world.mannequin import DEPTHS
from sphinx_ros.world.render import Canvas
from sphinx_ros.world.shapes import Part
from sphinx_ros.world.truth import Observation, SceneObject
from sphinx_ros.world.view import View, bounds, fill, outlines

SCENERY = 200  # numbers below are things, so at most 200 of them


@dataclass
class Thing:
    """Something that may be asked about. centre, joints: world metres. foot: (x, y, radius)."""

    kind: str
    colour: str
    size: str
    parts: list[Part]
    centre: np.ndarray
    foot: tuple[float, float, float]
    height: float
    joints: np.ndarray | None = None
    props: list[Part] = field(default_factory=list)
    outline: tuple[View, list[np.ndarray]] | None = None

    def seen_outline(self, view: View) -> list[np.ndarray]:
        """Polygons that bound it in the view, kept for the next call with the same view."""
        if self.outline is None or self.outline[0] is not view:
            self.outline = (view, outlines(view, self.parts))
        return self.outline[1]


@dataclass
class Stage:
    """Everything one picture needs."""

    things: list[Thing]
    scenery: list[Part]
    lights: list[dict]
    view: View


def _keypoints(thing: Thing, view: View, depth: np.ndarray) -> np.ndarray | None:
    """[17, 3] (x px, y px, v) of a mannequin, v as in COCO (see SceneObject); else None."""
    if thing.joints is None:
        return None
    flat = view.project(thing.joints)
    out = np.zeros((len(thing.joints), 3), np.float32)
    for i, (x, y, z) in enumerate(flat):
        if z <= 0 or not (0 <= x < view.width and 0 <= y < view.height):
            continue
        surface = depth[int(y), int(x)]
        hidden = surface < z - DEPTHS[i] * thing.height - 0.012
        out[i] = (x, y, 1 if hidden else 2)
    return out


_NINE = np.ones((3, 3), np.uint8)


def _hidden_pixels(polygons: list[np.ndarray], own: np.ndarray, solid: np.ndarray) -> int:
    """Pixels inside the outlines that something else solid covers.

    Outline and renderer disagree by up to a pixel at the rim, so a covered patch counts only
    where it reaches further in than that, and then whole. Works on the cut-out that matters.
    """
    height, width = own.shape
    x0, y0, x1, y1 = bounds(polygons)
    left, top = max(int(x0) - 2, 0), max(int(y0) - 2, 0)
    right, bottom = min(int(x1) + 3, width), min(int(y1) + 3, height)
    if right <= left or bottom <= top:
        return 0
    cut = np.s_[top:bottom, left:right]
    others = (solid[cut] & ~own[cut]).astype(np.uint8)
    if not others.any():
        return 0
    inside = fill(polygons, others.shape, shift=(-left, -top))
    core = others & cv2.erode(inside, _NINE, borderValue=1)
    if not core.any():
        return 0
    return int((cv2.dilate(core, _NINE) & others & inside).sum())


def measure(
    stage: Stage, canvas: Canvas, depth: bool, seed: int, picture: bool = True
) -> tuple[Observation, list[int]]:
    """Draw the stage. -> (observation, index into stage.things of each of its objects).

    picture=False leaves rgb black, which is cheaper; canvas.colours() gives it afterwards.
    """
    view = stage.view
    parts = [(part, i) for i, thing in enumerate(stage.things) for part in thing.parts]
    parts += [(part, SCENERY) for thing in stage.things for part in thing.props]
    parts += [(part, SCENERY + 1) for part in stage.scenery]
    canvas.load(parts, stage.lights, view)
    numbers, distance = canvas.identities()
    objects, kept = [], []
    segmentation = np.zeros(numbers.shape, np.uint8)
    solid = numbers <= SCENERY
    for i, thing in enumerate(stage.things):
        own = numbers == i
        count = int(own.sum())
        if count == 0:
            continue
        rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        x, y, z = (float(v) for v in view.to_optical(thing.centre))
        hidden = _hidden_pixels(thing.seen_outline(view), own, solid)
        objects.append(
            SceneObject(
                thing.kind,
                thing.colour,
                thing.size,
                box,
                count / (count + hidden),
                float(np.median(distance[own])),
                (x, y, z),
                _keypoints(thing, view, distance),
            )
        )
        kept.append(i)
        segmentation[own] = len(kept)
    rgb = canvas.colours() if picture else np.zeros((*numbers.shape, 3), np.uint8)
    return Observation(
        rgb, segmentation, tuple(objects), view.camera, distance if depth else None, seed
    ), kept


def unfit(thing: Thing, seen: SceneObject, view: View) -> str:
    """Why an object should not be asked about, or "" when it is fit."""
    long_side = max(view.width, view.height)
    x0, y0, x1, y1 = seen.box
    least = 0.22 * view.height if thing.kind == "person" else 0.06 * long_side
    extent = y1 - y0 if thing.kind == "person" else max(x1 - x0, y1 - y0)
    if extent < least or min(x1 - x0, y1 - y0) < 0.018 * long_side:
        return "too small"
    if seen.visible < (0.6 if thing.kind == "person" else 0.45):
        return "hidden"
    ax0, ay0, ax1, ay1 = bounds(thing.seen_outline(view))
    inside = max(0.0, min(ax1, view.width) - max(ax0, 0))
    inside *= max(0.0, min(ay1, view.height) - max(ay0, 0))
    if inside < 0.78 * (ax1 - ax0) * (ay1 - ay0):
        return "cut by the border"
    return ""


def without(stage: Stage, indices: set[int]) -> Stage:
    """The stage less the things at `indices`."""
    return replace(stage, things=[t for i, t in enumerate(stage.things) if i not in indices])
