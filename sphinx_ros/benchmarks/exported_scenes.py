"""A number and a seed -> scenes of the simulated tabletop with what `eval world` asks about them.

None of the field's data sets can be shipped; with these every reader and every score can be
tried, and their numbers compared with those of `sphinx-ros eval world`, whose scenes they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sphinx_ros.tasks import Task
from sphinx_ros.world.phrases import EXPRESSION_KINDS
from sphinx_ros.world.truth import Observation
from sphinx_ros.world.turn import Turn


@dataclass(frozen=True)
class Scene:
    """One scene. number: from 1. turns: its questions. png: its picture's file."""

    number: int
    seen: Observation
    turns: tuple[Turn, ...]
    png: bytes

    @property
    def file(self) -> str:
        """The name of its picture, as COCO's of 2014."""
        return f"COCO_train2014_{self.number:012d}.png"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.seen.camera.width, self.seen.camera.height

    @property
    def expressions(self) -> list[tuple[str, tuple[float, ...], int]]:
        """(words, box, index of the thing) of each referring expression that fits something."""
        return [
            (turn.target["said"], turn.target["boxes"][0], turn.target["objects"][0])
            for turn in self.turns
            if turn.kind in EXPRESSION_KINDS
        ]

    @property
    def absent(self) -> list[str]:
        """The referring expressions that fit nothing."""
        return [turn.target["said"] for turn in self.turns if turn.kind.startswith("no_")]

    @property
    def questions(self) -> list[tuple[str, str]]:
        """(question without its ending, answer) of each question in words."""
        asked = [turn for turn in self.turns if turn.task is Task.ASK]
        return [(turn.question.split("\n")[0], turn.answer) for turn in asked]


def scenes(number: int, seed: int = 0) -> list[Scene]:
    """So many held-out scenes with the questions of `sphinx-ros eval world` of that seed.

    Of the expressions those that every checkpoint can be asked are written out: no free wordings.
    """
    import cv2

    from sphinx_ros.evaluate.tabletop import (
        HELD_OUT,
        PER_SCENE,
        PICTURE_SIZES,
        SEEDS_PER_RUN,
    )
    from sphinx_ros.world.exercises import turns
    from sphinx_ros.world.scenes import observe

    made = []
    for index in range(number):
        place = HELD_OUT + seed * SEEDS_PER_RUN + index
        seen = observe(place, *PICTURE_SIZES[index % len(PICTURE_SIZES)])
        asked = turns(seen, np.random.default_rng([seed, seen.seed]), PER_SCENE)
        _, png = cv2.imencode(".png", seen.rgb[:, :, ::-1])
        made.append(Scene(index + 1, seen, tuple(asked), png.tobytes()))
    return made
