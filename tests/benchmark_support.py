"""Scenes without a renderer, written as data sets, for the tests of benchmarks."""

import json

import cv2
import numpy as np
from small_network import picture
from synthetic import random_observation

from sphinx_ros.benchmarks.exported_scenes import Scene
from sphinx_ros.benchmarks.written_layouts import LAYOUTS
from sphinx_ros.evaluate.tabletop import PER_SCENE
from sphinx_ros.world.exercises import turns


def some_scenes(number=4):
    """Scenes of random boxes; their pictures are noise."""
    made, seed = [], 0
    while len(made) < number:
        size = ((64, 48), (48, 64))[seed % 2]
        seen = random_observation(seed, *size)
        asked = turns(seen, np.random.default_rng(seed), PER_SCENE)
        _, png = cv2.imencode(".png", picture(*size, seed=seed))
        scene = Scene(len(made) + 1, seen, tuple(asked), png.tobytes())
        if scene.expressions and scene.questions:
            made.append(scene)
        seed += 1
    return made


def written(layout, folder, number=4):
    """The scenes that a data set was written of."""
    folder.mkdir(parents=True, exist_ok=True)
    made = some_scenes(number)
    LAYOUTS[layout](folder, made)
    return made


def as_written(box, place):
    """A box in pixels as the model writes it, three decimals."""
    return "[" + ",".join(f"{v:.3f}" for v in place.box_to_square(box)) + "]"


def png(folder, *names):
    """The same picture of 64x48 pixels under each name."""
    data = written("mine", folder / "made", 1)[0].png
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return data


def put(path, values):
    """A file of values as JSON, or of a text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
