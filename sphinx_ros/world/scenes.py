"""A seed -> one random tabletop as a camera sees it, with everything that is true about it.

`observe(seed, width, height)` is the whole interface; `World` is the same for many seeds.
The same seed, size and machine give the same bytes. Knows no tasks and no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.types import Box
from sphinx_ros.world import scenery
from sphinx_ros.world.kinds import PALETTE, SPAN, build, dimensions
from sphinx_ros.world.mannequin import HAIR, SKIN, TROUSERS, Looks, build_person
from sphinx_ros.world.postures import random_posture
from sphinx_ros.world.render import Canvas
from sphinx_ros.world.shapes import Colour
from sphinx_ros.world.stage import Stage, Thing, measure, unfit, without
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES, Observation
from sphinx_ros.world.view import View, bounds

Placed = list[tuple[Thing, Box]]
"""Things that stand already, each with its bounds in the picture."""

SMALL_KINDS = tuple(k for k in KINDS if k != "person")


def paint(rng: np.random.Generator, colour: str) -> Colour:
    """A named colour, a little off."""
    return tuple(
        float(c)
        for c in np.clip(np.array(PALETTE[colour]) + rng.uniform(-0.03, 0.03, 3), 0.02, 1.0)
    )


def make_thing(
    rng: np.random.Generator, kind: str, colour: str, size: str, span: float, x: float, y: float
) -> Thing:
    """A thing of nominal span metres that stands at (x, y)."""
    radius, height = dimensions(kind, span)
    parts, centre = build(kind, span, x, y, float(rng.uniform(0, 2 * np.pi)), paint(rng, colour))
    return Thing(kind, colour, size, parts, centre, (x, y, radius), height)


def make_person(
    rng: np.random.Generator, colour: str, height: float, x: float, y: float, eye: np.ndarray
) -> Thing:
    """A mannequin at (x, y) that in three of four cases looks roughly towards `eye`."""
    yaw = float(np.arctan2(eye[1] - y, eye[0] - x))
    yaw += float(rng.normal(0, 0.45)) if rng.random() < 0.75 else float(rng.uniform(-np.pi, np.pi))
    pose = random_posture(rng)
    hair = HAIR[rng.integers(len(HAIR))]
    looks = Looks(
        paint(rng, colour),
        SKIN[rng.integers(len(SKIN))],
        TROUSERS[rng.integers(len(TROUSERS))],
        hair,
        bool(rng.random() < 0.6),
    )
    parts, joints, centre, seat = build_person(pose, height, x, y, yaw, looks)
    return Thing("person", colour, "", parts, centre, (x, y, height * 0.30), height, joints, seat)


def _view(rng: np.random.Generator, width: int, height: int, persons: int, crowd: int) -> View:
    """A camera whose picture is about as wide as the scene needs."""
    fovy = np.radians(rng.uniform(35, 65))
    if height > width:
        fovy = min(fovy * 1.15, np.radians(65))
    focal = height / 2 / np.tan(fovy / 2)
    long_side = max(width, height)
    if persons:
        distance = focal * 0.34 / (rng.uniform(0.29, 0.54) * height)
        tilt = np.radians(rng.uniform(8, 38))
    else:
        share = rng.uniform(0.10, 0.24) * (1.15 - 0.05 * crowd)
        distance = focal * 0.095 / (share * long_side)
        tilt = np.radians(rng.uniform(16, 62))
    around = rng.uniform(0, 2 * np.pi)
    target = np.array([*rng.uniform(-0.03, 0.03, 2), 0.14 if persons else 0.03])
    flat = np.cos(tilt) * distance
    eye = target + [flat * np.cos(around), flat * np.sin(around), np.sin(tilt) * distance]
    eye[2] = max(eye[2], 0.1)
    return View.looking(eye, target, fovy, width, height, rng.normal(0, 0.04))


def _plausible(
    view: View, placed: Placed, x: float, y: float, radius: float, height: float, person: bool
) -> bool:
    """A cheap look before a thing is built: is there room, the right distance, inside?"""
    for other, _ in placed:
        ox, oy, other_radius = other.foot
        if np.hypot(x - ox, y - oy) < radius + other_radius + 0.006:
            return False
    px, py, z = view.project(np.array([x, y, height / 2]))
    if z < 0.12:
        return False
    scale = view.focal / z
    wide, high = 2 * radius * scale * (0.4 if person else 0.9), height * scale * 0.85
    long_side = max(view.width, view.height)
    if person and high < 0.2 * view.height:
        return False
    if max(wide, high) < 0.05 * long_side:
        return False
    return wide * 0.4 < px < view.width - wide * 0.4 and high * 0.4 < py < view.height - high * 0.4


def _fits(thing: Thing, placed: Placed, view: View, overlap: float) -> Box | None:
    """The thing's bounds when it may stand there, else None.

    overlap: share of the smaller of two bounding boxes that may coincide.
    """
    box = bounds(thing.seen_outline(view))
    wide, high = box[2] - box[0], box[3] - box[1]
    long_side = max(view.width, view.height)
    person = thing.kind == "person"
    extent, least = (high, 0.25 * view.height) if person else (max(wide, high), 0.066 * long_side)
    if not least < extent < (0.92 if person else 0.5) * long_side:
        return None
    slack = 0.12 * min(wide, high)
    if (
        box[0] < -slack
        or box[1] < -slack
        or box[2] > view.width + slack
        or box[3] > view.height + slack
    ):
        return None
    for _, other in placed:
        w = min(box[2], other[2]) - max(box[0], other[0])
        h = min(box[3], other[3]) - max(box[1], other[1])
        if w > 0 and h > 0:
            smaller = min(wide * high, (other[2] - other[0]) * (other[3] - other[1]))
            if w * h > overlap * smaller:
                return None
    return box


def _spot(
    rng: np.random.Generator, view: View, placed: Placed, person: bool, crowded: bool
) -> tuple[float, float]:
    """A pixel where the next thing might stand; in a crowd often beside another thing."""
    if crowded and placed and rng.random() < 0.6:
        x0, y0, x1, y1 = placed[rng.integers(len(placed))][1]
        return (
            rng.uniform(x0 - 0.4 * (x1 - x0), x1 + 0.4 * (x1 - x0)),
            rng.uniform(y0 + 0.1 * (y1 - y0), y1 + 0.8 * (y1 - y0)),
        )
    spread = 0.30 if person else 0.47
    px = view.width * (0.5 + rng.uniform(-spread, spread))
    low, high = (0.6, 0.93) if person else (0.05, 0.97)
    return px, view.height * rng.uniform(low, high)


def _place(
    rng: np.random.Generator,
    view: View,
    placed: Placed,
    kind: str,
    colour: str,
    half: float,
    crowded: bool,
) -> None:
    """Try to add one thing to `placed`; give up after some tries."""
    person, size = kind == "person", str(rng.choice(SIZES))
    span = float(rng.uniform(0.30, 0.40) if person else rng.uniform(*SPAN[size]))
    radius, height = (span * 0.30, span * 0.9) if person else dimensions(kind, span)
    builds = 0
    for _ in range(30):
        foot = view.onto_table(*_spot(rng, view, placed, person, crowded))
        if foot is None or math.hypot(foot[0], foot[1]) > half * 0.86:
            continue
        x, y = float(foot[0]), float(foot[1])
        if not _plausible(view, placed, x, y, radius, height, person):
            continue
        if person:
            thing = make_person(rng, colour, span, x, y, view.eye)
        else:
            thing = make_thing(rng, kind, colour, size, span, x, y)
        box = _fits(thing, placed, view, 0.62 if crowded else 0.03)
        if box is not None:
            placed.append((thing, box))
            return
        builds += 1
        if builds > 6:
            return


def compose(seed: int | list[int], width: int, height: int) -> Stage:
    """Think up a stage for a seed; nothing is drawn yet."""
    rng = np.random.default_rng(seed)
    persons = int(rng.choice(3, p=(0.62, 0.27, 0.11)))
    count = int(rng.integers(1, 9))
    view = _view(rng, width, height, persons, count)
    crowded = bool(rng.random() < 0.55)
    reach = 0.55 * float(np.linalg.norm(view.eye)) * np.tan(view.fovy / 2) * max(1, view.aspect)
    half = max(0.4, reach * rng.uniform(1.2, 2.2))
    facing = float(np.arctan2(-view.eye[1], -view.eye[0]))
    few = rng.random() < 0.3  # some scenes repeat few kinds and colours, so that counts exceed one
    kinds = rng.choice(SMALL_KINDS, 2) if few else SMALL_KINDS
    colours = rng.choice(COLOURS, 3) if few else COLOURS
    wanted = ["person"] * persons + [str(rng.choice(kinds)) for _ in range(count)]
    placed: Placed = []
    for kind in wanted[:8]:
        _place(rng, view, placed, kind, str(rng.choice(colours)), half, crowded)
    background = scenery.table(rng, half, rng.uniform(0, np.pi))
    background += scenery.room(rng, facing, half * 1.6 + rng.uniform(0.5, 2.0))
    background += scenery.clutter(rng, half, facing)
    return Stage([t for t, _ in placed], background, scenery.lights(rng, view.axes[2]), view)


Maker = Callable[[int | list[int], int, int], Stage]
"""(Seed, width, height) -> what stands there, as :func:`compose`."""


class World:
    """Draws observations at one picture size; one OpenGL context and one model for all seeds."""

    def __init__(self, width: int = 640, height: int = 480, make: Maker = compose):
        self.canvas = Canvas(width, height)
        self.width, self.height, self._make = width, height, make

    def observe(self, seed: int, depth: bool = False) -> Observation:
        """The observation of a seed. Every object in it is fit to be asked about; at least one."""
        for attempt in range(6):
            stage = self._make(seed if attempt == 0 else [seed, attempt], self.width, self.height)
            while stage.things:
                seen, kept = measure(stage, self.canvas, depth, seed, picture=False)
                bad = set(range(len(stage.things))) - set(kept)
                bad |= {
                    i
                    for i, item in zip(kept, seen.objects, strict=True)
                    if unfit(stage.things[i], item, stage.view)
                }
                if not bad:
                    return replace(seen, rgb=self.canvas.colours())
                stage = without(stage, bad)
        raise BadRequest(
            f"no scene with anything fit to be asked about in six tries for seed "
            f"{seed} at {self.width}x{self.height}; take another seed"
        )

    def close(self) -> None:
        """Give the OpenGL context back."""
        self.canvas.close()


@lru_cache(maxsize=4)
def _world(width: int, height: int) -> World:
    return World(width, height)


def observe(seed: int, width: int = 640, height: int = 480, depth: bool = False) -> Observation:
    """The tabletop of a seed. Deterministic in (seed, width, height) on one machine."""
    return _world(width, height).observe(seed, depth)
