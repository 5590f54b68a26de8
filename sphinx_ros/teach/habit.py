"""A checkpoint -> how it writes the numbers of a box, by what it answers about a plain picture."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import torch

from sphinx_ros.evaluate.asker import BatchAsker
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Language, Task
from sphinx_ros.teach.said import Writing

SIDE = 224
_BOX = re.compile(r"\[ ?0\.(\d+)(, ?)0\.\d+\2")

ASKED = (
    question(Task.GROUND, "the red square"),
    question(Task.GROUND, "the object in the middle"),
    question(Task.DETECT, "objects"),
)


def writing_of(model: SphinxModel, tokenizer: Tokenizer) -> Writing:
    """The habit that most answers about a red square show; the configuration's where none does."""
    rgb = np.full((SIDE, SIDE, 3), 190, np.uint8)
    third = SIDE // 3
    rgb[third : 2 * third, third : 2 * third] = (200, 30, 30)
    asker = BatchAsker(model, tokenizer)
    asker.look(torch.from_numpy(preprocess(rgb, model.config.image_size))[None])
    answers = asker.ask([(0, text, Language.FREE) for text in ASKED], max_new_tokens=64)
    shown = [_BOX.search(answer) for answer in answers]
    habits = Counter((len(one[1]), one[2]) for one in shown if one)
    if not habits:
        return Writing(model.config.coordinate_decimals)
    return Writing(*habits.most_common(1)[0][0])
