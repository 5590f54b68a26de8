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

import numpy as np

from sphinx_ros.benchmarks.intervals import between, drawn_means, interval95
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
    number, pictures = len(own), [sample.picture.key for sample, _ in own]
    official = {name: _ratio(*parts) for name, parts in _agreement(theirs, true).items()}
    found = {
        name: (_ratio(*parts), number, *interval95(parts[0], pictures, parts[1]), official[name],
               number)
        for name, parts in _agreement(ours, true).items()
    }  # fmt: skip
    unread = [float(not said) for said in ours]
    found["unparsed"] = (
        sum(unread) / number, number, *interval95(unread, pictures), math.nan, 0
    )  # fmt: skip
    return found


def _agreement(said: Sequence[str], true: Sequence[bool]) -> dict[str, tuple[list, list]]:
    """Name of a score -> what each answer adds to what is divided, and to what by."""
    there, yes = [int(one) for one in true], [int(one == "yes") for one in said]
    hits = [one * other for one, other in zip(yes, there, strict=True)]
    right = [int(one == ("yes" if other else "no")) for one, other in zip(said, true, strict=True)]
    everything = [1] * len(said)
    return {
        "acc": (right, everything),
        "precision": (hits, yes),
        "recall": (hits, there),
        "f1": ([2 * one for one in hits], [a + b for a, b in zip(yes, there, strict=True)]),
        "yes_rate": (yes, everything),
    }


def _ratio(parts: Sequence[float], over: Sequence[float]) -> float:
    return sum(parts) / sum(over) if sum(over) else math.nan


def pair_scores(own: Asked) -> dict[str, Two]:
    """MME: of each part acc, acc_plus (both questions of a picture are right) and 100 times both.

    perception.score and cognition.score are the sums of the parts that there are.
    """
    parts: dict[str, list[tuple[Sample, Mapping[str, Any]]]] = defaultdict(list)
    for pair in own:
        parts[pair[0].group].append(pair)
    found: dict[str, Two] = {}
    whole: dict[str, list[tuple[float, int, np.ndarray, float]]] = defaultdict(list)
    for seed, (part, rows) in enumerate(parts.items()):
        mine = _part([yes_or_no(answer["text"]) for _, answer in rows], rows)
        official = _part([official_mme(answer["text"]) for _, answer in rows], rows)
        number, drawn = len(rows), _drawn(mine, seed)
        for name in drawn:
            value, theirs = _of_part(mine)[name], _of_part(official)[name]
            known = (value, number, *between(drawn[name]), theirs, number)
            found[f"{part}.{name}"] = known
        kind = "cognition" if part in COGNITION else "perception" if part in PERCEPTION else ""
        scores = (_of_part(mine)["score"], number, drawn["score"], _of_part(official)["score"])
        whole[kind].append(scores)
    for kind in ("perception", "cognition"):
        if whole[kind]:
            ours, asked, draws, theirs = (sum(column) for column in zip(*whole[kind], strict=True))
            found[f"{kind}.score"] = (ours, asked, *between(np.asarray(draws)), theirs, asked)
    return found


def _part(said: Sequence[str], rows: Asked) -> dict[str, list[bool]]:
    """Picture -> whether the answers about it are right."""
    pictures: dict[str, list[bool]] = defaultdict(list)
    for one, (sample, _) in zip(said, rows, strict=True):
        pictures[sample.picture.key].append(one == sample.answers[0])
    return pictures


def _of_part(pictures: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    acc = sum(map(sum, pictures.values())) / sum(map(len, pictures.values()))
    plus = sum(map(all, pictures.values())) / len(pictures)
    return {"acc": acc, "acc_plus": plus, "score": 100 * (acc + plus)}


def _drawn(pictures: Mapping[str, Sequence[bool]], seed: int) -> dict[str, np.ndarray]:
    """The same over redrawn pictures of the part; seed: other draws for other parts."""
    names, each = list(pictures), list(pictures.values())
    acc = drawn_means([sum(one) for one in each], names, [len(one) for one in each], seed)
    plus = drawn_means([float(all(one)) for one in each], names, seed=seed)
    return {"acc": acc, "acc_plus": plus, "score": 100 * (acc + plus)}
