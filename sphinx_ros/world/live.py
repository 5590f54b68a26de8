"""A seed and a time -> what a slowly orbiting camera sees of a tabletop where things move.

Every motion repeats after `PERIOD` seconds, so looking once around the clock at the start proves
that no object is ever hidden, cut off or inside another. Knows no ROS and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.world import scenery
from sphinx_ros.world.kinds import PALETTE, SPAN, build, dimensions
from sphinx_ros.world.mannequin import SKIN, TROUSERS, Looks, build_person
from sphinx_ros.world.postures import Posture
from sphinx_ros.world.render import Canvas
from sphinx_ros.world.scenes import SMALL_KINDS, paint
from sphinx_ros.world.shapes import Colour
from sphinx_ros.world.stage import Stage, Thing, measure, unfit
from sphinx_ros.world.truth import COLOURS, SIZES, Observation
from sphinx_ros.world.view import View

PERIOD = 24.0
# Where things stand around the mannequin: angle from the direction of the camera in degrees.
SLOTS = (-112, -68, -24, 22, 66, 110)


def _wave(t: float, times: int, phase: float = 0.0) -> float:
    """A sine that goes round `times` times in PERIOD."""
    return float(np.sin(2 * np.pi * (times * t / PERIOD + phase)))


@dataclass(frozen=True)
class _Mover:
    """One thing's looks and its way: an ellipse of half axes `sway` metres about (x, y)."""

    kind: str
    colour: str
    size: str
    span: float
    rgb: Colour
    x: float
    y: float
    sway: tuple[float, float]
    rounds: int
    phase: float
    spin: int

    def at(self, t: float) -> Thing:
        """The thing as it stands at ``t`` seconds."""
        x = self.x + self.sway[0] * _wave(t, self.rounds, self.phase)
        y = self.y + self.sway[1] * _wave(t, self.rounds, self.phase + 0.25)
        yaw = 2 * np.pi * (self.spin * t / PERIOD + self.phase)
        radius, height = dimensions(self.kind, self.span)
        parts, centre = build(self.kind, self.span, x, y, yaw, self.rgb)
        return Thing(self.kind, self.colour, self.size, parts, centre, (x, y, radius), height)


class LiveWorld:
    """A small scene that goes on for ever. Use it from the thread that made it.

    seed, width, height: which scene, and its picture in pixels. The objects stay the same for
    all times, in the same order: the mannequin first.
    """

    def __init__(self, seed: int = 1, width: int = 640, height: int = 480):
        self.canvas = Canvas(width, height)
        self.seed, self.width, self.height = seed, width, height
        for attempt in range(60):
            self._imagine(np.random.default_rng([seed, attempt]))
            if all(self._whole(t) for t in np.arange(0, PERIOD, 0.75)):
                return
        raise BadRequest(
            f"no scene in which everything stays in sight for seed {seed} at "
            f"{width}x{height}; take another seed or a picture nearer to 4:3"
        )

    def observe(self, t: float, depth: bool = False) -> Observation:
        """The observation at t seconds, any finite t; continuous in t."""
        return measure(self.stage(float(t)), self.canvas, depth, self.seed)[0]

    def stage(self, t: float) -> Stage:
        """Everything there is at t seconds, not yet drawn."""
        view = self._view(t)
        fill = {**self._lights[0], "pos": -view.axes[2] * 1.5, "dir": view.axes[2]}
        things = [self._person(t)] + [mover.at(t) for mover in self._movers]
        return Stage(things, self._scenery, [fill, *self._lights[1:]], view)

    def close(self) -> None:
        """Give the OpenGL context back."""
        self.canvas.close()

    def _imagine(self, rng: np.random.Generator) -> None:
        self._facing = float(rng.uniform(0, 2 * np.pi))
        self._swing = np.radians(rng.uniform(14, 24))
        self._fovy = np.radians(rng.uniform(42, 52))
        self._tilt = np.radians(rng.uniform(26, 36))
        self._far = float(rng.uniform(0.78, 0.95))
        kinds = [str(k) for k in rng.permutation(SMALL_KINDS)[:5]]
        colours = [str(c) for c in rng.permutation(COLOURS)[:6]]
        slots = rng.permutation(SLOTS)[:5]
        self._movers = [
            self._mover(rng, *item) for item in zip(kinds, colours, slots, strict=False)
        ]
        self._shirt, shirt = colours[5], paint(rng, colours[5])
        self._person_height = float(rng.uniform(0.33, 0.38))
        self._looks = Looks(
            shirt, SKIN[rng.integers(len(SKIN))], TROUSERS[rng.integers(len(TROUSERS))]
        )
        self._scenery = scenery.table(rng, 0.62, rng.uniform(0, np.pi))
        self._scenery += scenery.room(rng, self._facing + np.pi, 1.8)
        self._scenery += scenery.clutter(rng, 0.6, self._facing + np.pi)
        view = self._view(0.0)
        self._lights = scenery.lights(rng, view.axes[2])

    def _mover(self, rng: np.random.Generator, kind: str, colour: str, slot: float) -> _Mover:
        angle, away = self._facing + np.radians(slot), float(rng.uniform(0.19, 0.27))
        size = str(rng.choice(SIZES))
        moves = rng.random() < 0.6
        sway = (float(rng.uniform(0.015, 0.035)), float(rng.uniform(0.015, 0.035)))
        return _Mover(
            kind,
            colour,
            size,
            float(rng.uniform(*SPAN[size])),
            PALETTE[colour],
            away * float(np.cos(angle)),
            away * float(np.sin(angle)),
            sway if moves else (0.0, 0.0),
            int(rng.integers(2, 5)),
            float(rng.random()),
            int(rng.integers(-2, 3)) if moves else 0,
        )

    def _view(self, t: float) -> View:
        angle = self._facing + self._swing * _wave(t, 1)
        tilt = self._tilt + np.radians(3) * _wave(t, 2, 0.1)
        far = self._far * (1 + 0.05 * _wave(t, 1, 0.3))
        target = np.array([0.0, 0.0, 0.13])
        eye = target + far * np.array(
            [np.cos(tilt) * np.cos(angle), np.cos(tilt) * np.sin(angle), np.sin(tilt)]
        )
        wide = min(1.0, self.width / self.height)
        fovy = 2 * np.arctan(np.tan(self._fovy / 2) / wide)
        return View.looking(eye, target, fovy, self.width, self.height, 0.02 * _wave(t, 2))

    def _person(self, t: float) -> Thing:
        pose = Posture(
            lift=(14 + 4 * _wave(t, 6), 128 + 18 * _wave(t, 12)),
            flex=(8, 0),
            twist=(0, 180),
            elbow=(18 + 6 * _wave(t, 6), 32 + 26 * _wave(t, 12, 0.1)),
            hip=(3 * _wave(t, 3), -3 * _wave(t, 3)),
            look=(14 * _wave(t, 3), 4),
        )
        yaw = self._facing + 0.2 * _wave(t, 2, 0.4)
        height = self._person_height
        parts, joints, centre, _ = build_person(pose, height, 0.0, 0.0, yaw, self._looks)
        foot = (0.0, 0.0, height * 0.2)
        return Thing("person", self._shirt, "", parts, centre, foot, height, joints)

    def _whole(self, t: float) -> bool:
        """Whether everything is apart, in the picture and fit to be asked about at t."""
        stage = self.stage(t)
        for i, thing in enumerate(stage.things):
            x, y, radius = thing.foot
            for other in stage.things[:i]:
                ox, oy, other_radius = other.foot
                if np.hypot(x - ox, y - oy) < radius + other_radius:
                    return False
        seen, kept = measure(stage, self.canvas, False, self.seed, picture=False)
        return len(kept) == len(stage.things) and not any(
            unfit(thing, item, stage.view)
            for thing, item in zip(stage.things, seen.objects, strict=True)
        )
