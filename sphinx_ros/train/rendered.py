"""Seeds -> shards of rendered scenes on disk. Knows no model.

A shard is a pickled list of observations, made and read on one machine only. Shards are written
whole or not at all, by any number of processes.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from sphinx_ros.runtime.files import write_bytes
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.train.recipe import Sizes
from sphinx_ros.world.truth import Observation

SHARD = 256
"""Scenes in a shard."""


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / f"scenes_{number:05d}.pickle"


def shards(folder: Path) -> list[Path]:
    """All shards in a folder, by their numbers."""
    return sorted(folder.glob("scenes_*.pickle"))


def write_shard(folder: Path, number: int, sizes: Sizes) -> Path:
    """Render shard ``number`` (seeds number * SHARD ...) into ``folder``; its path comes back."""
    from sphinx_ros.world.scenes import World

    target = shard_path(folder, number)
    worlds: dict[tuple[int, int], World] = {}
    scenes = []
    for seed in range(number * SHARD, (number + 1) * SHARD):
        # runs of one size spare the graphics context
        size = sizes[(seed // (SHARD // len(sizes))) % len(sizes)]
        if size not in worlds:
            worlds[size] = World(*size)
        scenes.append(worlds[size].observe(seed))
    write_bytes(target, pickle.dumps(scenes, protocol=5))
    return target


def render_held_out(path: Path, count: int = 32) -> None:
    """Scenes that training never draws, to score on now and then while it runs."""
    from sphinx_ros.evaluate.tabletop import HELD_OUT, PICTURE_SIZES
    from sphinx_ros.world.scenes import World

    worlds = {size: World(*size) for size in PICTURE_SIZES}
    # seeds below HELD_OUT: the final evaluation has its own, from HELD_OUT upwards
    sizes = [PICTURE_SIZES[i % len(PICTURE_SIZES)] for i in range(count)]
    scenes = [worlds[size].observe(HELD_OUT - 1 - i) for i, size in enumerate(sizes)]
    write_bytes(path, pickle.dumps(scenes, protocol=5))


def read_shard(path: Path) -> list[Observation]:
    """The scenes of a shard that :func:`write_shard` wrote on this machine."""
    return pickle.loads(path.read_bytes())


def render(folder: str | os.PathLike, numbers: range, sizes: Sizes) -> None:
    """Render the shards that are not there yet, and show progress."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Progress(len(numbers) * SHARD, "rendering", "scene") as bar:
        for number in numbers:
            if not shard_path(folder, number).exists():
                write_shard(folder, number, sizes)
            bar.advance(SHARD)
