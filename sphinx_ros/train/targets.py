"""A scene -> what each image patch should know: its owner, and what is true of that thing.

Patches are the cells of the decoder's grid over the padded square, counted row by row.
"""

from __future__ import annotations

import numpy as np

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.train import recipe
from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES, Observation

JOINTS = len(COCO_KEYPOINTS)

UNCLEAR = 255
"""Owner of a patch that shows too little of something to say what it is, and is not empty."""


def patch_owners(observation: Observation, grid: int) -> np.ndarray:
    """Which object an image patch is told to speak for: [grid, grid] uint8, 0 = none of them.

    An object needs a quarter of the patch, or the patch a tenth of the object. Of several the one
    with the largest share of *its own* pixels there wins, so that a small thing is not lost
    beside a big one.
    """
    height, width = observation.segmentation.shape
    side = max(height, width)
    y0, x0 = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side), np.uint8)
    square[y0 : y0 + height, x0 : x0 + width] = observation.segmentation
    cell = np.minimum((np.arange(side) * grid) // side, grid - 1)
    index = cell[:, None] * grid + cell[None, :]
    owners = np.zeros(grid * grid, np.uint8)
    best = np.zeros(grid * grid)
    for number in range(1, len(observation.objects) + 1):
        mask = square == number
        if not mask.any():
            continue
        inside = np.bincount(index[mask], minlength=grid * grid)
        share, cover = inside / mask.sum(), inside / (side / grid) ** 2
        owners[(inside > 0) & (owners == 0)] = UNCLEAR
        claim = np.where((cover > 0.25) | (share > 0.1), np.maximum(share, 0.5 * cover), 0)
        wins = claim > best
        owners[wins], best[wins] = number, claim[wins]
    return owners.reshape(grid, grid)


def cell_targets(observation: Observation, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """What shows at the middle of each cell of a fine grid, row by row: kind (0 none, else 1 +
    index in KINDS) and colour (-1 where there is nothing), both [grid * grid] int64.
    """
    height, width = observation.segmentation.shape
    side = max(height, width)
    at = ((np.arange(grid) + 0.5) * side / grid).astype(int)
    y, x = at - (side - height) // 2, at - (side - width) // 2
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None]
    rows, columns = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    shown = np.where(inside, observation.segmentation[np.ix_(rows, columns)], 0).reshape(-1)
    count = len(observation.objects)
    shown = np.where(shown <= count, shown, 0)
    kinds = [0, *(1 + KINDS.index(thing.kind) for thing in observation.objects)]
    colours = [-1, *(COLOURS.index(thing.colour) for thing in observation.objects)]
    return np.array(kinds, np.int64)[shown], np.array(colours, np.int64)[shown]


def joint_points(truth: Observation) -> list[tuple[int, float, float]]:
    """(joint, x, y) of all known joints of all people, as fractions of the padded square."""
    place = Letterbox.of(truth.camera.width, truth.camera.height)
    return [
        (joint, *place.to_square(float(x), float(y)))
        for thing in truth.objects
        if thing.keypoints is not None
        for joint, (x, y, v) in enumerate(thing.keypoints)
        if v > 0
    ]


def patch_targets(owners: np.ndarray, truth: Observation) -> tuple[np.ndarray, ...]:
    """Of each patch's owner, row by row: kind, colour, size [P], box [P, 4], joints [P, 17, 3].

    The values are those of :class:`sphinx_ros.train.data.Batch`.
    """
    letterbox = Letterbox.of(truth.camera.width, truth.camera.height)
    count = len(truth.objects)
    # row 0: nothing there; the last row: unclear
    kind, colour, size = (np.zeros(count + 2, np.int64) for _ in range(3))
    box = np.zeros((count + 2, 4), np.float32)
    joints = np.zeros((count + 2, JOINTS, 3), np.float32)
    kind[-1] = colour[-1] = size[-1] = colour[0] = size[0] = -1
    for i, thing in enumerate(truth.objects, start=1):
        kind[i] = 1 + KINDS.index(thing.kind)
        colour[i] = COLOURS.index(thing.colour)
        size[i] = SIZES.index(thing.size) if thing.size else -1
        box[i, :2] = letterbox.to_square(*thing.box[:2])
        box[i, 2:] = letterbox.to_square(*thing.box[2:])
        if thing.keypoints is not None:
            for j, (x, y, v) in enumerate(thing.keypoints):
                if v > 0:
                    joints[i, j] = (*letterbox.to_square(float(x), float(y)), v)
    flat = owners.reshape(-1)
    flat = np.where(flat == UNCLEAR, count + 1, flat)
    return kind[flat], colour[flat], size[flat], box[flat], joints[flat]


def patch_at(place: Letterbox, grid: int, x: float, y: float) -> int:
    """Index of the patch at a pixel, counted row by row."""
    column, row = (
        min(grid - 1, max(0, int(f * grid))) for f in place.to_square(float(x), float(y))
    )
    return row * grid + column


def anchor_shares(truth: Observation, owners: np.ndarray) -> np.ndarray:
    """How much each patch stands for its thing: [P] float32, the patches of a thing sum to one.

    Nearness to the thing's middle, so that a sum over patches counts things, and that a thing
    between two patches is half in each rather than wholly in one of them by a hair.
    """
    grid = owners.shape[0]
    place = Letterbox.of(truth.camera.width, truth.camera.height)
    shares = np.zeros(owners.shape, np.float32)
    for number, thing in enumerate(truth.objects, start=1):
        rows, columns = np.nonzero(owners == number)
        if not len(rows):
            continue
        u, v = place.to_square(*map(float, thing.centre))
        distance = np.hypot((columns + 0.5) - u * grid, (rows + 0.5) - v * grid)
        near = np.exp((distance.min() ** 2 - distance**2) / (2 * recipe.ANCHOR_SPREAD**2))
        shares[rows, columns] = near / near.sum()
    return shares.reshape(-1)
