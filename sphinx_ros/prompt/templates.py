"""Task and words -> the exact bytes SPHINX was trained on. Knows no tokens and no picture.

The conversation is the official ``conv_v1_2`` (LLaMA2-Accessory, ``accessory/data/conversation/
lib.py``); the wordings of the questions are those of the official evaluation configuration, of
the official demo and of SPHINX-X (arXiv 2402.05935, figures 2 and 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

from sphinx_ros.errors import BadRequest

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
END_SIGNAL = "\n###"
"""What ends an answer of the model."""

HUMAN, ASSISTANT = "Human", "Assistant"

GROUND_QUESTION = (
    "Please provide the bounding box coordinate of the region this sentence describes: {}."
)
DETECT_QUESTION = "Detect all {} shown in the image."
DETECT_ONE_QUESTION = "Detect {} in the image."
POSE_QUESTION = "Detect the key points of the person in the region {}."
POSE_ANYWHERE_QUESTION = "Detect the key points of the person in the image."
DESCRIBE_QUESTION = "Please provide a short description of this region: {}"
CAPTION_QUESTION = (
    "Describe the image concisely. Include the bounding box for each mentioned object."
)
ASK_QUESTION = "{}\nAnswer the question using a single word or phrase."
READ_TEXT_QUESTION = "Please detect all texts and provide their bounding box coordinate."


class Task(str, Enum):
    """What a question asks for; the value is its name in messages, tables and the command line."""

    GROUND = "ground"
    DETECT = "detect"
    POSE = "pose"
    DESCRIBE = "describe"
    CAPTION = "caption"
    ASK = "ask"
    READ_TEXT = "read_text"


def conversation(turns: Sequence[tuple[str, str | None]]) -> str:
    """Turns of (question, answer) -> the prompt in the official bytes.

    The last answer may be None: then the prompt ends with the open "Assistant:", without a space,
    and the model goes on from there with a space and its answer.

    Raises:
        BadRequest: an answer other than the last is None.
    """
    parts = [SYSTEM, "\n\n###"]
    for number, (asked, answered) in enumerate(turns):
        parts.append(f" {HUMAN}: {asked}{END_SIGNAL}")
        if answered is not None:
            parts.append(f" {ASSISTANT}: {answered}{END_SIGNAL}")
        elif number == len(turns) - 1:
            parts.append(f" {ASSISTANT}:")
        else:
            raise BadRequest(
                f"turn {number + 1} of {len(turns)} has no answer: only the last turn may be "
                "open; put the model's answer into the earlier ones"
            )
    return "".join(parts)


def format_box(box: Sequence[float], decimals: int = 3) -> str:
    """Box (x0, y0, x1, y1) in fractions of the square -> "[0.123,0.456,0.789,0.999]".

    Numbers are clamped to 0 .. 0.99...9, so that each is "0." and ``decimals`` digits.

    Raises:
        BadRequest: not four finite numbers.
    """
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise BadRequest(f"box {tuple(box)}: need four finite numbers x0, y0, x1, y1")
    return "[" + ",".join(format_number(value, decimals) for value in box) + "]"


def format_number(value: float, decimals: int = 3) -> str:
    """A fraction of the square as the model writes it: "0." and ``decimals`` digits."""
    steps = 10**decimals
    return f"0.{min(max(round(value * steps), 0), steps - 1):0{decimals}d}"


def question(
    task: Task, text: str = "", box: Sequence[float] | None = None, *, decimals: int = 3
) -> str:
    """The Human text of a task in the official wording.

    Args:
        text: GROUND: the expression; DETECT: what to look for, singular or plural ("" means
            "objects"; with a leading "the" one thing is asked for); ASK: the question, as it is.
        box: DESCRIBE and POSE: the region as (x0, y0, x1, y1) in fractions of the padded square.
        decimals: digits of the region's numbers. The published models read two as well as three.

    Raises:
        BadRequest: words or a region are missing where the task needs them.
    """
    task = Task(task)
    text = text.strip()
    if task in (Task.GROUND, Task.ASK) and not text:
        raise BadRequest(f"task {task.value} got an empty text: say what to look for or to answer")
    if task is Task.DESCRIBE and box is None:
        raise BadRequest("task describe got no region: pass box=(x0, y0, x1, y1)")
    if task is Task.GROUND:
        return GROUND_QUESTION.format(text.rstrip(". ") or text)
    if task is Task.DETECT:
        wanted = text.rstrip(". ") or "objects"
        if wanted.lower().startswith("the "):
            return DETECT_ONE_QUESTION.format(wanted)
        return DETECT_QUESTION.format(plural(wanted))
    if task is Task.POSE:
        if box is None:
            return POSE_ANYWHERE_QUESTION
        return POSE_QUESTION.format(format_box(box, decimals))
    if task is Task.DESCRIBE:
        return DESCRIBE_QUESTION.format(format_box(box, decimals))
    if task is Task.ASK:
        return ASK_QUESTION.format(text)
    return CAPTION_QUESTION if task is Task.CAPTION else READ_TEXT_QUESTION


IRREGULAR = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "foot": "feet",
    "mouse": "mice", "knife": "knives", "shelf": "shelves", "leaf": "leaves", "sheep": "sheep",
    "tooth": "teeth", "goose": "geese", "fish": "fish", "deer": "deer",
}  # fmt: skip
_SINGULAR = {many: one for one, many in IRREGULAR.items()}


def plural(noun: str) -> str:
    """The plural of an English noun phrase: "red mug" -> "red mugs"; a plural stays as it is."""
    head, space, last = noun.rpartition(" ")
    low = last.lower()
    if low in IRREGULAR:
        last = IRREGULAR[low]
    elif low in _SINGULAR or not low[-1:].isalpha() or (low[-1] == "s" and low[-2:] != "ss"):
        return noun  # already plural; a singular as "bus" is asked for as "buses"
    elif low.endswith(("ss", "x", "z", "ch", "sh")):
        last += "es"
    elif low[-1] == "y" and low[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return head + space + last


def singular(noun: str) -> str:
    """The singular of an English noun phrase: "red mugs" -> "red mug"; a singular stays."""
    head, space, last = noun.rpartition(" ")
    low = last.lower()
    if low in _SINGULAR:
        last = _SINGULAR[low]
    elif low.endswith("ies") and len(low) > 4:
        last = last[:-3] + "y"
    elif low.endswith(("sses", "xes", "zes", "ches", "shes")):
        last = last[:-2]
    elif low.endswith("s") and not low.endswith(("ss", "us", "is")):
        last = last[:-1]
    return head + space + last
