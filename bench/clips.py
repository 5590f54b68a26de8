"""Clips of the live tabletop with the noise of a camera, and queries that stand for all of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sphinx_ros.world.truth import Observation

CLIPS = {"still": 0.0, "slow": 0.1, "fast": 1.25}
"""Seconds between the pictures of a clip."""

NOISE = 2.0
"""Standard deviation of a camera's noise, of 255 levels."""

BEGIN = 2.0
"""Seconds after the start of the live tabletop at which clips begin."""


def standing(scene: Observation, seed: int) -> list[str]:
    """Queries that can be asked of a scene for as long as it lasts, several of each kind."""
    from sphinx_ros.world.nouns import Tabletop
    from sphinx_ros.world.phrases import EXPRESSIONS

    table, draw = Tabletop(scene), np.random.default_rng(seed)
    made = (make(table, draw) for make in EXPRESSIONS.values())
    said = dict.fromkeys(f"ground: the {told[1]}" for told in made if told)
    one, other = [thing.kind for thing in scene.objects if thing.kind != "person"][:2]
    return [
        *said, f"detect: {one}", "detect: person", "detect: object", "pose", "caption",
        f"ask: what color is the {one}?", f"ask: is there a {other}?",
        "ask: how many objects are there?", f"ask: how many {one}s are there?",
    ]  # fmt: skip


def kind_of(line: str) -> str:
    """The row of the table that a query belongs to."""
    return "count" if "how many" in line else line.partition(":")[0]


def clip(world: Any, step: float, pictures: int) -> tuple[list[np.ndarray], float]:
    """Pictures, and how far corners move, px per picture on average."""
    draw, made, corners = np.random.default_rng(0), [], []
    for number in range(pictures):
        scene = world.observe(BEGIN + number * step)
        noisy = scene.rgb + draw.normal(0, NOISE, scene.rgb.shape)
        made.append(noisy.round().clip(0, 255).astype(np.uint8))
        corners.append(np.array([thing.box for thing in scene.objects]).reshape(-1, 2))
    ways = np.linalg.norm(np.diff(np.array(corners), axis=0), axis=-1)
    return made, float(ways.mean()) if ways.size else 0.0
