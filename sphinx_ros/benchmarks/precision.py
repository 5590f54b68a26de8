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

    true: how many things were to be found, crowds aside. interval95: of "ap", over redrawn
    pictures; NaN where it was not asked for.
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
    numbers = _Numbers.of(asked, pose)
    truth, found = _truth(asked, pose, unasked, numbers), _found(asked, pose, constant, numbers)
    names, true = POSE_NAMES if pose else BOX_NAMES, sum(map(_counts, truth["annotations"]))
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


@dataclass(frozen=True)
class _Numbers:
    """Of pictures and of categories as the library wants them, in the order of their names."""

    images: Mapping[Any, int]
    categories: Mapping[Any, int]

    @classmethod
    def of(cls, asked: Asked, pose: bool) -> _Numbers:
        """The numbers of what samples are about. pose: all people are of one category."""
        images = {sample.more["image"] for sample, _ in asked}
        if pose:
            return cls(_counted(images), {})
        kinds = {sample.more["category"] for sample, _ in asked}
        kinds |= {row[0] for sample, _ in asked for row in sample.more.get("unasked", ())}
        return cls(_counted(images), _counted(kinds))

    def category(self, sample: Sample) -> int:
        """That of what a sample asks for; all people are of one."""
        return self.categories[sample.more["category"]] if self.categories else 1


def _counted(names: set[Any]) -> dict[Any, int]:
    return {name: number for number, name in enumerate(sorted(names), 1)}


def _counts(row: Mapping[str, Any]) -> bool:
    """Whether a true thing is to be found."""
    return not row["iscrowd"] and row.get("num_keypoints", 1) > 0


def _truth(asked: Asked, pose: bool, unasked: bool, numbers: _Numbers) -> dict[str, Any]:
    """What is true, in COCO's form."""
    images: dict[int, dict[str, Any]] = {}
    names: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    for sample, _ in asked:
        more, image = sample.more, numbers.images[sample.more["image"]]
        width, height = more["size"]
        if unasked and image not in images:
            for other, (x0, y0, x1, y1), area, _ in more.get("unasked", ()):
                kind = numbers.categories[other]
                names.setdefault(kind, "")
                row = {"id": len(rows) + 1, "image_id": image, "category_id": kind,
                       "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area, "iscrowd": 0}  # fmt: skip
                rows.append(row)
        images[image] = {"id": image, "width": width, "height": height}
        category = numbers.category(sample)
        names[category] = sample.text
        for number, (x0, y0, x1, y1) in enumerate(sample.boxes):
            row = {
                "id": len(rows) + 1,
                "image_id": image,
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


def _found(asked: Asked, pose: bool, constant: bool, numbers: _Numbers) -> list[dict[str, Any]]:
    """What was answered, in COCO's form. An unknown score is the lowest."""
    rows = []
    for sample, answer in asked:
        image = numbers.images[sample.more["image"]]
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
                    "category_id": numbers.category(sample),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": 1.0 if constant else known or 0.0,
                }
            )
    return rows
