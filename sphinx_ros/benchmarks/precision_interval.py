"""What faster-coco-eval compared -> the 95 % interval of AP over redrawn pictures.

The library gives AP and the overlaps that it is made of, and does not tell which answers it took
for right; so they are matched here once by the same rules, and added up again for each draw. With
every picture once that is the library's own AP (tests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sphinx_ros.benchmarks.intervals import between, drawn_times

DRAWS = 300
"""Of AP: each takes as long as adding up all answers."""


@dataclass(frozen=True)
class Category:
    """Answers of a category by falling score, N, at T thresholds of overlap.

    right, counted: [T, N] bool. picture: [N], which one each is about. true: [pictures], things
    that are to be found in each.
    """

    right: np.ndarray
    counted: np.ndarray
    picture: np.ndarray
    true: np.ndarray


def ap_interval(judged: Any) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of AP over all sizes. judged: a COCOeval_faster that has run."""
    known = categories(judged)
    number = len(judged.params.imgIds)
    drawn = [mean_precision(known, times, judged.params) for times in drawn_times(number)[:DRAWS]]
    return between(np.array(drawn))


def categories(judged: Any) -> list[Category]:
    """All categories in which something is to be found."""
    params = judged.params
    found = [_category(judged, category, params) for category in params.catIds]
    return [one for one in found if one.true.any()]


def _category(judged: Any, category: int, params: Any) -> Category:
    thresholds, most = np.asarray(params.iouThrs), params.maxDets[-1]
    scores, pictures = [], []
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    true = np.zeros(len(params.imgIds))
    for place, image in enumerate(params.imgIds):
        things = judged.gt_dataset.get(image, category)
        answers = judged.dt_dataset.get(image, category)
        ignored = np.array([_ignored(one, params.iouType) for one in things], bool)
        true[place] = (~ignored).sum()
        own = sorted((one["score"] for one in answers), reverse=True)[:most]
        if own:
            scores += own
            pictures += [place] * len(own)
            crowd = np.array([bool(one.get("iscrowd", 0)) for one in things], bool)
            parts.append(matched(judged.ious[image, category], thresholds, ignored, crowd, own))
    order = np.argsort(-np.array(scores), kind="stable")
    empty = np.zeros((len(thresholds), 0), bool)
    right, counted = (np.concatenate([empty, *(part[n] for part in parts)], 1) for n in (0, 1))
    return Category(right[:, order], counted[:, order], np.array(pictures, int)[order], true)


def _ignored(thing: Mapping[str, Any], kind: str) -> bool:
    no_joints = kind == "keypoints" and not thing.get("num_keypoints", 0)
    return bool(thing.get("iscrowd", 0)) or bool(thing.get("ignore", 0)) or no_joints


def matched(
    overlaps: Any, thresholds: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, scores: list
) -> tuple[np.ndarray, np.ndarray]:
    """(right, counted), each [T, N]: each answer takes the free thing that it overlaps most.

    overlaps: [N, things], answers by falling score. What must not be found is taken only where
    nothing else is there, and its answers do not count; several may have one crowd.
    """
    right = np.zeros((len(thresholds), len(scores)), bool)
    counted = np.ones_like(right)
    if not len(ignored) or not len(overlaps):
        return right, counted
    grid = np.asarray(overlaps, float)
    for row, threshold in enumerate(thresholds):
        free = np.ones(len(ignored), bool)
        for answer in range(len(scores)):
            for group in (~ignored, ignored):
                fits = group & (free | crowd) & (grid[answer] >= min(threshold, 1 - 1e-10))
                if fits.any():
                    # of equal ones the last, as the library has it
                    best = len(fits) - 1 - int(np.argmax(np.where(fits, grid[answer], -1)[::-1]))
                    free[best] = False
                    right[row, answer], counted[row, answer] = True, not ignored[best]
                    break
    return right, counted


def mean_precision(known: list[Category], times: np.ndarray, params: Any) -> float:
    """AP with each picture so often; NaN where nothing is to be found."""
    values = []
    for one in known:
        number = float(one.true @ times)
        if number:
            weight = times[one.picture] * one.counted
            hits = np.cumsum(weight * one.right, 1)
            total = np.cumsum(weight, 1)
            precision = hits / np.maximum(total, 1e-9)
            precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            values.append(_mean_at(hits / number, precision, params.recThrs))
    return float(np.mean(values)) if values else float("nan")


def _mean_at(recall: np.ndarray, precision: np.ndarray, wanted: np.ndarray) -> float:
    """Mean of the precision at the recalls that are wanted, 0 beyond the last."""
    total = 0.0
    for reached, exact in zip(recall, precision, strict=True):
        places = np.searchsorted(reached, wanted, side="left")
        total += float(exact[places[places < len(exact)]].sum())
    return total / (len(recall) * len(wanted))
