"""Answers of yes or no -> the scores of POPE and MME, in their own reading and in ours.

Ours takes the first word, and whatever is neither yes nor no is wrong and counted apart
(``unparsed``). POPE's own takes everything without a "no" for yes; MME's own looks at four
letters.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sphinx_ros.benchmarks.intervals import interval95
from sphinx_ros.benchmarks.samples import Sample
from sphinx_ros.benchmarks.word_scores import official_mme, official_pope, yes_or_no

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
    "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation",
             "code_reasoning")  # fmt: skip

Asked = Sequence[tuple[Sample, Mapping[str, Any]]]
Two = tuple[float, int, float, float, float, int]
"""correct, number, low, high, official, number: the fields of a score behind its name."""


def yes_no_scores(own: Asked) -> dict[str, Two]:
    """acc, precision, recall, f1, yes_rate and unparsed of POPE. "Yes" is the positive class."""
    true = [sample.answers[0] == "yes" for sample, _ in own]
    ours = [yes_or_no(answer["text"]) for _, answer in own]
    theirs = [official_pope(answer["text"]) for _, answer in own]
    right = [float(said == ("yes" if one else "no")) for said, one in zip(ours, true, strict=True)]
    low, high = interval95(right, [sample.picture.key for sample, _ in own])
    number, mine, official = len(own), _agreement(ours, true), _agreement(theirs, true)
    found = {
        name: (mine[name], number, math.nan, math.nan, official[name], number) for name in mine
    }
    found["acc"] = (mine["acc"], number, low, high, official["acc"], number)
    unread = sum(not said for said in ours) / number
    found["unparsed"] = (unread, number, math.nan, math.nan, math.nan, 0)
    return found


def _agreement(said: Sequence[str], true: Sequence[bool]) -> dict[str, float]:
    pairs = list(zip(said, true, strict=True))
    hits = sum(one == "yes" and there for one, there in pairs)
    positive, wanted = sum(one == "yes" for one in said), sum(true)
    precision = hits / positive if positive else math.nan
    recall = hits / wanted if wanted else math.nan
    total = positive + wanted
    return {
        "acc": sum(one == ("yes" if there else "no") for one, there in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / total if total else math.nan,
        "yes_rate": positive / len(pairs),
    }


def pair_scores(own: Asked) -> dict[str, Two]:
    """MME: of each part acc, acc_plus (both questions of a picture are right) and 100 times both.

    perception.score and cognition.score are the sums of the parts that there are.
    """
    parts: dict[str, list[tuple[Sample, Mapping[str, Any]]]] = defaultdict(list)
    for pair in own:
        parts[pair[0].group].append(pair)
    found: dict[str, Two] = {}
    sums = {"perception": [0.0, 0.0, 0.0], "cognition": [0.0, 0.0, 0.0]}
    for part, rows in parts.items():
        mine = _part([yes_or_no(answer["text"]) for _, answer in rows], rows)
        official = _part([official_mme(answer["text"]) for _, answer in rows], rows)
        number = len(rows)
        for name, value in mine.items():
            found[f"{part}.{name}"] = (
                value, number, math.nan, math.nan, official[name], number
            )  # fmt: skip
        kind = "cognition" if part in COGNITION else "perception" if part in PERCEPTION else ""
        if kind:
            sums[kind][0] += mine["score"]
            sums[kind][1] += number
            sums[kind][2] += official["score"]
    for kind, (ours, asked, theirs) in sums.items():
        if asked:
            known = (ours, int(asked), math.nan, math.nan, theirs, int(asked))
            found[f"{kind}.score"] = known
    return found


def _part(said: Sequence[str], rows: Asked) -> dict[str, float]:
    right = [one == sample.answers[0] for one, (sample, _) in zip(said, rows, strict=True)]
    pictures: dict[str, list[bool]] = defaultdict(list)
    for one, (sample, _) in zip(right, rows, strict=True):
        pictures[sample.picture.key].append(one)
    acc = sum(right) / len(right)
    plus = sum(all(each) for each in pictures.values()) / len(pictures)
    return {"acc": acc, "acc_plus": plus, "score": 100 * (acc + plus)}
