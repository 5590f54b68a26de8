"""A seed -> a tabletop with plates, a kind of thing that the demonstration model was never shown.

The stage is that of the seed, with some of its wide things replaced where they stand. For showing
how a new kind is taught (docs/teaching.md); nothing else draws from it. Knows no model.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from sphinx_ros.world.kinds import SHAPES_OF_NEWCOMERS
from sphinx_ros.world.scenes import World, compose, make_thing
from sphinx_ros.world.stage import Stage, Thing

KIND = "plate"
WIDE = ("cube", "ball", "cone", "mug")
"""Kinds that leave room for a plate where they stand."""

SHARE, NONE = 0.4, 0.2
"""Of the wide things that become plates, at least one; and of the scenes without any."""


def room_for_plates(stage: Stage) -> int:
    """How many of its things leave room for a plate."""
    return sum(thing.kind in WIDE for thing in stage.things)


def with_plates(seed: int | list[int], width: int, height: int, share: float = SHARE) -> Stage:
    """As :func:`sphinx_ros.world.scenes.compose`, with plates on the table. share: see SHARE."""
    stage = compose(seed, width, height)
    rng = np.random.default_rng([*np.atleast_1d(seed).tolist(), 1])
    wide = [index for index, thing in enumerate(stage.things) if thing.kind in WIDE]
    if not wide or rng.random() < NONE:
        return stage
    chosen = {index for index in wide if rng.random() < share} or {int(rng.choice(wide))}
    things = [
        plate_for(thing, rng) if index in chosen else thing
        for index, thing in enumerate(stage.things)
    ]
    return replace(stage, things=things)


def plate_for(thing: Thing, rng: np.random.Generator) -> Thing:
    """A plate of the thing's colour and size that fits where it stands."""
    x, y, radius = thing.foot
    span = radius / SHAPES_OF_NEWCOMERS[KIND].radius
    return make_thing(rng, KIND, thing.colour, thing.size, span, x, y)


def world_with_plates(width: int, height: int, share: float = SHARE) -> World:
    """Draws observations of :func:`with_plates`."""
    return World(width, height, functools.partial(with_plates, share=share))
