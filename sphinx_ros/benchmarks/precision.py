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
from typing import Any

import numpy as np

from sphinx_ros.benchmarks.samples import Family, Sample
from sphinx_ros.errors import BadRequest
from sphinx_ros.types import COCO_KEYPOINTS

BOX_NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
POSE_NAMES = ("ap", "ap50", "ap75", "ap_medium", "ap_large")

Asked = Sequence[tuple[Sample, Mapping[str, Any]]]
"""Samples with their answers, as a run writes them."""


def average_precision(asked: Asked, constant: bool = False) -> dict[str, float]:
    """AP and its relatives, 0..1; NaN where nothing true is of that size.

    constant: give all answers the score 1.

    Raises:
        BadRequest: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        raise BadRequest(
            "average precision is computed by faster-coco-eval, which is not installed: pip "
            'install "sphinx_ros[eval]"'
        ) from None
    pose = asked[0][0].family is Family.POSE
    truth, found = _truth(asked, pose), _found(asked, pose, constant)
    names = POSE_NAMES if pose else BOX_NAMES
    if not truth["annotations"]:
        return dict.fromkeys(names, math.nan)
    if not found:
        return dict.fromkeys(names, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        judged = COCOeval_faster(
            known, known.loadRes(found), "keypoints" if pose else "bbox", print_function=_quiet
        )
        judged.run()
    values = [float(value) for value in judged.stats[: len(names)]]
    return {
        name: math.nan if value < 0 else value for name, value in zip(names, values, strict=True)
    }


def _quiet(*_: object) -> None:
    """Print nothing."""


def _truth(asked: Asked, pose: bool) -> dict[str, Any]:
    """What is true, in COCO's form."""
    images: dict[int, dict[str, Any]] = {}
    names: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    for sample, _ in asked:
        more = sample.more
        width, height = more["size"]
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


def f1_of(asked: Asked) -> tuple[float, int]:
    """(F1 of all boxes at an IoU of 0.5, true boxes); each true box is found once at most."""
    from sphinx_ros.evaluate.metrics import match

    total = np.zeros(3)
    for sample, answer in asked:
        true = [("", box) for box in sample.boxes]
        total += match([("", box) for box in answer["boxes"]], true)
    hits, false, missed = total
    whole = 2 * hits + false + missed
    return (float(2 * hits / whole) if whole else math.nan), int(hits + missed)
