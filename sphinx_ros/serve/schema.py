"""What goes into the task doors and comes out, as types: for checks and for the description.

The outputs are written by :mod:`sphinx_ros.remote.wire`; the models here describe them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.checks import (
    LEAST_SECONDS,
    MAX_SECONDS,
    MAX_STANDING,
    MAX_TOKENS,
    checked_box,
    read_box,
)
from sphinx_ros.prompt.queries import LINES

NAME = r"^[0-9a-f]{32}$"
"""The form of a picture's name."""


def _box(value: Any) -> Any:
    """Four numbers out of a list, or out of "x0,y0,x1,y1" in an address or a form."""
    try:
        return (
            None if value is None else (read_box if isinstance(value, str) else checked_box)(value)
        )
    except BadRequest as error:
        raise ValueError(str(error)) from None


Sides = Annotated[
    tuple[float, float, float, float],
    BeforeValidator(_box, json_schema_input_type=list[float] | str),
    Field(description="x0, y0, x1, y1 in pixels: four numbers in JSON, else 10,20,110,220"),
]


class Pictured(BaseModel):
    """Which picture."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any, about: ValidationInfo) -> Any:
        """True would be the number 1."""
        wanted = cls.model_fields[about.field_name or ""].annotation
        if isinstance(value, bool) and wanted not in (bool, bool | None):
            raise ValueError("input should be a value, not true or false")
        return value

    image: str | None = Field(
        None, description="the picture as a data: URL (JSON), or its file (multipart)"
    )
    picture: str | None = Field(
        None,
        pattern=NAME,
        description="the name of one that was sent before: BLAKE2b-128 of its file, hexadecimal",
    )
    model: str | None = Field(
        None, description="the checkpoint (usual), or the name of one of its adapters"
    )


class Asked(Pictured):
    """How a question is to be answered."""

    max_new_tokens: int = Field(
        0, ge=0, le=MAX_TOKENS, description="longest answer, tokens; 0: usual for the task"
    )
    timeout: float | None = Field(
        None, ge=LEAST_SECONDS, le=MAX_SECONDS, description="seconds from the arrival"
    )
    threshold: float = Field(
        0.0, ge=0, le=1, description="boxes, points and people that score less are left out"
    )
    verify: bool = Field(True, description="ask as well whether what is looked for is there")
    short: bool = Field(True, description="ask: for a word or phrase, in the official wording")
    free: bool = Field(False, description="let anything be written where numbers would do")
    coordinates: str = Field(
        "", pattern="^(|greedy|expected)$", description='"greedy" or "expected"; "": usual'
    )
    after: str | None = Field(
        None,
        pattern=NAME,
        description="an earlier picture of the same camera; what was answered about it is guessed "
        "again: fewer passes, the same answers",
    )
    stream: bool = Field(False, description="answer as server-sent events, while it is written")


class Question(Asked):
    """One question about a picture."""

    text: str = Field("", description="what to look for, or the question")
    box: Sides | None = Field(None, description="the region that is asked about")


class Questions(Asked):
    """Several questions about a picture, answered as one batch."""

    queries: list[str] = Field(
        min_length=1,
        max_length=MAX_STANDING,
        description=f"lines such as {LINES}; `query`, several times, in an address and a form",
    )


class Item(BaseModel):
    """A labelled box, in pixels of the picture."""

    label: str
    box: list[float] = Field(description="x0, y0, x1, y1")
    score: float | None = Field(description="0..1")
    score_source: str = Field(description="NONE, TOKEN_PROBABILITY or CALIBRATED")
    sigma: list[float | None] = Field(description="standard deviation of each side, pixels")
    expected: list[float | None] = Field(description="the box by its digits' expected values")
    presence: float | None = Field(description="probability that there is such a thing")


class Place(BaseModel):
    """A joint or a point, in pixels of the picture; x and y are null where it is not seen."""

    name: str
    x: float | None
    y: float | None
    score: float | None
    visibility: str = Field(description="ABSENT, UNKNOWN, OCCLUDED or VISIBLE")


class Person(BaseModel):
    """A person: 17 joints in COCO order."""

    label: str
    box: list[float] | None
    score: float | None
    score_source: str
    keypoints: list[Place]


class Took(BaseModel):
    """What an answer took; times in milliseconds."""

    look_ms: float | None
    prefill_ms: float | None
    decode_ms: float | None
    tokens: int
    passes: int = Field(description="of the network")
    accepted: int = Field(description="tokens that were guessed right, and cost no pass")
    cached: bool
    prompt_tokens: int = Field(description="the picture's included")
    cached_tokens: int = Field(description="of these, those that had been read before")
    cut: bool = Field(description="the limit of tokens ended it")


class Answered(BaseModel):
    """What became of one question."""

    task: str
    status: str = Field(description="OK, NOT_FOUND, PARSE_FAILED, or why there is no answer")
    message: str
    text: str | None = Field(description="words for people, of tasks that answer in words")
    detections: list[Item]
    poses: list[Person]
    points: list[Place]
    point_source: str | None = Field(description="NONE, MODEL or BOX")
    denied: list[Item] = Field(description="boxes of what the model says is not there")
    score: float | None = Field(description="of the words, 0..1")
    raw_text: str = Field(description="the model's own words")
    unread: list[str]
    milliseconds: float | None
    tokens: int
    cost: Took


class LookedAt(BaseModel):
    """A picture that was looked at."""

    picture: str = Field(pattern=NAME, description="its name")
    width: int = Field(description="pixels, turned upright")
    height: int
    cached: bool = Field(description="it had been looked at before, by whomever")
    look_ms: float | None
    model: str


class AnsweredAll(LookedAt):
    """The answers, one for each question, in order."""

    answers: list[Answered]


class Failure(BaseModel):
    """What is wrong."""

    message: str
    type: str
    code: str = Field(description="a status")
    param: str | None = Field(description="the field that is at fault")
    partial_text: str | None = Field(None, description="what the model had written")


class Failed(BaseModel):
    """A request that can't be answered."""

    error: Failure


class Healthy(BaseModel):
    """Whether there is a model."""

    state: str = Field(description="loading, ready or failed")
    message: str
    model: str
    device: str
    adapters: list[str] = Field(description="of the model; each can be asked by its name")


class TaskInfo(BaseModel):
    """What can be asked."""

    name: str
    takes: str = Field(description="text, question, kind, box, maybe box or nothing")
    answers: str = Field(description="boxes, people, points or words")
    max_new_tokens: int
    about: str
    example: str


class Info(Healthy):
    """This server."""

    version: str
    tasks: list[TaskInfo]
    limits: dict[str, float]
