"""Rendered shards -> an endless stream of scenes, cropped and mirrored anew each time.

Cropping and mirroring change a picture together with all that is true of it. Knows no token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sphinx_ros.train import recipe
from sphinx_ros.train.rendered import SHARD, read_shard, shards
from sphinx_ros.train.windows import drawn_window
from sphinx_ros.types import COCO_MIRRORED
from sphinx_ros.world.truth import Observation

MIRRORED = list(COCO_MIRRORED)  # as numpy takes indices


class Scenes:
    """All shards in a folder; shards that are written meanwhile are taken up."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    @property
    def shards(self) -> list[Path]:
        """The shards on disk now."""
        return shards(self.folder)

    def __len__(self) -> int:
        """Scenes on disk."""
        return len(self.shards) * SHARD

    def stream(self, rng: np.random.Generator) -> Iterator[Observation]:
        """Endless scenes, mixed from a few shards at a time, cropped and mirrored anew."""
        used: dict[Path, int] = {}
        while True:
            # shards that were used least come first
            order = sorted(self.shards, key=lambda s: (used.get(s, 0), rng.random()))[:2]
            pool: list[Observation] = []
            for shard in order:
                used[shard] = used.get(shard, 0) + 1
                pool += read_shard(shard)
            for index in rng.permutation(len(pool)):
                scene = pool[index]
                if not has_people(scene) and rng.random() > recipe.WITHOUT_PEOPLE_SHARE:
                    continue
                if rng.random() < recipe.CROPPED_SHARE:
                    scene = cropped(scene, rng)
                yield mirrored(scene) if rng.random() < recipe.MIRRORED_SHARE else scene


def has_people(scene: Observation) -> bool:
    """Whether anybody's joints are to be learnt from it."""
    return any(thing.keypoints is not None for thing in scene.objects)


def cropped(scene: Observation, rng: np.random.Generator) -> Observation:
    """A part of the picture that still holds all objects: other places, sizes, aspect ratios."""
    camera = scene.camera
    size = camera.width, camera.height
    x0, y0, x1, y1 = drawn_window([thing.box for thing in scene.objects], size, rng)
    window = (slice(y0, y1), slice(x0, x1))
    objects = []
    for thing in scene.objects:
        bx0, by0, bx1, by1 = thing.box
        points = thing.keypoints
        if points is not None:
            points = points.copy()
            points[:, :2] -= (x0, y0)
            outside = (points[:, :2] < 0).any(1) | (points[:, :2] >= (x1 - x0, y1 - y0)).any(1)
            points[outside] = 0
            points[points[:, 2] == 0] = 0
        box = (bx0 - x0, by0 - y0, bx1 - x0, by1 - y0)
        objects.append(replace(thing, box=box, keypoints=points))
    camera = replace(camera, width=x1 - x0, height=y1 - y0, cx=camera.cx - x0, cy=camera.cy - y0)
    return replace(
        scene,
        rgb=scene.rgb[window],
        segmentation=scene.segmentation[window],
        objects=tuple(objects),
        camera=camera,
    )


def mirrored(scene: Observation) -> Observation:
    """The scene in a mirror: left is right, also in the names of joints."""
    width = scene.camera.width
    objects = []
    for thing in scene.objects:
        x0, y0, x1, y1 = thing.box
        points = thing.keypoints
        if points is not None:
            points = points[MIRRORED].copy()
            points[:, 0] = np.where(points[:, 2] > 0, width - points[:, 0], 0)
        x, y, z = thing.position
        objects.append(
            replace(
                thing, box=(width - x1, y0, width - x0, y1), keypoints=points, position=(-x, y, z)
            )
        )
    camera = replace(scene.camera, cx=width - scene.camera.cx)
    return replace(
        scene,
        rgb=scene.rgb[:, ::-1],
        segmentation=scene.segmentation[:, ::-1],
        objects=tuple(objects),
        camera=camera,
    )
