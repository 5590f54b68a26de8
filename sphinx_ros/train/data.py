"""Scenes -> training batches: pictures, patch targets, packed question turns. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from sphinx_ros.image.shrink import shrunk_square
from sphinx_ros.model.config import CLIP_MEAN, CLIP_STD, ModelConfig
from sphinx_ros.train import recipe
from sphinx_ros.train.looking import Targets
from sphinx_ros.train.packing import Packer, Row
from sphinx_ros.train.stream import Scenes
from sphinx_ros.train.targets import (
    anchor_shares,
    cell_targets,
    joint_points,
    patch_owners,
    patch_targets,
)

FINER = 2
"""Cells of the fine grid per patch and side: the ConvNeXt's last but one stage has these."""

TARGETS = ("kind", "colour", "size", "box", "joints", "anchor", "fine_kind", "fine_colour")
"""Fields of a `Batch`, in the order of patch_targets, anchor_shares and cell_targets."""


@dataclass
class Batch:
    """Some scenes as tensors; places are fractions of the padded square.

    pictures [B, 3, v, v] float, CLIP-normalised. owner [B, P]: whose patch it is (1 + index of a
    thing, 0 nobody's, 255 unclear). What that thing is: kind [B, P] (0 none, -1 unclear, else 1 +
    index in KINDS), colour, size [B, P] (-1 = not asked), box [B, P, 4], joints [B, P, 17, 3] (x,
    y, v), anchor [B, P] (how much the patch stands for its thing; a thing's patches sum to 1).
    What shows at the middle of the cells of a grid twice as fine: fine_kind, fine_colour [B, 4 P].
    points: (index [M, 2] (picture, joint), place [M, 2]) of all known joints.
    The packed text: tokens [B, T], weight [B, T] (0 = no loss), turn [B, T] (0 = prefix, n = n-th
    turn, -1 = padding), position [B, T] counted in text tokens.
    question_targets, answer_targets: attention targets of the questions' words and of the answers.
    coordinates: (index [M, 2] (row, column), value [M]) of the coordinates that are about to be
    written. Columns are counted in text tokens.
    """

    pictures: torch.Tensor
    owner: torch.Tensor
    kind: torch.Tensor
    colour: torch.Tensor
    size: torch.Tensor
    box: torch.Tensor
    joints: torch.Tensor
    anchor: torch.Tensor
    fine_kind: torch.Tensor
    fine_colour: torch.Tensor
    points: tuple[torch.Tensor, torch.Tensor]
    tokens: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    turn: torch.Tensor | None = None
    position: torch.Tensor | None = None
    question_targets: Targets | None = None
    answer_targets: Targets | None = None
    coordinates: tuple[torch.Tensor, torch.Tensor] | None = None


def picture_tensor(pictures: np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
    """uint8 [B, v, v, 3] to CLIP-normalised [B, 3, v, v]; with rng, exposure varies a little."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(255)
    if rng is not None:
        gain = torch.from_numpy(
            rng.uniform(*recipe.EXPOSURE, (len(x), 1, 1, 1)).astype(np.float32)
        )
        tint = torch.from_numpy(rng.uniform(*recipe.TINT, (len(x), 3, 1, 1)).astype(np.float32))
        x = (x * gain * tint).clamp_(0, 1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (x - mean) / std


def batches(
    config: ModelConfig,
    scenes: Scenes,
    size: int,
    packer: Packer | None,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """Endless batches; without a packer only the pictures and the patch targets."""
    view, grid = config.image_size, config.patch_grid
    source = scenes.stream(rng)
    while True:
        rows = [next(source) for _ in range(size)]
        pictures = [shrunk_square(row.rgb, view) for row in rows]
        owners = [patch_owners(row, grid) for row in rows]
        targets = [patch_targets(own, row) for own, row in zip(owners, rows, strict=True)]
        shares = [anchor_shares(row, own) for own, row in zip(owners, rows, strict=True)]
        fine = [cell_targets(row, FINER * grid) for row in rows]
        columns = (*zip(*targets, strict=True), shares, *zip(*fine, strict=True))
        fields = {
            name: torch.from_numpy(np.stack(column))
            for name, column in zip(TARGETS, columns, strict=True)
        }
        batch = Batch(
            pictures=picture_tensor(np.stack(pictures), rng),
            owner=torch.from_numpy(np.stack(owners)).flatten(1).long(),
            points=point_tensors([joint_points(row) for row in rows]),
            **fields,
        )
        if packer is not None:
            packed = [packer.row(row, own, rng) for row, own in zip(rows, owners, strict=True)]
            batch = replace(batch, **packed_fields(packed))
        yield batch


def packed_fields(rows: list[Row]) -> dict:
    """The packed text of a batch, by the names of its fields."""
    columns = {
        name: np.stack([getattr(row, name) for row in rows])
        for name in ("tokens", "weight", "turn", "position")
    }
    return {
        **{name: torch.from_numpy(column) for name, column in columns.items()},
        "question_targets": Targets.of([row.question_targets for row in rows]),
        "answer_targets": Targets.of([row.answer_targets for row in rows]),
        "coordinates": coordinate_tensors([row.coordinates for row in rows]),
    }


def point_tensors(
    points: list[list[tuple[int, float, float]]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """(joint, x, y) of each picture of a batch to index [M, 2] (picture, joint), place [M, 2]."""
    index = [(b, joint) for b, row in enumerate(points) for joint, _, _ in row]
    places = [(x, y) for row in points for _, x, y in row]
    return (
        torch.tensor(index, dtype=torch.long).reshape(-1, 2),
        torch.tensor(places, dtype=torch.float32).reshape(-1, 2),
    )


def coordinate_tensors(
    rows: list[list[tuple[int, float]]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """(column, value) of each row of a batch to index [M, 2] (row, column) and values [M]."""
    index = [(b, column) for b, row in enumerate(rows) for column, _ in row]
    values = [value for row in rows for _, value in row]
    return torch.tensor(index, dtype=torch.long).reshape(-1, 2), torch.tensor(values)
