"""Results of looking at a picture, as frozen values. Knows nobody.

Pixels are those of the picture that was passed in: x to the right, y down, the origin at the upper
left corner of the upper left pixel, not clipped by a resize and with the letterbox undone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from sphinx_ros.errors import Status

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in source pixels

COCO_KEYPOINTS = (
    "nose",
    "left eye",
    "right eye",
    "left ear",
    "right ear",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left wrist",
    "right wrist",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left ankle",
    "right ankle",
)
"""The 17 COCO joint names in COCO order; left and right are the person's own."""

COCO_EDGES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""The COCO skeleton as 19 pairs of indices into :data:`COCO_KEYPOINTS`."""


class ScoreSource(IntEnum):
    """Where a score comes from; the values are those of the messages' ``score_source``."""

    NONE = 0  # unknown: the score is NaN
    TOKEN_PROBABILITY = 1  # geometric mean of the probabilities of the coordinate tokens


class Visibility(IntEnum):
    """What is known of a joint; the values are those of ``msg/Keypoint``."""

    ABSENT = 0  # the model gave no position; x and y are NaN
    UNKNOWN = 1  # a position, with no word on occlusion
    OCCLUDED = 2
    VISIBLE = 3


@dataclass(frozen=True)
class Detection:
    """A labelled box: ``box`` = (x0, y0, x1, y1) in source pixels with x0 <= x1 and y0 <= y1."""

    label: str
    box: Box
    score: float = math.nan
    score_source: ScoreSource = ScoreSource.NONE


@dataclass(frozen=True)
class Keypoint:
    """One joint or named point in source pixels; NaN where the model gave no position."""

    name: str
    x: float
    y: float
    score: float = math.nan
    visibility: Visibility = Visibility.UNKNOWN


@dataclass(frozen=True)
class Pose:
    """A person: 17 keypoints in the order of :data:`COCO_KEYPOINTS`, absent ones kept (NaN)."""

    keypoints: tuple[Keypoint, ...]
    box: Box | None = None
    score: float = math.nan
    score_source: ScoreSource = ScoreSource.NONE


@dataclass(frozen=True)
class Answer:
    """A text answer, with whatever boxes and points stood in it."""

    text: str
    detections: tuple[Detection, ...] = ()
    keypoints: tuple[Keypoint, ...] = ()
    raw_text: str = ""
    unread: tuple[str, ...] = ()
    status: Status = Status.OK
    score: float = math.nan
    milliseconds: float = math.nan
    tokens: int = 0


T = TypeVar("T")


@dataclass
class _Report:
    """What stands beside a list of results."""

    raw_text: str = ""  # the model's own words
    unread: tuple[str, ...] = ()  # parts of raw_text that look like a result and could not be read
    status: Status = Status.OK
    milliseconds: float = math.nan  # time of the question, without the look
    tokens: int = 0  # tokens the model wrote


class Results(list, Generic[T]):
    """A list of detections or poses that keeps the model's words beside it.

    Attributes:
        raw_text, unread, status, milliseconds, tokens: see the fields of ``report``.
    """

    def __init__(self, items: Iterable[T] = (), **report):
        super().__init__(items)
        self.report = _Report(**report)

    def __getattr__(self, name: str):
        if name != "report" and name in _Report.__dataclass_fields__:
            return getattr(self.report, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the stages of a look; NaN where a stage did not run."""

    decode: float = math.nan
    encode: float = math.nan
    prefill: float = math.nan
    extra: dict = field(default_factory=dict)
