"""Results of looking at a picture, as frozen values, and what two boxes share.

Pixels are those of the picture that was passed in: x to the right, y down, the origin at the upper
left corner of the upper left pixel, not clipped by a resize and with the letterbox undone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from enum import IntEnum
from typing import Any, TypeVar, overload

from sphinx_ros.errors import Status

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in source pixels."""

UNKNOWN_BOX: Box = (math.nan, math.nan, math.nan, math.nan)


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1; 0 where both are empty."""
    wide = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    high = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - wide * high
    return float(wide * high / both) if both > 0 else 0.0


SAME_IOU = 0.95
"""Boxes of one label that overlap more are one thing, said again."""


def same_box(one: Box, other: Box) -> bool:
    """Whether two boxes of one label are one thing, said again."""
    return one == other or iou(one, other) > SAME_IOU


COCO_KEYPOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear",
    "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
    "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
)  # fmt: skip
"""The 17 COCO joint names in COCO order; left and right are the person's own."""

COCO_MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""Of each joint the index of that on the other side of the body, its place in a mirror."""

COCO_EDGES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""The COCO skeleton as 19 pairs of indices into :data:`COCO_KEYPOINTS`."""


def _check_box(box: Sequence[float]) -> None:
    if len(box) != 4 or box[0] > box[2] or box[1] > box[3]:  # NaN passes: a box that is unknown
        raise ValueError(f"box {tuple(box)}: expected x0 <= x1 and y0 <= y1, in pixels")


class ScoreSource(IntEnum):
    """Where a score comes from; the values are those of the messages' ``score_source``."""

    NONE = 0  # unknown: the score is NaN
    TOKEN_PROBABILITY = 1  # geometric mean of the probabilities of the coordinate tokens
    CALIBRATED = 2  # probability that the box is right (IoU of 0.5 or more), by a calibration


class PointSource(IntEnum):
    """Where a point comes from; the values are those of ``msg/PointArray``."""

    NONE = 0  # there is no point
    MODEL = 1  # the model wrote the point itself
    BOX = 2  # the middle of the box that the model grounded


class Visibility(IntEnum):
    """What is known of a joint; the values are those of ``msg/Keypoint``."""

    ABSENT = 0  # the model gave no position; x and y are NaN
    UNKNOWN = 1  # a position, with no word on occlusion
    OCCLUDED = 2
    VISIBLE = 3


@dataclass(frozen=True)
class Detection:
    """A labelled box.

    Attributes:
        box: (x0, y0, x1, y1) in source pixels with x0 <= x1 and y0 <= y1.
        score: 0..1, NaN where unknown; score_source says what it is.
        sigma: standard deviation of each side of the box, source pixels; NaN where unknown.
        expected: the box by the expected values of its digits, beside the digits that were
            written; NaN where unknown.
        presence: the model's probability that there is such a thing, 0..1; NaN where not asked.
    """

    label: str
    box: Box
    score: float = math.nan
    score_source: ScoreSource = ScoreSource.NONE
    sigma: Box = UNKNOWN_BOX
    expected: Box = UNKNOWN_BOX
    presence: float = math.nan

    def __post_init__(self) -> None:
        _check_box(self.box)

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.box)
        return f"Detection({self.label!r}, box=({box}), score={self.score:.2f})"


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

    def __post_init__(self) -> None:
        if len(self.keypoints) != len(COCO_KEYPOINTS):
            raise ValueError(
                f"a pose has {len(COCO_KEYPOINTS)} keypoints, not {len(self.keypoints)}: keep "
                "absent ones as NaN"
            )
        if self.box is not None:
            _check_box(self.box)


@dataclass(frozen=True)
class Cost:
    """What an answer took.

    Attributes:
        look_ms: the look, encoding and prefix; 0 where the picture had been looked at before.
        prefill_ms: from the question to its first token. decode_ms: from there to its end.
        tokens: tokens written, without the end signal. passes: passes of the network.
        accepted: tokens that were guessed right, and cost no pass of their own.
        cached: whether the picture had been looked at before, by whomever.
        prompt_tokens: tokens of the prompt, the picture's included. cached_tokens: of these, those
            that were not read for this question, as a look or an earlier turn had read them.
        cut: whether the limit of tokens ended the answer before the model did.
    """

    look_ms: float = math.nan
    prefill_ms: float = math.nan
    decode_ms: float = math.nan
    tokens: int = 0
    passes: int = 0
    accepted: int = 0
    cached: bool = False
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cut: bool = False

    def __add__(self, other: Cost) -> Cost:
        """Of two questions about one look."""
        return Cost(
            self.look_ms,
            self.prefill_ms + other.prefill_ms,
            self.decode_ms + other.decode_ms,
            self.tokens + other.tokens,
            self.passes + other.passes,
            self.accepted + other.accepted,
            self.cached,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cut or other.cut,
        )


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
    cost: Cost = Cost()

    @property
    def poses(self) -> tuple[Pose, ...]:
        """People: a text answer has none; there for symmetry with :class:`Results`."""
        return ()


T = TypeVar("T", Detection, Pose, Keypoint)


@dataclass(frozen=True, eq=False)
class Results(Sequence[T]):
    """Detections, poses or points in the order the model wrote them, with its words beside them.

    A slice keeps what stands beside the items. A list or tuple of the same items is equal.

    Attributes:
        items: the results.
        raw_text: the model's own words.
        unread: parts of raw_text that look like a result and could not be read.
        status: OK, NOT_FOUND or PARSE_FAILED.
        denied: boxes that were written of what the model, asked whether it is there, denies.
        milliseconds: time of the question, without the look.
        tokens: tokens that the model wrote, without the end signal.
        cost: what they took, in detail.
    """

    items: tuple[T, ...] = ()
    raw_text: str = ""
    unread: tuple[str, ...] = ()
    status: Status = Status.OK
    milliseconds: float = math.nan
    tokens: int = 0
    cost: Cost = Cost()
    denied: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Results):
            return astuple(self) == astuple(other)
        return isinstance(other, (list, tuple)) and self.items == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Results[T]: ...
    def __getitem__(self, index: int | slice) -> T | Results[T]:
        if isinstance(index, slice):
            return replace(self, items=self.items[index])
        return self.items[index]

    @property
    def detections(self) -> tuple[Detection, ...]:
        """The boxes among the results."""
        return tuple(item for item in self.items if isinstance(item, Detection))

    @property
    def poses(self) -> tuple[Pose, ...]:
        """The people among the results."""
        return tuple(item for item in self.items if isinstance(item, Pose))


@dataclass(frozen=True, eq=False)
class Points(Results[Keypoint]):
    """Points that answer a description, each of the box that it is the middle of, if it is one.

    Attributes:
        source: where all of them come from.
        boxes: what the points stand for, in their order; empty where the model wrote points.
    """

    source: PointSource = PointSource.NONE
    boxes: tuple[Detection, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return replace(found, boxes=self.boxes[index]) if isinstance(index, slice) else found

    @property
    def keypoints(self) -> tuple[Keypoint, ...]:
        """The points."""
        return self.items

    @property
    def detections(self) -> tuple[Detection, ...]:
        """The boxes that they stand for."""
        return self.boxes


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the two stages of a look."""

    encode: float
    prefill: float
