"""Held-out examples and a network -> what it answers to them, and how right that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from sphinx_ros.evaluate.asker import BatchAsker
from sphinx_ros.evaluate.metrics import match
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.prompt.parse import Parsed, parse
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.tasks import Language
from sphinx_ros.teach.example import Example
from sphinx_ros.teach.picture_files import read_picture
from sphinx_ros.teach.shown import Shown

NEAR = 0.1
"""A joint is right within this share of the longer side of all joints of the answer."""

LONGEST, TOGETHER = 320, 32
"""Tokens of an answer, and questions about a picture that are asked at once, at most."""


def parted(pictures: Sequence[Path], share: float, seed: int) -> tuple[list[Path], list[Path]]:
    """Pictures -> those to learn and those held out, drawn; at least one of each where there are
    two, none held out for a share of 0. The only picture is learnt.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(pictures))
    number = round(share * len(pictures))
    if share > 0:
        number = min(max(number, 1), max(len(pictures) - 1, 0))
    held = set(order[:number].tolist())
    learnt = [one for i, one in enumerate(pictures) if i not in held]
    return learnt, [one for i, one in enumerate(pictures) if i in held]


def answers(
    model: SphinxModel,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    done: Callable[[int], None] = lambda number: None,
) -> list[str]:
    """The greedy answers to examples of one round, by the engine that answers at a robot.

    done: told how many more are answered, again and again.
    """
    pictures: dict[Shown, list[int]] = {}
    for index, one in enumerate(examples):
        pictures.setdefault(one.shown, []).append(index)
    said = [""] * len(examples)
    asker = BatchAsker(model, tokenizer)
    for shown, indices in pictures.items():
        square = preprocess(shown.of(read_picture(shown.image)), model.config.image_size)
        asker.look(torch.from_numpy(square)[None])
        for at in range(0, len(indices), TOGETHER):
            some = indices[at : at + TOGETHER]
            asked = [(0, examples[i].rounds[0][0], Language.FREE) for i in some]
            for index, text in zip(some, asker.ask(asked, LONGEST), strict=True):
                said[index] = text
            done(len(some))
    return said


def scores(examples: Iterable[Example], said: Iterable[str]) -> dict[str, float]:
    """How right answers are: boxes as F1 at an overlap of half, joints that are near, words that
    are equal; each with the number of its examples. An example counts by what its true answer is.
    """
    counts = {"hits": 0, "false": 0, "missed": 0}
    near: list[bool] = []
    right: list[bool] = []
    boxed = 0
    for example, text in zip(examples, said, strict=True):
        true, found = parse(example.rounds[0][1]), parse(text)
        if true.n_points:
            near += near_points(true, found)
        elif true.n_boxes or found.n_boxes:
            boxed += 1
            pairs = [("", box) for item in found.items for box in item.boxes]
            wanted = [("", box) for item in true.items for box in item.boxes]
            for name, number in zip(counts, match(pairs, wanted), strict=True):
                counts[name] += number
        else:
            right.append(text.strip().lower() == example.rounds[0][1].strip().lower())
    out: dict[str, float] = {}
    if boxed:
        double = 2 * counts["hits"]
        out |= {"f1": double / max(1, double + counts["false"] + counts["missed"])}
        out["f1.n"] = boxed
    if near:
        out |= {"joints": float(np.mean(near)), "joints.n": len(near)}
    if right:
        out |= {"words": float(np.mean(right)), "words.n": len(right)}
    return out


def near_points(true: Parsed, found: Parsed) -> list[bool]:
    """Whether each true joint has one of its name near it."""
    wanted = {item.label: item.points[0] for item in true.items if item.points}
    there = {item.label: item.points[0] for item in found.items if item.points}
    places = np.array(list(wanted.values()))
    limit = NEAR * max(np.ptp(places, axis=0).max(), 1e-3)
    return [
        name in there and float(np.hypot(*np.subtract(there[name], place))) <= limit
        for name, place in wanted.items()
    ]
