"""Questions that must not be forgotten -> the same about other views of their pictures.

What is true of a mirror image or a part of a picture nobody has said, so the answers are those of
the checkpoint that is taught: it is they that are to stay as they are. Knows no network.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.teach.asked_together import Asking
from sphinx_ros.teach.example import Data, Example
from sphinx_ros.teach.packed import Packing
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.shown import Shown, other_side


def unanswered(data: Data, number: int, seed: int) -> list[Example]:
    """Questions about views of pictures, without answers: of those that are remembered about the
    whole picture at most ``number`` a view, drawn, and none that the view has already.

    In a mirror a question about what is on the left is one about what is on the right.
    """
    asked: dict[Path, dict[str, str]] = {}  # of each picture the questions, and where they are
    for one in data.examples:
        if one.known and one.shown == Shown(one.image):
            asked.setdefault(one.image, {}).setdefault(one.rounds[0][0], one.where)
    draw, found = np.random.default_rng([seed, 4]), []
    for shown, examples in data.pictures.items():
        if shown == Shown(shown.image):
            continue
        there = {one.rounds[0][0] for one in examples}
        several = [
            (other_side(question) if shown.mirrored else question, where)
            for question, where in asked.get(shown.image, {}).items()
        ]
        several = [one for one in several if one[0] not in there]
        for at in draw.permutation(len(several))[:number]:
            question, where = several[at]
            found.append(Example(shown, ((question, ""),), where, known=True))
    return found


def answered(asked: Sequence[Example], answers: Sequence[str], packing: Packing) -> list[Example]:
    """The same with answers, without those that are empty or do not fit into a row."""
    found = []
    for one, answer in zip(asked, answers, strict=True):
        said = dataclasses.replace(one, rounds=((one.rounds[0][0], answer),))
        try:
            packing.words(said)
        except BadRequest:
            continue
        if answer:
            found.append(said)
    return found


class AnswersKept:
    """The answers of a run, in a file: rounding that differs by the number of threads could
    change one, and a run that goes on is to go on with the same.

    base: what tells the checkpoint that answers, and the form in which it is held, from others.
    """

    def __init__(self, path: Path, base: str):
        self._path, self._base = path, base

    def _about(self, asked: Sequence[Example]) -> dict[str, Any]:
        rows = [[str(one.shown), one.rounds[0][0]] for one in asked]
        return {"base": self._base, "asked": rows}

    def read(self, asked: Sequence[Example]) -> list[str] | None:
        """The answers to these questions; None where there are none."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        answers = found.pop("answers", None) if isinstance(found, dict) else None
        return answers if found == self._about(asked) else None

    def write(self, asked: Sequence[Example], answers: Sequence[str]) -> None:
        """Keep the answers."""
        write_text(self._path, json.dumps(self._about(asked) | {"answers": [*answers]}) + "\n")


def own_answers(
    data: Data, plan: Plan, packing: Packing, asking: Asking, kept: AnswersKept
) -> list[Example]:
    """What is remembered about the views of the leader's data: asked before anything is taught.

    All processes call this; only the leader's data and result count.

    Raises:
        BadRequest: no view has a question.
    """
    peers, asked = asking.peers, list[Example]()
    with peers.agreed():
        if peers.leads:
            asked = unanswered(data, plan.remember_views, plan.seed)
            if not asked:
                raise BadRequest(
                    "nothing is to be remembered about a picture that is shown in other views: "
                    "give --remember questions about the pictures in DATA, or leave out "
                    "--remember-views"
                )
    asked = peers.first(asked)
    answers = peers.first(kept.read(asked) if peers.leads else None)
    if answers is None:
        with Progress(len(asked), "asking", "question", shown=peers.leads) as bar:
            answers = asking.answers(asked, bar.advance)
        with peers.agreed():
            if peers.leads:
                kept.write(asked, answers)
    return answered(asked, answers, packing)
