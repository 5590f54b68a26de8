"""Boxes and poses of answers, and the true ones -> average precision by COCO's rules.

faster-coco-eval computes it (extra `eval`), as pycocotools would; it is imported when needed.
Scores decide the order in which answers count; with one constant for all of them the precision
has a single point, which is what is published for most language models.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sphinx_ros.benchmarks.intervals import interval95
from sphinx_ros.benchmarks.precision_interval import ap_interval
from sphinx_ros.benchmarks.samples import Family, Sample
from sphinx_ros.runtime.extras import extra
from sphinx_ros.types import COCO_KEYPOINTS

BOX_NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
POSE_NAMES = ("ap", "ap50", "ap75", "ap_medium", "ap_large")

Asked = Sequence[tuple[Sample, Mapping[str, Any]]]
"""Samples with their answers, as a run writes them."""


@dataclass(frozen=True)
class Precision:
    """AP and its relatives, 0..1; NaN where nothing true is of that size.

    true: how many things were to be found. interval95: of "ap", over redrawn pictures; NaN where
    it was not asked for.
    """

    values: Mapping[str, float]
    true: int
    interval95: tuple[float, float] = (math.nan, math.nan)


def average_precision(
    asked: Asked, constant: bool = False, unasked: bool = False, interval: bool = False
) -> Precision:
    """Average precision of all answers.

    constant: give all the score 1. unasked: count what is true of sentences that were not asked
    as well, which D3's own evaluation does. interval: tell that of AP.

    Raises:
        BadRequest: faster-coco-eval is not installed.
    """
    with extra("eval", "average precision"):
        from faster_coco_eval import COCO, COCOeval_faster

    pose = asked[0][0].family is Family.POSE
    truth, found = _truth(asked, pose, unasked), _found(asked, pose, constant)
    names, true = POSE_NAMES if pose else BOX_NAMES, len(truth["annotations"])
    if not true:
        return Precision(dict.fromkeys(names, math.nan), 0)
    if not found:
        return Precision(dict.fromkeys(names, 0.0), true, (0.0, 0.0) if interval else _UNKNOWN)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        judged = COCOeval_faster(
            known, known.loadRes(found), "keypoints" if pose else "bbox", print_function=_quiet
        )
        judged.run()
    stats = [float(value) for value in judged.stats[: len(names)]]
    values = {
        name: math.nan if value < 0 else value for name, value in zip(names, stats, strict=True)
    }
    return Precision(values, true, ap_interval(judged) if interval else _UNKNOWN)


_UNKNOWN = (math.nan, math.nan)


def _quiet(*_: object) -> None:
    """Print nothing."""


def _truth(asked: Asked, pose: bool, unasked: bool) -> dict[str, Any]:
    """What is true, in COCO's form."""
    images: dict[int, dict[str, Any]] = {}
    names: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    for sample, _ in asked:
        more = sample.more
        width, height = more["size"]
        if unasked and more["image"] not in images:
            for other, (x0, y0, x1, y1), area, _ in more.get("unasked", ()):
                names.setdefault(other, "")
                row = {"id": len(rows) + 1, "image_id": more["image"], "category_id": other,
                       "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area, "iscrowd": 0}  # fmt: skip
                rows.append(row)
        images[more["image"]] = {"id": more["image"], "width": width, "height": height}
        category = 1 if pose else more["category"]
        names[category] = sample.text
        for number, (x0, y0, x1, y1) in enumerate(sample.boxes):
            row = {
                "id": len(rows) + 1,
                "image_id": more["image"],
                "category_id": category,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": more["area"][number],
                "iscrowd": more["crowd"][number],
            }
            if pose:
                joints = more["keypoints"][number]
                row |= {"keypoints": joints, "num_keypoints": sum(v > 0 for v in joints[2::3])}
            rows.append(row)
    categories: list[dict[str, Any]] = [{"id": id, "name": n} for id, n in names.items()]
    if pose:
        for one in categories:
            one |= {"keypoints": list(COCO_KEYPOINTS), "skeleton": []}
    return {"images": list(images.values()), "annotations": rows, "categories": categories}


def _found(asked: Asked, pose: bool, constant: bool) -> list[dict[str, Any]]:
    """What was answered, in COCO's form. An unknown score is the lowest."""
    rows = []
    for sample, answer in asked:
        image = sample.more["image"]
        if pose:
            for one in answer.get("poses", ()):
                joints = [
                    value
                    for x, y in one["joints"]
                    for value in ((0.0, 0.0, 0.0) if x is None else (x, y, 1.0))
                ]
                score = 1.0 if constant else one["score"] or 0.0
                rows.append(
                    {"image_id": image, "category_id": 1, "keypoints": joints, "score": score}
                )
            continue
        for (x0, y0, x1, y1), known in zip(answer["boxes"], answer["scores"], strict=False):
            rows.append(
                {
                    "image_id": image,
                    "category_id": sample.more["category"],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": 1.0 if constant else known or 0.0,
                }
            )
    return rows


def f1_of(asked: Asked) -> tuple[float, int, float, float]:
    """F1 of all boxes at an IoU of 0.5, true boxes, 95 % interval by pictures.

    Each true box is found once at most.
    """
    from sphinx_ros.evaluate.metrics import match

    counts = np.array(
        [
            match([("", box) for box in answer["boxes"]], [("", box) for box in sample.boxes])
            for sample, answer in asked
        ]
    )
    hits, whole = 2 * counts[:, 0], counts @ (2, 1, 1)
    value = float(hits.sum() / whole.sum()) if whole.any() else math.nan
    pictures = [sample.picture.key for sample, _ in asked]
    return value, sum(len(s.boxes) for s, _ in asked), *interval95(hits, pictures, whole)


def pck_of(asked: Asked) -> tuple[float, int, float, float]:
    """Share of labelled joints that the best pose is near to, their number, 95 % interval.

    As `sphinx-ros eval world` counts: near is within a tenth of the person's box (its longer
    side); crowds are left out. Each person has the pose that is near to most of its joints, and
    no two have the same.
    """
    from sphinx_ros.evaluate.metrics import near_places

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
