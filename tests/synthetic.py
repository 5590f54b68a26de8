"""Random observations without a renderer: boxes anywhere, colours and sizes at random."""

import numpy as np

from sphinx_ros.world.truth import COLOURS, KINDS, SIZES, Camera, Observation, SceneObject


def random_observation(seed: int, width: int = 640, height: int = 480) -> Observation:
    """Up to eight things; the same seed gives the same observation. The picture is black."""
    rng = np.random.default_rng(seed)
    things = []
    for _ in range(int(rng.integers(0, 9))):
        kind = KINDS[rng.integers(len(KINDS))]
        wide = rng.uniform(0.05, 0.25) * width
        high = min(wide * (2.5 if kind == "person" else 1.2), 0.9 * height)
        x, y = rng.uniform(0, width - wide), rng.uniform(0, height - high)
        joints = None
        if kind == "person":
            joints = np.zeros((17, 3), np.float32)
            joints[:, 0] = x + rng.uniform(0, wide, 17)
            joints[:, 1] = y + rng.uniform(0, high, 17)
            joints[:, 2] = rng.integers(0, 3, 17)
            joints[joints[:, 2] == 0] = 0
        size = "" if kind == "person" else SIZES[rng.integers(2)]
        colour, depth = COLOURS[rng.integers(len(COLOURS))], float(rng.uniform(0.5, 3))
        box = (x, y, x + wide, y + high)
        things.append(SceneObject(kind, colour, size, box, 1.0, depth, (0.0, 0.0, depth), joints))
    picture = np.zeros((height, width, 3), np.uint8)
    camera = Camera(width, height, 500.0, 500.0, width / 2, height / 2)
    return Observation(picture, picture[..., 0], tuple(things), camera, None, seed)
