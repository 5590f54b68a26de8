"""Boxes and poses of answers, and the true ones -> shares of what was found, without any score.

Crowds are not to be found, and what was found in them is neither right nor wrong, as COCO has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sphinx_ros.benchmarks.intervals import interval95
from sphinx_ros.benchmarks.samples import Sample
from sphinx_ros.evaluate.metrics import FOUND_IOU, near_places, paired

Asked = Sequence[tuple[Sample, Mapping[str, Any]]]
"""Samples with their answers, as a run writes them."""


def f1_of(asked: Asked) -> tuple[float, int, float, float]:
    """F1 of all boxes at an IoU of 0.5, true boxes, 95 % interval by pictures.

    Each true box is found once at most.
    """
    counts = np.array([_hits_false_missed(sample, answer["boxes"]) for sample, answer in asked])
    hits, whole = 2 * counts[:, 0], counts @ (2, 1, 1)
    value = float(hits.sum() / whole.sum()) if whole.any() else math.nan
    pictures = [sample.picture.key for sample, _ in asked]
    return value, sum(len(s.sought) for s, _ in asked), *interval95(hits, pictures, whole)


def _hits_false_missed(sample: Sample, boxes: Sequence[Sequence[float]]) -> tuple[int, int, int]:
    sought = sample.sought
    pairs = paired([("", box) for box in boxes], [("", box) for box in sought])
    right = {number for _, number, _ in pairs}
    false = [
        box
        for number, box in enumerate(boxes)
        if number not in right and not any(_inside(box, one) >= FOUND_IOU for one in sample.crowds)
    ]
    return len(pairs), len(false), len(sought) - len(pairs)


def _inside(box: Sequence[float], crowd: Sequence[float]) -> float:
    """Share of a box that lies in a crowd: what COCO takes for their overlap."""
    wide = min(box[2], crowd[2]) - max(box[0], crowd[0])
    high = min(box[3], crowd[3]) - max(box[1], crowd[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(wide, 0.0) * max(high, 0.0) / area if area > 0 else 0.0


def pck_of(asked: Asked) -> tuple[float, int, float, float]:
    """Share of labelled joints that the best pose is near to, their number, 95 % interval.

    As `sphinx-ros eval world` counts: near is within a tenth of the person's box (its longer
    side); crowds are left out. Each person has the pose that is near to most of its joints, and
    no two have the same.
    """
    near, known = np.zeros(len(asked)), np.zeros(len(asked))
    for row, (sample, answer) in enumerate(asked):
        poses = [np.array(one["joints"], float) for one in answer.get("poses", ())]
        grid = []
        for joints, box, crowd in zip(
            sample.more["keypoints"], sample.boxes, sample.more["crowd"], strict=True
        ):
            if not crowd:
                places = np.array(joints, float).reshape(-1, 3)
                known[row] += (places[:, 2] > 0).sum()
                grid.append([(near_places(p, places[:, :2], box) & (places[:, 2] > 0)).sum()
                             for p in poses])  # fmt: skip
        near[row] = _most(np.array(grid).reshape(len(grid), len(poses)))
    value = float(near.sum() / known.sum()) if known.any() else math.nan
    pictures = [sample.picture.key for sample, _ in asked]
    return value, int(known.sum()), *interval95(near, pictures, known)


def _most(grid: np.ndarray) -> float:
    """Sum of the largest entries, each row and column once, the largest first."""
    total, grid = 0.0, grid.astype(float)
    while grid.size and grid.max() > 0:
        row, column = np.unravel_index(grid.argmax(), grid.shape)
        total += grid[row, column]
        grid = np.delete(np.delete(grid, row, 0), column, 1)
    return total
