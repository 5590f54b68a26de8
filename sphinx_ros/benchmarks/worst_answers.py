"""The worst answers of a run -> one picture of them, with what is true in it. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from sphinx_ros.benchmarks.samples import Family, Sample
from sphinx_ros.benchmarks.word_scores import exact, vqa_score, yes_or_no
from sphinx_ros.draw import draw, side_by_side
from sphinx_ros.errors import SphinxError
from sphinx_ros.image.formats import decode_file
from sphinx_ros.prompt.wording import LETTERS, chosen
from sphinx_ros.types import COCO_KEYPOINTS, Detection, Keypoint, Pose, iou

COLUMNS, WIDTH = 4, 360
TRUE, ANSWER = "true", "answer"

Asked = Sequence[tuple[Sample, Mapping[str, Any]]]


def rightness(sample: Sample, answer: Mapping[str, Any]) -> float:
    """How right an answer is, 0..1, for the order in which people look at them."""
    if sample.family is Family.VQA:
        return vqa_score(answer["text"], sample.answers)
    if sample.family is Family.CHOICE:
        number = chosen(answer["text"], sample.choices)
        return float(number is not None and LETTERS[number] == sample.answers[0])
    if sample.family in (Family.YES_NO, Family.PAIRS):
        return float(yes_or_no(answer["text"]) == sample.answers[0])
    if sample.family is Family.EXACT:
        return float(any(exact(answer["text"], one) for one in sample.answers))
    true = sample.sought
    if sample.family is Family.POSE:
        missed = abs(len(answer.get("poses", ())) - len(true))
        return 1 / (1 + missed)
    found = answer["boxes"]
    if not found or not true:
        return float(not found and not true)
    best = sum(max(iou(one, other) for other in found) for one in true) / len(true)
    return best * min(1.0, len(true) / len(found))


def worst(asked: Asked, number: int) -> list[tuple[Sample, Mapping[str, Any]]]:
    """So many answers that are not right, the least right first; of equals the surest, then by id.

    Those that were refused are left out.
    """
    known = [(s, a) for s, a in asked if not a.get("refused")]
    order = sorted(
        ((rightness(s, a), -_sure(a), s.name, n) for n, (s, a) in enumerate(known)),
    )
    return [known[n] for right, _, _, n in order[:number] if right < 0.999]


def _sure(answer: Mapping[str, Any]) -> float:
    scores = [one for one in answer.get("scores", ()) if one is not None]
    return max(scores, default=answer.get("score") or 0.0)


def contact_sheet(asked: Asked) -> np.ndarray | None:
    """[H, W, 3] uint8: each with its truth and its answer; None where nothing is shown."""
    tiles = [tile for sample, answer in asked if (tile := _tile(sample, answer)) is not None]
    return side_by_side(tiles, COLUMNS) if tiles else None


def _tile(sample: Sample, answer: Mapping[str, Any]) -> np.ndarray | None:
    try:
        rgb = decode_file(sample.picture.read())
    except SphinxError:
        return None
    scale = WIDTH / rgb.shape[1]
    shape = (WIDTH, max(1, round(rgb.shape[0] * scale)))
    small = cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA)
    boxes = [_box(TRUE, box, scale) for box in sample.boxes]
    boxes += [_box(ANSWER, box, scale) for box in answer["boxes"]]
    poses = [_pose(one["joints"], scale) for one in answer.get("poses", ())]
    truth = ", ".join(dict.fromkeys(sample.answers)) if sample.answers else ""
    lines = [f"{sample.dataset} {sample.id}: {sample.text}"]
    if truth:
        lines.append(f"true: {truth}")
    if answer["boxes"]:
        lines.append(f"overlap {rightness(sample, answer):.2f}")
    else:
        lines.append(f"answer: {answer['text'] or answer['status']}")
    return draw(small, boxes, poses, lines, scale=0.5)


def _box(label: str, box: Sequence[float], scale: float) -> Detection:
    x0, y0, x1, y1 = (value * scale for value in box)
    return Detection(label, (x0, y0, x1, y1))


def _pose(joints: Sequence[Sequence[float | None]], scale: float) -> Pose:
    nan = float("nan")
    named = zip(COCO_KEYPOINTS, joints, strict=True)
    return Pose(
        tuple(
            Keypoint(name, nan if x is None else x * scale, nan if y is None else y * scale)
            for name, (x, y) in named
        )
    )
