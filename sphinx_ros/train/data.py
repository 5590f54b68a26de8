"""Shards of scenes to training batches: pictures, patch targets, packed question turns.

Several turns share one picture: behind the common prefix (BOS, image, system text) each turn sees
the prefix and itself only, and its positions go on from the prefix. So a packed turn is exactly a
single question at inference. Knows the tokenizer and the tasks, not the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from sphinx_ros.image.letterbox import Letterbox, pad_to_square
from sphinx_ros.prompt.prefix import question_prefix
from sphinx_ros.prompt.templates import END_SIGNAL, conversation
from sphinx_ros.train import recipe
from sphinx_ros.train.render import SHARD, read_shard
from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world.tasks import turns
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES, Observation

MIRRORED = [
    COCO_KEYPOINTS.index(n.replace("left", "#").replace("right", "left").replace("#", "right"))
    for n in COCO_KEYPOINTS
]
"""Index of each joint's counterpart on the other side of the body."""


class Scenes:
    """All shards in a folder; shards that are written meanwhile are taken up."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    @property
    def shards(self) -> list[Path]:
        """The shards on disk now."""
        return sorted(self.folder.glob("scenes_*.pickle"))

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
                if rng.random() < 0.6:
                    scene = cropped(scene, rng)
                yield mirrored(scene) if rng.random() < 0.5 else scene


def cropped(scene: Observation, rng: np.random.Generator) -> Observation:
    """A part of the picture that still holds all objects: other places, sizes, aspect ratios."""
    camera = scene.camera
    boxes = np.array([thing.box for thing in scene.objects])
    keep = np.array([*boxes[:, :2].min(0), *boxes[:, 2:].max(0)])  # x0, y0, x1, y1
    room = np.array([keep[0], keep[1], camera.width - keep[2], camera.height - keep[3]])
    x0, y0, right, below = (rng.random(4) * room * rng.uniform(0.3, 1.0)).astype(int)
    x1, y1 = camera.width - right, camera.height - below
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
    camera = replace(camera, width=int(x1 - x0), height=int(y1 - y0), cx=camera.cx - x0,
                     cy=camera.cy - y0)  # fmt: skip
    return replace(scene, rgb=scene.rgb[window], segmentation=scene.segmentation[window],
                   objects=tuple(objects), camera=camera)  # fmt: skip


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
            replace(thing, box=(width - x1, y0, width - x0, y1), keypoints=points,
                    position=(-x, y, z))  # fmt: skip
        )
    camera = replace(scene.camera, cx=width - scene.camera.cx)
    return replace(scene, rgb=scene.rgb[:, ::-1], segmentation=scene.segmentation[:, ::-1],
                   objects=tuple(objects), camera=camera)  # fmt: skip


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


@dataclass
class Batch:
    """pictures [B, 3, v, v] float (CLIP-normalised); owner-wise targets; the packed text.

    kind [B, P] (0 none, -1 unclear, else 1 + index in KINDS), colour, size [B, P] (-1 = not
    asked), box [B, P, 4] and joints [B, P, 17, 3] (x, y, v) in fractions of the square;
    tokens, labels [B, T], weight [B, T] (0 = no loss), turn [B, T] (0 = prefix, n = n-th turn,
    -1 = padding), position [B, T] counted in text tokens.
    """

    pictures: torch.Tensor
    kind: torch.Tensor
    colour: torch.Tensor
    size: torch.Tensor
    box: torch.Tensor
    joints: torch.Tensor
    tokens: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    turn: torch.Tensor | None = None
    position: torch.Tensor | None = None


def patch_targets(owners: np.ndarray, truth: Observation):
    """Per patch (row by row) what its owner is: kind, colour, size, box, joints."""
    letterbox = Letterbox.of(truth.camera.width, truth.camera.height)
    count = len(truth.objects)
    # row 0: nothing there; the last row: unclear
    kind, colour, size = (np.zeros(count + 2, np.int64) for _ in range(3))
    box = np.zeros((count + 2, 4), np.float32)
    joints = np.zeros((count + 2, 17, 3), np.float32)
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


def picture_tensor(pictures: np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
    """uint8 [B, v, v, 3] to CLIP-normalised [B, 3, v, v]; with rng, exposure varies a little."""
    from sphinx_ros.model.views import CLIP_MEAN, CLIP_STD

    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(255)
    if rng is not None:
        gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(x), 1, 1, 1)).astype(np.float32))
        tint = torch.from_numpy(rng.uniform(0.96, 1.04, (len(x), 3, 1, 1)).astype(np.float32))
        x = (x * gain * tint).clamp_(0, 1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (x - mean) / std


class Packer:
    """Turns of a scene to one packed row of tokens."""

    def __init__(self, tokenizer, text_tokens: int):
        self.tokenizer, self.length = tokenizer, text_tokens
        self.prefix = question_prefix(tokenizer)
        digits = {tokenizer.encode_wo_prefix_space(str(d))[-1] for d in range(10)}
        self.digits = np.array(sorted(digits))

    def turn(self, item) -> tuple[list[int], np.ndarray]:
        """Ids after the prefix, and the loss weight of each."""
        open_text = conversation([(item.question, None)])
        prompt = self.tokenizer.encode(open_text, True, False)
        full = self.tokenizer.encode(f"{open_text} {item.answer}{END_SIGNAL}", True, False)
        if full[: len(prompt)] != prompt or prompt[: len(self.prefix)] != self.prefix:
            raise ValueError(f"prompt and answer share a token: {item.question!r} {item.answer!r}")
        ids = full[len(self.prefix) :]
        weight = np.zeros(len(ids), np.float32)
        begin = len(prompt) - len(self.prefix)
        weight[begin:] = recipe.TASK_WEIGHT.get(item.kind, 1.0)
        is_digit = np.isin(ids, self.digits)
        third = np.zeros(len(ids), bool)
        third[2:] = is_digit[2:] & is_digit[1:-1] & is_digit[:-2]
        weight[third & (weight > 0)] *= recipe.LAST_DIGIT_WEIGHT
        return ids, weight

    def row(self, truth: Observation, rng: np.random.Generator):
        """(tokens, weight, turn, position), each [T]: prefix, then as many turns as fit."""
        total = len(self.prefix) + self.length
        tokens = np.zeros(total, np.int64)
        weight = np.zeros(total, np.float32)
        turn = np.full(total, -1, np.int64)
        position = np.zeros(total, np.int64)
        at = len(self.prefix)
        tokens[:at], turn[:at], position[:at] = self.prefix, 0, np.arange(at)
        for number, item in enumerate(turns(truth, rng), start=1):
            ids, w = self.turn(item)
            if at + len(ids) > total:
                continue
            span = slice(at, at + len(ids))
            tokens[span], weight[span], turn[span] = ids, w, number
            position[span] = len(self.prefix) + np.arange(len(ids))
            at += len(ids)
        return tokens, weight, turn, position


def batches(config, scenes: Scenes, size: int, packer: Packer | None, rng: np.random.Generator):
    """Endless batches; without a packer only the pictures and the patch targets."""
    view, grid = config.image_size, config.patch_grid
    source = scenes.stream(rng)
    while True:
        rows = [next(source) for _ in range(size)]
        pictures = [square_picture(row.rgb, view) for row in rows]
        targets = [patch_targets(patch_owners(row, grid), row) for row in rows]
        fields = [torch.from_numpy(np.stack(t)) for t in zip(*targets, strict=True)]
        batch = Batch(picture_tensor(np.stack(pictures), rng), *fields)
        if packer is not None:
            packed = [packer.row(row, rng) for row in rows]
            batch.tokens, batch.weight, batch.turn, batch.position = (
                torch.from_numpy(np.stack(p)) for p in zip(*packed, strict=True)
            )
        yield batch


def square_picture(rgb: np.ndarray, view: int) -> np.ndarray:
    """RGB [H, W, 3] to the padded square [view, view, 3] uint8, as at inference."""
    from PIL import Image

    square = Image.fromarray(pad_to_square(np.ascontiguousarray(rgb)))
    return np.asarray(square.resize((view, view), Image.Resampling.BICUBIC))
