"""Answers with scores, and what is true -> what the scores are worth, and a calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sphinx_ros.benchmarks.samples import Family, Sample
from sphinx_ros.types import UNKNOWN_BOX, Box, Detection, Results, ScoreSource

Asked = Sequence[tuple[Sample, Mapping[str, Any]]]


def trust_scores(own: Asked) -> dict[str, tuple[float, int]]:
    """(value, answers that it is of) of auroc, ece, coverage90 and miou_expected, and of
    present_kept where presence was asked.

    See :func:`sphinx_ros.evaluate.trust.counted_trust`; empty where no box has a score.
    """
    from sphinx_ros.evaluate.trust import counted_trust

    rows = _rows(own)
    if not any(not math.isnan(row.get("score", math.nan)) for row in rows):
        return {}
    found = counted_trust(rows)
    verified = any(not math.isnan(row.get("presence", math.nan)) for row in rows)
    names = ("auroc", "ece", "coverage90", "miou_expected")
    more = ("present_kept",) if verified else ()
    return {name: found[name] for name in (*names, *more) if not math.isnan(found[name][0])}


def calibration(own: Asked, source: str) -> Any:
    """The calibration that answers with raw scores and with presence ask for; None: none.

    own: referring expressions; others are left out.
    """
    from sphinx_ros.evaluate.trust import calibration_of

    refer = [pair for pair in own if pair[0].family is Family.BOXES and not _refused(pair[1])]
    return calibration_of(_rows(refer), source)


def _refused(answer: Mapping[str, Any]) -> bool:
    return bool(answer.get("refused"))


def _rows(own: Asked) -> list[dict[str, Any]]:
    from sphinx_ros.evaluate.trust import refer_row
    from sphinx_ros.image.letterbox import Letterbox

    rows = []
    for sample, answer in own:
        true = sample.boxes[0] if sample.boxes else None
        found = results_of(answer)
        rows.append(refer_row(found, true, Letterbox.of(*answer["size"])))
    return rows


def results_of(answer: Mapping[str, Any]) -> Results[Detection]:
    """The boxes of an answer as a run writes them, and those that were denied."""
    boxes, denied = answer["boxes"], answer.get("denied") or []
    made = []
    for number, box in enumerate([*boxes, *denied]):
        made.append(
            Detection(
                sample_label(answer, number),
                _box(box),
                _number(_at(answer.get("scores"), number)),
                ScoreSource.NONE,
                _box(_at(answer.get("sigma"), number)),
                _box(_at(answer.get("expected"), number)),
                _number(answer.get("presence")),
            )
        )
    kept = len(boxes)
    return Results(tuple(made[:kept]), denied=tuple(made[kept:]))


def sample_label(answer: Mapping[str, Any], number: int) -> str:
    """The words of a box."""
    return str(_at(answer.get("labels"), number) or "")


def _at(values: Any, number: int) -> Any:
    return values[number] if values and number < len(values) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _box(values: Any) -> Box:
    if values is None or None in values:
        return UNKNOWN_BOX
    x0, y0, x1, y1 = values
    return float(x0), float(y0), float(x1), float(y1)
