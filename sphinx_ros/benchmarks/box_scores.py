"""The box of an answer and the true one -> how right it is; many of them -> a column of scores.

``official`` follows LLaMA2-Accessory, ``accessory/eval_mm/evaluate.py`` (metric miou0.5): the
first bracket of the text, in float32, an IoU of 0.5 or more, one row for each picture, expression
and size. Sizes and the strict comparison are Ref-L4's (arXiv 2406.16866). Knows no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sphinx_ros.types import Box, iou

THRESHOLDS = (0.5, 0.75, 0.9)
ALL_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
SMALL, LARGE = 128.0, 256.0
"""Square roots of areas in pixels: below the first a box is small, above the second large."""

_BRACKET = re.compile(r"\[(.*?)\]")


def official_iou(text: str, true: Box, size: tuple[int, int]) -> float:
    """IoU as the official script reads an answer: 0 for what it can't read.

    size: (width, height) of the picture, px. Numbers are fractions of the padded square.
    """
    width, height = size
    found = _BRACKET.findall(text) or [text.split("]")[0]]
    parts = found[0].split(",")
    try:
        values = [float(part) for part in parts] if len(parts) == 4 else [0.0] * 4
    except ValueError:
        values = [0.0] * 4
    read = np.array(values, np.float32) * np.float32(max(width, height))
    x, y = max(height - width, 0) // 2, max(width - height, 0) // 2
    padded = np.array([true[0] + x, true[1] + y, true[2] + x, true[3] + y], np.float32)
    wide, high = np.clip(
        np.minimum(read[2:], padded[2:]) - np.maximum(read[:2], padded[:2]), 0, None
    )
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (read, padded)]
    with np.errstate(all="ignore"):
        overlap = wide * high / (areas[0] + areas[1] - wide * high)
    return float(overlap) if math.isfinite(overlap) else 0.0


def box_row(answer: Mapping[str, Any], true: Box | None, size: tuple[int, int]) -> dict[str, Any]:
    """One answer's row. answer: as a run writes it; true: None where there is no such thing.

    iou: of the first box that was kept. none: no box was given. failed: no box, and no denial.
    centre: whether its middle lies in the true box. side: square root of the true area, px.
    """
    boxes = answer["boxes"]
    row: dict[str, Any] = {
        "there": true is not None,
        "none": not boxes,
        "failed": not boxes and answer["status"] != "NOT_FOUND",
        "iou": 0.0,
        "centre": False,
    }
    if true is None:
        return row
    x0, y0, x1, y1 = true
    row["side"] = math.sqrt((x1 - x0) * (y1 - y0))
    row["official_iou"] = official_iou(answer["text"], true, size)
    if boxes:
        left, top, right, bottom = boxes[0]
        row["iou"] = iou(boxes[0], true)
        row["centre"] = x0 <= (left + right) / 2 <= x1 and y0 <= (top + bottom) / 2 <= y1
    return row


def box_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[int]]]:
    """Name of a score -> its values and the rows that they belong to: means are the scores."""
    there = [number for number, row in enumerate(rows) if row["there"]]
    absent = [number for number, row in enumerate(rows) if not row["there"]]
    found = _of_overlaps([rows[n]["iou"] for n in there], there)
    found["miou"] = ([rows[n]["iou"] for n in there], there)
    found["centre"] = ([float(rows[n]["centre"]) for n in there], there)
    for name, low, high in (
        ("small", 0.0, SMALL),
        ("medium", SMALL, math.nextafter(LARGE, math.inf)),
        ("large", math.nextafter(LARGE, math.inf), math.inf),
    ):
        own = [n for n in there if low <= rows[n]["side"] < high]
        if own:
            found[f"{name}_acc50"] = ([float(rows[n]["iou"] >= 0.5) for n in own], own)
    found["parse_failed"] = ([float(row["failed"]) for row in rows], list(range(len(rows))))
    found["none"] = ([float(row["none"]) for row in rows], list(range(len(rows))))
    if absent:
        found["absent_acc"] = ([float(rows[n]["none"]) for n in absent], absent)
    return found


def official_columns(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], strict: bool = False
) -> dict[str, tuple[list[float], list[int]]]:
    """As :func:`box_columns`, of the official reading: the first row of each key.

    strict: as Ref-L4 scores: every row, an IoU above the threshold, boxes read by us.
    """
    there = [number for number, row in enumerate(rows) if row["there"]]
    if strict:
        return _of_overlaps([rows[n]["iou"] for n in there], there, strict=True)
    kept = list({keys[n]: n for n in reversed(there)}.values())[::-1]
    overlaps = [rows[n]["official_iou"] for n in kept]
    return _of_overlaps(overlaps, kept) | {"miou": (overlaps, kept)}


def _of_overlaps(
    overlaps: Sequence[float], rows: list[int], strict: bool = False
) -> dict[str, tuple[list[float], list[int]]]:
    """acc50, acc75, acc90, macc of overlaps. strict: above the threshold, not at it."""

    def right(threshold: float) -> list[float]:
        return [float(o > threshold if strict else o >= threshold) for o in overlaps]

    found = {f"acc{round(100 * t)}": (right(t), rows) for t in THRESHOLDS}
    each = [right(t) for t in ALL_THRESHOLDS]
    found["macc"] = ([sum(one) / len(ALL_THRESHOLDS) for one in zip(*each, strict=True)], rows)
    if not strict:
        found["strict50"] = ([float(o > 0.5) for o in overlaps], rows)
    return found
