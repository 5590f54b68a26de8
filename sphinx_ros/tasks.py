"""What a picture can be asked for: one row per task. Knows nobody.

Prompting, the methods of ``Seen``, query lines, services, messages, the verbs of the command line,
drawing and the documents read these rows, or a test holds them to the rows (tests/test_tasks.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Takes(Enum):
    """What a task is given beside the picture."""

    TEXT = "text"  # words that must not be empty
    QUESTION = "question"  # words that must not be empty, and maybe a region that they are about
    KIND = "kind"  # a kind of thing, singular or plural
    BOX = "box"  # a region, x0, y0, x1, y1 in source pixels
    MAYBE_BOX = "maybe box"  # a region, or none for the whole picture
    NOTHING = "nothing"

    @property
    def words(self) -> bool:
        """Whether it is words."""
        return self in (Takes.TEXT, Takes.QUESTION, Takes.KIND)

    @property
    def region(self) -> bool:
        """Whether it is a region."""
        return self in (Takes.BOX, Takes.MAYBE_BOX, Takes.QUESTION)

    @property
    def fields(self) -> tuple[str, ...]:
        """What it is as fields of a query: text, box."""
        return tuple(n for n, taken in (("text", self.words), ("box", self.region)) if taken)

    @property
    def needed(self) -> tuple[str, ...]:
        """The fields that nothing can stand in for."""
        if self in (Takes.TEXT, Takes.QUESTION):
            return ("text",)
        return ("box",) if self is Takes.BOX else ()


class Answers(Enum):
    """What a task answers with; each kind has a message and a topic of its own."""

    BOXES = "boxes"  # Results of Detection; ~/detections
    PEOPLE = "people"  # Results of Pose; ~/keypoints
    POINTS = "points"  # Points; ~/points
    WORDS = "words"  # Answer; ~/answers


class Language(Enum):
    """The small language of an answer, in which the numbers in brackets are written.

    Its decimals, spaces and signs are a habit of the checkpoint: :mod:`sphinx_ros.engine.style`.
    """

    FREE = "free"  # any text
    ONE_BOX = "one box"  # a box and nothing behind it; or words, as a denial
    ONE_PLACE = "one place"  # a box or a point, whichever the model writes, as ONE_BOX
    BOXES = "boxes"  # words, and groups of four numbers
    POINTS = "points"  # words, and groups of two numbers


@dataclass(frozen=True)
class Row:
    """What is to be known of one task.

    Attributes:
        number: its constant in msg/Query.msg.
        takes, answers: see there.
        max_new_tokens: usual limit of an answer, tokens.
        wording: the official question. ``{text}`` is what was asked, ``{kinds}`` its plural,
            ``{region}`` the box as the model writes it.
        other_wording: KIND: for one thing ("the ..."); MAYBE_BOX: without a box. Else empty.
        about: one sentence for people.
        example: what follows the name on a query line.
        language: of its answers.
    """

    number: int
    takes: Takes
    answers: Answers
    max_new_tokens: int
    wording: str
    about: str
    example: str = ""
    other_wording: str = ""
    language: Language = Language.FREE


class Task(str, Enum):
    """What a question asks for; the value is its name everywhere.

    The name is a method of ``Seen``, the head of a query line, a verb of ``sphinx-ros`` and, in
    capitals, a constant of msg/Query.msg.
    """

    ASK = "ask"
    GROUND = "ground"
    DETECT = "detect"
    POSE = "pose"
    DESCRIBE = "describe"
    CAPTION = "caption"
    READ_TEXT = "read_text"
    POINT = "point"

    @property
    def row(self) -> Row:
        """All that is known of it."""
        return ROWS[self]

    @property
    def line(self) -> str:
        """An example of a query line."""
        return f"{self.value}: {self.row.example}" if self.row.example else self.value


GROUNDING = (
    "Please provide the bounding box coordinate of the region this sentence describes: {text}."
)
"""Asked by GROUND, and by POINT as well: the published models were taught no question for a point.
One that was trained to answer it with a point is taken at its word."""

# The wordings are those of the official evaluation configuration, of the official demo and of
# SPHINX-X (arXiv 2402.05935, figures 2 and 7).
ROWS: dict[Task, Row] = {
    Task.ASK: Row(
        number=0,
        takes=Takes.QUESTION,
        answers=Answers.WORDS,
        max_new_tokens=64,
        wording="{text}\nAnswer the question using a single word or phrase.",
        about="Any question, about the picture or a region of it, answered in a word or phrase.",
        example="how many mugs are there?",
    ),
    Task.GROUND: Row(
        number=1,
        takes=Takes.TEXT,
        answers=Answers.BOXES,
        max_new_tokens=96,
        wording=GROUNDING,
        about="The box of what a sentence describes.",
        example="the red mug",
        language=Language.ONE_BOX,
    ),
    Task.DETECT: Row(
        number=2,
        takes=Takes.KIND,
        answers=Answers.BOXES,
        max_new_tokens=320,
        wording="Detect all {kinds} shown in the image.",
        about="A box for each thing of a kind.",
        example="mug",
        other_wording="Detect {text} in the image.",
        language=Language.BOXES,
    ),
    Task.POSE: Row(
        number=3,
        takes=Takes.MAYBE_BOX,
        answers=Answers.PEOPLE,
        max_new_tokens=320,
        wording="Detect the key points of the person in the region {region}.",
        about="The 17 COCO joints of everybody, or of the person in a box.",
        other_wording="Detect the key points of the person in the image.",
        language=Language.POINTS,
    ),
    Task.DESCRIBE: Row(
        number=4,
        takes=Takes.BOX,
        answers=Answers.WORDS,
        max_new_tokens=64,
        wording="Please provide a short description of this region: {region}",
        about="Words for what is in a box.",
        example="10,20,110,220",
    ),
    Task.CAPTION: Row(
        number=5,
        takes=Takes.NOTHING,
        answers=Answers.WORDS,
        max_new_tokens=320,
        wording=(
            "Describe the image concisely. Include the bounding box for each mentioned object."
        ),
        about="One sentence on the picture, with boxes.",
        language=Language.BOXES,
    ),
    Task.READ_TEXT: Row(
        number=6,
        takes=Takes.NOTHING,
        answers=Answers.BOXES,
        max_new_tokens=512,
        wording="Please detect all texts and provide their bounding box coordinate.",
        about="Written words with their boxes (released weights only).",
    ),
    Task.POINT: Row(
        number=7,
        takes=Takes.TEXT,
        answers=Answers.POINTS,
        max_new_tokens=96,
        wording=GROUNDING,
        about="A point on what a description names.",
        example="the red mug",
        language=Language.ONE_PLACE,
    ),
}
