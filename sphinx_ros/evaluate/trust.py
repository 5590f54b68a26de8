"""Boxes with scores, and whether they are right -> what the scores are worth. Knows no model.

A box is right where its IoU with the true one is 0.5 or more. A box of what is not there is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sphinx_ros.answer.judge import evidence_of
from sphinx_ros.answer.score_calibration import (
    Calibration,
    Evidence,
    fit_sigma,
    fit_threshold,
    fit_weights,
)
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.types import Box, Detection, Results, iou

RIGHT_IOU = 0.5
NINETY = 1.6449
"""Standard deviations on either side that hold 90 % of a normal distribution."""

BINS = 15
"""Bins of the calibration error, with equally many answers each."""


def refer_row(found: Results[Detection], true: Box | None, place: Letterbox) -> dict[str, Any]:
    """What is kept of the answer to a referring expression. true: the box; None: there is none.

    boxed: whether a box was written. kept: whether it was not denied. evidence: what a calibration
    weighs. sides, sides_expected: (error, standard deviation) of each side, px. inside: whether
    the true one lies in its 90 % interval.
    """
    boxes = tuple(found) or found.denied
    row: dict[str, Any] = {"there": true is not None, "boxed": bool(boxes), "kept": len(found) > 0}
    if not boxes:
        return row | {"iou": 0.0, "iou_expected": 0.0}
    best = boxes[0]
    row |= {
        "score": best.score,
        "presence": best.presence,
        "iou": 0.0 if true is None else iou(best.box, true),
        "iou_expected": 0.0 if true is None else iou(best.expected, true),
    }
    if any(map(math.isnan, (*best.sigma, *best.expected))):
        return row
    row["evidence"] = asdict(evidence_of(best, place))
    if true is not None:
        row["sides"] = _sides(best.box, true, best.sigma)
        row["sides_expected"] = _sides(best.expected, true, best.sigma)
        row["inside"] = [error <= NINETY * sigma for error, sigma in row["sides"]]
    return row


def _sides(read: Box, true: Box, sigma: Box) -> list[tuple[float, float]]:
    errors = (abs(one - other) for one, other in zip(read, true, strict=True))
    return list(zip(errors, sigma, strict=True))


def trust(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The values of :func:`counted_trust`."""
    return {name: value for name, (value, _) in counted_trust(rows).items()}


def counted_trust(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[float, int]]:
    """Of rows of :func:`refer_row`: (what can be relied on, of how many rows that is told).

    NaN where there is nothing to say. auroc, ece: of the scores of all boxes that were written.
    absent_acc: share of expressions that fit nothing for which no box was given. present_kept:
    share of the others for which one was. coverage90: share of sides in their 90 % interval.
    miou_expected: by expected coordinates.
    """
    there = [row for row in rows if row["there"]]
    absent = [row for row in rows if not row["there"]]
    sided = [row for row in there if "inside" in row]
    scored = [row for row in rows if not math.isnan(row.get("score", math.nan))]
    right = np.array([row["iou"] >= RIGHT_IOU for row in scored], bool)
    scores = np.array([row["score"] for row in scored], float)
    return {
        "auroc": (auroc(scores, right), len(scored)),
        "ece": (calibration_error(scores, right), len(scored)),
        "absent_acc": (_mean([not row["kept"] for row in absent]), len(absent)),
        "present_kept": (_mean([row["kept"] for row in there]), len(there)),
        "coverage90": (_mean([side for row in sided for side in row["inside"]]), len(sided)),
        "miou_expected": (_mean([row["iou_expected"] for row in there]), len(there)),
    }


def calibration_of(rows: Sequence[dict[str, Any]], source: str) -> Calibration | None:
    """The calibration that rows of raw scores ask for; None where none has all its evidence."""
    known = [row for row in rows if "evidence" in row]
    known = [row for row in known if not math.isnan(row["presence"])]
    if not known:
        return None
    there = [row for row in known if row["there"]]
    expected = _mean([r["iou_expected"] for r in there]) > _mean([r["iou"] for r in there])
    overlap, of_sides = ("iou_expected", "sides_expected") if expected else ("iou", "sides")
    evidence = [Evidence(**row["evidence"]) for row in known]
    right = [row[overlap] >= RIGHT_IOU for row in known]
    sides = [side for row in there for side in row[of_sides]]
    return Calibration(
        fit_weights(evidence, right),
        fit_threshold([row["presence"] for row in known], [row["there"] for row in known]),
        fit_sigma([error for error, _ in sides], [sigma for _, sigma in sides]),
        expected,
        len(rows),
        source,
    )


def auroc(scores: np.ndarray, right: np.ndarray) -> float:
    """Probability that a right answer has a higher score than a wrong one; NaN without both."""
    good, bad = int(right.sum()), int((~right).sum())
    if not good or not bad:
        return math.nan
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2  # equal scores share the mean of their ranks
    return float((ranks[place][right].sum() - good * (good + 1) / 2) / (good * bad))


def calibration_error(scores: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of score and share of right answers, by bins."""
    if not len(scores):
        return math.nan
    order = np.argsort(scores)
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    gaps = [len(part) * abs(scores[part].mean() - right[part].mean()) for part in parts]
    return float(sum(gaps) / len(scores))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan
