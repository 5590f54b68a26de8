"""Samples with their answers -> scores by dotted names, in two columns where these differ.

``correct``: every question that could be asked counts, and a failure counts as wrong.
``official``: as the data set's or SPHINX's own script counts: its de-duplication, its reading, its
rounding. Beside both the number of questions, the 95 % interval by pictures, and what is
published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sphinx_ros.benchmarks.box_scores import box_columns, box_row, official_columns
from sphinx_ros.benchmarks.counted_things import f1_of, pck_of
from sphinx_ros.benchmarks.intervals import interval95
from sphinx_ros.benchmarks.precision import Precision, average_precision
from sphinx_ros.benchmarks.published import published
from sphinx_ros.benchmarks.samples import Family, Sample
from sphinx_ros.benchmarks.trusting import trust_scores
from sphinx_ros.benchmarks.word_scores import (
    exact,
    loose,
    official_choice,
    official_vqa,
    vqa_score,
)
from sphinx_ros.benchmarks.yes_no_scores import pair_scores, yes_no_scores
from sphinx_ros.prompt.wording import LETTERS, chosen

Asked = Sequence[tuple[Sample, Mapping[str, Any]]]
"""Samples with their answers, as a run writes them."""

Columns = Mapping[str, tuple[Sequence[float], Sequence[int]]]
"""Name of a score -> values, and the samples that they belong to."""


@dataclass(frozen=True)
class Score:
    """One number.

    Attributes:
        name: such as "refcoco.val.acc50".
        correct, official: NaN where there is no such number. correct_n, official_n: questions.
        low, high: the 95 % interval of ``correct``; NaN where there is none.
        published: of the checkpoint, NaN unknown; source: where that stands.
    """

    name: str
    correct: float = math.nan
    correct_n: int = 0
    low: float = math.nan
    high: float = math.nan
    official: float = math.nan
    official_n: int = 0
    published: float = math.nan
    source: str = ""


def scores(asked: Asked, checkpoint: str = "") -> list[Score]:
    """All scores of samples and their answers; those that were refused are left out.

    checkpoint: the name of a published one, to compare with.

    Raises:
        BadRequest: a score needs a library that is not installed.
    """
    parts: dict[tuple[str, str, Family], list[tuple[Sample, Mapping[str, Any]]]] = {}
    for sample, answer in asked:
        if not answer.get("refused"):
            key = (sample.dataset, sample.split, sample.family)
            parts.setdefault(key, []).append((sample, answer))
    found: list[Score] = []
    for (dataset, split, family), own in parts.items():
        known = checkpoint if all(s.more.get("published", True) for s, _ in own) else ""
        found += [_beside(one, known) for one in _of_family[family](f"{dataset}.{split}", own)]
    for dataset in ("pope", "ref-l4"):  # their figures are published of all splits together
        own = [one for key, some in parts.items() if key[0] == dataset for one in some]
        if len({sample.split for sample, _ in own}) > 1:
            whole = _of_family[own[0][0].family](f"{dataset}.all", own)
            found += [_beside(one, checkpoint) for one in whole]
    return found


def _beside(score: Score, checkpoint: str) -> Score:
    known = published(checkpoint, score.name) if checkpoint else None
    return score if known is None else replace(score, published=known[0], source=known[1])


def _columns(name: str, own: Asked, correct: Columns, official: Columns) -> list[Score]:
    """Scores that are means of values."""
    made = []
    for metric in dict.fromkeys((*correct, *official)):
        values, rows = correct.get(metric, ((), ()))
        low, high = interval95(values, [own[row][0].picture.key for row in rows])
        theirs, _ = official.get(metric, ((), ()))
        made.append(
            Score(
                f"{name}.{metric}", _mean(values), len(values), low, high, _mean(theirs),
                len(theirs),
            )
        )  # fmt: skip
    return made


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if len(values) else math.nan


def _boxes(name: str, own: Asked) -> list[Score]:
    rows = [
        box_row(answer, sample.boxes[0] if sample.boxes else None, tuple(answer["size"]))
        for sample, answer in own
    ]
    dataset = own[0][0].dataset
    official: Columns = {}
    if dataset.startswith("refcoco"):
        official = official_columns(rows, [sample.key for sample, _ in own])
    elif dataset == "ref-l4":
        official = official_columns(rows, [], strict=True)
    made = _columns(name, own, box_columns(rows), official)
    worth = trust_scores(own)
    return made + [Score(f"{name}.{metric}", *value) for metric, value in worth.items()]


def _vqa(name: str, own: Asked) -> list[Score]:
    """The official figure is rounded to two digits of percent."""
    everyone = list(range(len(own)))
    values = [vqa_score(answer["text"], sample.answers) for sample, answer in own]
    theirs = [official_vqa(answer["text"], sample.answers) for sample, answer in own]
    (one,) = _columns(name, own, {"acc": (values, everyone)}, {"acc": (theirs, everyone)})
    return [replace(one, official=round(one.official, 4))]


def _exact(name: str, own: Asked) -> list[Score]:
    kept = _first_of_key(own)
    strict = [float(any(exact(a["text"], one) for one in s.answers)) for s, a in own]
    loosely = [float(any(loose(a["text"], one) for one in s.answers)) for s, a in own]
    everyone = list(range(len(own)))
    correct = {"acc": (strict, everyone), "loose_acc": (loosely, everyone)}
    return _columns(name, own, correct, {"acc": ([strict[n] for n in kept], kept)})


def _choice(name: str, own: Asked) -> list[Score]:
    kept, everyone = _first_of_key(own), list(range(len(own)))
    right, unread, theirs = [], [], []
    for sample, answer in own:
        number = chosen(answer["text"], sample.choices)
        right.append(float(number is not None and LETTERS[number] == sample.answers[0]))
        unread.append(float(number is None))
        theirs.append(official_choice(answer["text"], sample.answers[0]))
    correct = {"acc": (right, everyone), "unparsed": (unread, everyone)}
    return _columns(name, own, correct, {"acc": ([theirs[n] for n in kept], kept)})


def _yes_no(name: str, own: Asked) -> list[Score]:
    return [Score(f"{name}.{metric}", *v) for metric, v in yes_no_scores(own).items()]


def _pairs(name: str, own: Asked) -> list[Score]:
    dataset = own[0][0].dataset
    return [Score(f"{dataset}.{metric}", *value) for metric, value in pair_scores(own).items()]


def _first_of_key(own: Asked) -> list[int]:
    """The rows that the official script keeps: the first of each key."""
    first: dict[str, int] = {}
    for number, (sample, _) in enumerate(own):
        first.setdefault(sample.key or str(number), number)
    return list(first.values())


def _detect(name: str, own: Asked) -> list[Score]:
    """Average precision by our scores, and by one constant, which is official for D3."""
    dataset = own[0][0].dataset
    made: list[Score] = []
    parts: dict[str, Asked] = {name: own}
    for half in ("pres", "abs"):
        if some := [pair for pair in own if half in pair[0].more.get("halves", ())]:
            parts[f"{dataset}.{half}"] = some
    for title, part in parts.items():
        official = None
        if dataset == "d3":
            half = title.removeprefix("d3.")
            official = average_precision(_of_half(own, half), constant=True, unasked=True)
        made += [*_precisions(title, part, official), Score(f"{title}.f1", *f1_of(part))]
        none = {n: float(not a["boxes"]) for n, (s, a) in enumerate(part) if not s.boxes}
        made += _columns(title, part, {"none_acc": (list(none.values()), list(none))}, {})
    return made


def _of_half(own: Asked, half: str) -> Asked:
    """All samples, with what is true of sentences of one half of D3; "full" leaves both."""
    if half not in ("pres", "abs"):
        return own
    made = []
    for sample, answer in own:
        rows = [row for row in sample.more.get("unasked", ()) if half in row[3]]
        if half not in sample.more["halves"]:
            sample, answer = replace(sample, boxes=()), {**answer, "boxes": [], "scores": []}
        made.append((replace(sample, more={**sample.more, "unasked": rows}), answer))
    return made


def _precisions(name: str, part: Asked, official: Precision | None = None) -> list[Score]:
    """AP and its relatives by our scores, and AP by one constant."""
    ours = average_precision(part, interval=True)
    constant = average_precision(part, constant=True, interval=True)
    made = []
    for metric, value in ours.values.items():
        low, high = ours.interval95 if metric == "ap" else (math.nan, math.nan)
        theirs = (official.values[metric], official.true) if official else (math.nan, 0)
        made.append(Score(f"{name}.{metric}", value, ours.true, low, high, *theirs))
    same = (constant.values["ap"], constant.true, *constant.interval95)
    return [*made, Score(f"{name}.ap_constant", *same)]


def _pose(name: str, own: Asked) -> list[Score]:
    return [*_precisions(name, own), Score(f"{name}.pck", *pck_of(own))]


_of_family = {
    Family.BOXES: _boxes,
    Family.DETECT: _detect,
    Family.POSE: _pose,
    Family.VQA: _vqa,
    Family.EXACT: _exact,
    Family.CHOICE: _choice,
    Family.YES_NO: _yes_no,
    Family.PAIRS: _pairs,
}
