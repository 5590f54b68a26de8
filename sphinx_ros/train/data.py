"""Scenes -> training batches: pictures, patch targets, packed question turns.

Several turns share one picture: behind the common prefix (BOS, image, system text) each turn sees
the prefix and itself only, and its positions go on from the prefix. So a packed turn is exactly a
single question at inference. Knows no network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from sphinx_ros.engine.prefix import question_prefix
from sphinx_ros.image.shrink import shrunk_square
from sphinx_ros.model.config import CLIP_MEAN, CLIP_STD, ModelConfig
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.train import recipe
from sphinx_ros.train.looking import Gaze, Target, Targets
from sphinx_ros.train.stream import Scenes
from sphinx_ros.train.targets import (
    anchor_shares,
    cell_targets,
    joint_points,
    patch_owners,
    patch_targets,
)
from sphinx_ros.world.exercises import turns
from sphinx_ros.world.truth import Observation
from sphinx_ros.world.turn import Turn

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


class Row(NamedTuple):
    """The turns of one scene, packed: tokens, weight, turn, position as in `Batch`, each [T].

    question_targets, answer_targets: attention targets. coordinates: (column, value) of each.
    """

    tokens: np.ndarray
    weight: np.ndarray
    turn: np.ndarray
    position: np.ndarray
    question_targets: list[Target]
    answer_targets: list[Target]
    coordinates: list[tuple[int, float]]


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


class Packer:
    """Turns of a scene -> one packed row of tokens.

    tokenizer: of the checkpoint. text_tokens: room for turns behind the common prefix.
    """

    def __init__(self, tokenizer: Tokenizer, text_tokens: int):
        self.tokenizer, self.length = tokenizer, text_tokens
        self.pose_first = recipe.POSE_FIRST_SHARE
        self.prefix = question_prefix(tokenizer)
        digits = {tokenizer.encode_wo_prefix_space(str(d))[-1] for d in range(10)}
        self.digits = np.array(sorted(digits))
        pieces = map(tokenizer.piece, range(tokenizer.n_words))
        self.pieces = [piece.replace("\u2581", " ") for piece in pieces]

    def turn(self, item: Turn) -> tuple[list[int], np.ndarray]:
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

    def row(self, truth: Observation, owners: np.ndarray, rng: np.random.Generator) -> Row:
        """The prefix, then as many turns about the scene as fit. owners: its patch owners."""
        at = len(self.prefix)
        row, gaze = self._empty(at + self.length), Gaze(truth, owners)
        row.tokens[:at], row.turn[:at], row.position[:at] = self.prefix, 0, np.arange(at)
        for number, item in enumerate(self._order(turns(truth, rng), rng), start=1):
            ids, weight = self.turn(item)
            if at + len(ids) > len(row.tokens):
                continue
            span = slice(at, at + len(ids))
            row.tokens[span], row.weight[span], row.turn[span] = ids, weight, number
            row.position[span] = len(self.prefix) + np.arange(len(ids))
            pieces = [self.pieces[i] for i in ids]
            begin = int((weight > 0).argmax())
            asked = gaze.question(item, pieces[:begin])
            row.question_targets.extend(replace(target, at=at + target.at) for target in asked)
            # a token is written by the one before it, which therefore has to look
            before = at + begin - 1
            seen = gaze.answer(item, pieces[begin:])
            row.answer_targets.extend(replace(target, at=before + target.at) for target in seen)
            row.coordinates.extend((before + i, v) for i, v in coordinates(pieces[begin:]))
            at += len(ids)
        return row

    def _order(self, asked: list[Turn], rng: np.random.Generator) -> list[Turn]:
        """The turns in any order: those that do not fit must not always be of the same kinds."""
        asked = [asked[i] for i in rng.permutation(len(asked))]
        if rng.random() < self.pose_first:
            asked.sort(key=lambda item: item.kind != "pose")
        return asked

    @staticmethod
    def _empty(length: int) -> Row:
        """A row of padding."""
        zeros = np.zeros(length, np.int64)
        weight, turn = np.zeros(length, np.float32), np.full(length, -1, np.int64)
        return Row(zeros, weight, turn, zeros.copy(), [], [], [])


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


def coordinates(pieces: list[str]) -> list[tuple[int, float]]:
    """(place, value) of the first two digits of each coordinate "0.ddd" among the pieces."""
    out = []
    for at, piece in enumerate(pieces):
        if piece.endswith("0."):
            digits = "".join(itertools.takewhile(str.isdigit, pieces[at + 1 : at + 4]))
            value = int(digits or 0) / 10 ** len(digits)
            out += [(at + 1 + i, value) for i in range(min(2, len(digits)))]
    return out


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
