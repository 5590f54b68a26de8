"""What the worker takes in and gives out, as plain values. Knows no message and no model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sphinx_ros.errors import BadImage, Status, encodable
from sphinx_ros.image.buffers import as_bytes
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.positions import Positions
from sphinx_ros.runtime import failures
from sphinx_ros.types import Answer, Detection, Keypoint, Pose, Results

NAN = math.nan

NODE = "the node's"
"""Whose log it is."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture that has arrived, still as bytes. Times are seconds of the node's clock.

    decode: bytes to RGB [H, W, 3] uint8; raises BadImage. stamp: when it was taken, NaN if the
    camera did not say. header: handed through to the answer untouched. own: it came with a request
    and not from the camera. filled_bits: how many bits its 16-bit samples fill, None where the
    picture has none or the parameter image_bits says it. camera: its name, "" for the only one.
    data: the bytes of the message, None where nobody is to compare them; compressed: these are a
    picture file. depth: its claim on depth, see :mod:`sphinx_ros.ros.depth_pairs`; None where it
    has none.
    """

    decode: Callable[[], np.ndarray]
    received: float
    stamp: float = NAN
    header: Any = None
    own: bool = False
    filled_bits: Callable[[], int] | None = None
    camera: str = ""
    data: Any = None
    depth: Any = None
    compressed: bool = False

    def same(self, other: Frame) -> bool:
        """Whether another one has the same bytes."""
        if self.data is None or other.data is None:
            return False
        try:
            return np.array_equal(as_bytes(self.data), as_bytes(other.data))
        except BadImage:  # empty, or no bytes: the look at it says so
            return False


@dataclass(frozen=True, eq=False)
class Look:
    """A frame that was decoded and encoded, or what kept it from it.

    failure: a named outcome and its sentence. The error itself is not kept: its trace, and that of
    each error behind it, would hold on to the picture.
    """

    frame: Frame
    rgb: np.ndarray | None = None
    seen: Any = None
    failure: tuple[Status, str] | None = None
    decode_ms: float = NAN
    look_ms: float = NAN


@dataclass(frozen=True)
class Times:
    """The fields of msg/Timing: seconds of the node's clock, milliseconds of a steady one."""

    received: float = NAN
    started: float = NAN
    finished: float = NAN
    image_age_ms: float = NAN
    queue_ms: float = NAN
    decode_ms: float = NAN
    look_ms: float = NAN
    query_ms: float = NAN
    tokens: int = 0
    passes: int = 0
    accepted: int = 0
    cached: bool = False
    frames_dropped: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one query. `result` is what the method of Seen returned, None on failure.

    positions: where its boxes, points and people are in space, where that is known. reused: the
    picture showed nothing new, and the result is that of the last one looked at.
    """

    query: Query
    status: Status
    text: str = ""
    result: Results | Answer | None = None
    raw_text: str = ""
    unread: tuple[str, ...] = ()
    header: Any = None
    width: int = 0
    height: int = 0
    times: Times = field(default_factory=Times)
    positions: Positions = field(default_factory=Positions)
    camera: str = ""
    reused: bool = False

    @property
    def boxes(self) -> tuple[Detection, ...]:
        """The boxes of the result, those that stood in a text answer included."""
        return () if self.result is None else self.result.detections

    @property
    def people(self) -> tuple[Pose, ...]:
        """The people of the result."""
        return () if self.result is None else self.result.poses

    @property
    def points(self) -> tuple[Keypoint, ...]:
        """The points of the result, those in a text answer included; people's are in `people`."""
        return getattr(self.result, "keypoints", ())


def name_error(error: BaseException) -> tuple[Status, str]:
    """The named outcome and one sentence for any error. INTERNAL for what is not foreseen."""
    found = failures.named(error, NODE)
    return found.status, encodable(str(found))


def named(error: Exception) -> tuple[Status, str]:
    """The named outcome of an error; one that was not foreseen leaves its trace in the log."""
    found = failures.logged(error, NODE, "a query")
    return found.status, encodable(str(found))


def forget_traces(error: BaseException | None) -> None:
    """Take its trace, and those of the errors behind it, from an error that has been named.

    A trace holds the variables of all functions it went through, pictures among them; one that
    also holds its error would keep them until Python looks for cycles.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
