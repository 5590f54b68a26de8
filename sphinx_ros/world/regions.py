"""Tasks whose answers are boxes or joints, or that ask about a region. Knows no renderer.

Coordinates are fractions of the centred padded square, three decimals for boxes and two for
joints, x1,y1,x2,y2, no spaces: what the demonstration model is trained to write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sphinx_ros.prompt.wording import format_box, format_number, question
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS, iou
from sphinx_ros.world.denied import DENIED
from sphinx_ros.world.nouns import TRIES, Noun, Tabletop, absent, article, name_of, pick
from sphinx_ros.world.phrases import EXPRESSION_KINDS, EXPRESSIONS
from sphinx_ros.world.turn import Turn, target_of
from sphinx_ros.world.wordings import freely

NONE_ANSWER = "There is no {} in the image."
EMPTY_CAPTION = "There are no objects in the image."
CAPTION_ANSWERS = ("There is 1 object: {}.", "There are {} objects: {}.")

REGION_OVERLAP = 0.6  # two boxes with more overlap than this are no two regions


def _box(table: Tabletop, index: int) -> str:
    return format_box(table.place.box_to_square(table.things[index].box))


def _left_to_right(table: Tabletop, indices: Sequence[int]) -> list[int]:
    return sorted(indices, key=lambda i: (table.things[i].box[0], table.things[i].box[1]))


def ground(kind: str) -> Callable:
    """The maker of one kind of referring expression."""

    def make(table: Tabletop, rng: np.random.Generator) -> Turn | None:
        """A turn about one thing, or None where no such expression fits."""
        found = EXPRESSIONS[kind](table, rng) if len(table) else None
        if found is None:
            return None
        index, words, steps = found
        said = "the " + words if rng.random() < 0.5 else words
        target = target_of(table, [index], [words], said=said, steps=steps)
        return Turn(Task.GROUND, question(Task.GROUND, said), _box(table, index), kind, target)

    return make


def worded(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """A turn about one thing in words that nobody was told to use: see :func:`freely`."""
    found = EXPRESSIONS[pick(rng, EXPRESSION_KINDS)](table, rng) if len(table) else None
    if found is None:
        return None
    index, words, steps = found
    said = freely(words, rng)
    target = target_of(table, [index], [words], said=said, steps=steps)
    return Turn(Task.GROUND, question(Task.GROUND, said), _box(table, index), "worded", target)


def ground_none(kind: str) -> Callable:
    """The maker of one kind of referring expression that fits nothing."""

    def make(table: Tabletop, rng: np.random.Generator) -> Turn | None:
        """A turn whose answer denies, or None where no such expression is found."""
        words = DENIED[kind](table, rng)
        if words is None:
            return None
        draw = rng.random()
        said = freely(words, rng) if draw < 0.15 else "the " * (draw < 0.6) + words
        answer, target = NONE_ANSWER.format(words), target_of(table, [], said=said)
        return Turn(Task.GROUND, question(Task.GROUND, said), answer, f"no_{kind}", target)

    return make


def _region(table: Tabletop, index: int, rng: np.random.Generator) -> list[float]:
    """A thing's box in fractions of the square, half of the time drawn a little carelessly."""
    x0, y0, x1, y1 = table.place.box_to_square(table.things[index].box)
    if rng.random() < 0.5:
        dx, dy = 0.025 * (x1 - x0), 0.025 * (y1 - y0)
        noise = np.clip(rng.standard_normal(4), -2, 2) * (dx, dy, dx, dy)
        return [value + shift for value, shift in zip((x0, y0, x1, y1), noise, strict=True)]
    return [x0, y0, x1, y1]


def _boxes(table: Tabletop, indices: Sequence[int]) -> str:
    """Several boxes in one bracket: "[x1,y1,x2,y2;x1,y1,x2,y2]"."""
    return "[" + ";".join(_box(table, i)[1:-1] for i in indices) + "]"


def detect(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """All of a kind, or of a colour and kind, that is there."""
    if not len(table):
        return None
    thing = pick(rng, table.things)
    noun = Noun(thing.kind, thing.colour if rng.random() < 0.4 else "")
    found = _left_to_right(table, table.all_of(noun))
    answer = f"<p>{noun.text()}</p>{_boxes(table, found)}"
    target = target_of(table, found, [noun.text()] * len(found))
    return Turn(Task.DETECT, question(Task.DETECT, noun.plural(rng)), answer, "detect", target)


def detect_none(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """All of something that is not there; often its kind or its colour is."""
    noun = absent(table, rng)
    if noun is None:
        return None
    asked = question(Task.DETECT, noun.plural(rng))
    answer = NONE_ANSWER.format(noun.text())
    return Turn(Task.DETECT, asked, answer, "detect_none", target_of(table, []))


def detect_all(table: Tabletop, rng: np.random.Generator) -> Turn:
    """Every object, each with its own label."""
    found = _left_to_right(table, range(len(table)))
    labels = [name_of(table.things[i], size=False).text() for i in found]
    parts = [f"<p>{label}</p>{_box(table, i)}" for label, i in zip(labels, found, strict=True)]
    answer = "".join(parts) or NONE_ANSWER.format("object")
    target = target_of(table, found, labels)
    return Turn(Task.DETECT, question(Task.DETECT, "objects"), answer, "detect_all", target)


def pose(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """The joints of the person in a region; of a lone person sometimes without the region."""
    people = [
        i
        for i, thing in enumerate(table.things)
        if thing.keypoints is not None
        and (thing.keypoints[:, 2] > 0).sum() >= 4
        and _own_region(table, i)
    ]
    if not people:
        return None
    index = pick(rng, people)
    keypoints = table.things[index].keypoints
    assert keypoints is not None
    joints = []
    for name, (x, y, visibility) in zip(COCO_KEYPOINTS, keypoints, strict=True):
        if visibility > 0:
            u, v = table.place.to_square(float(x), float(y))
            joints.append(f"<p>{name}</p>[{format_number(u, 2)},{format_number(v, 2)}]")
    alone = len(table.all_of(Noun("person"))) == 1
    box = None if alone and rng.random() < 0.15 else _region(table, index, rng)
    target = target_of(table, [index], ["person"], person=index)
    return Turn(Task.POSE, question(Task.POSE, box=box), "".join(joints), "pose", target)


def _own_region(table: Tabletop, index: int) -> bool:
    """No other thing has nearly the same box."""
    return all(
        other == index or iou(table.things[index].box, table.things[other].box) < REGION_OVERLAP
        for other in range(len(table))
    )


def describe(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """What is in a region: "a small red mug", "a person in a red shirt"."""
    for _ in range(TRIES if len(table) else 0):
        index = int(rng.integers(len(table)))
        if not _own_region(table, index):
            continue
        answer = article(name_of(table.things[index]).text())
        asked = question(Task.DESCRIBE, box=_region(table, index, rng))
        target = target_of(table, [index], answers=[answer])
        return Turn(Task.DESCRIBE, asked, answer, "describe", target)
    return None


def caption(table: Tabletop, rng: np.random.Generator) -> Turn:
    """Everything there is, with boxes, from left to right."""
    found = _left_to_right(table, range(len(table)))
    labels = [name_of(table.things[i]).text() for i in found]
    parts = [f"<p>{label}</p>{_box(table, i)}" for label, i in zip(labels, found, strict=True)]
    answer = EMPTY_CAPTION
    if len(parts) == 1:
        answer = CAPTION_ANSWERS[0].format(parts[0])
    elif parts:
        answer = CAPTION_ANSWERS[1].format(len(parts), ", ".join(parts))
    target = target_of(table, found, labels)
    return Turn(Task.CAPTION, question(Task.CAPTION), answer, "caption", target)
