"""A video file -> frames with their times, and drawn frames -> a video file, whole or not there.

Knows no model.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.errors import BadImage, BadRequest
from sphinx_ros.image.overheard import overheard
from sphinx_ros.runtime.files import replaced
from sphinx_ros.runtime.printable import file_name

if TYPE_CHECKING:
    import numpy as np

WRITTEN = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""Formats that --save can write -> the codec, of those that come with OpenCV from PyPI."""

VIDEOS = (*WRITTEN, ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
"""What counts as a video."""

CHATTER = re.compile(r"^\[.*@ ?0x|^\[ *(ERROR|WARN)|^OpenCV")
"""Lines of FFmpeg and OpenCV about files that they can't read."""

QUIET = "-8"
"""FFmpeg's AV_LOG_QUIET."""

SLACK = 0.05
"""Share of a video's time that its sound, or its own word, may be longer than its frames."""

ROUNDED = 1e-3
"""Seconds by which two times in a file may differ from those meant: Matroska has whole ms."""

USUAL_RATE = 25.0
"""Frames per second of a video that does not say it."""


def is_video(name: str) -> bool:
    """Whether a file is a video, by its suffix."""
    return name.lower().endswith(VIDEOS)


def begins_video(head: bytes) -> bool:
    """Whether these are the first bytes of a video: MP4 and MOV, Matroska and WebM, AVI."""
    return counts_frames(head) or head.startswith(b"\x1a\x45\xdf\xa3")


def counts_frames(head: bytes) -> bool:
    """Whether these are the first bytes of a video that counts its frames: MP4 and MOV, AVI.

    Of the others OpenCV estimates a number from how long they last.
    """
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or (
        head[:4] == b"RIFF" and head[8:12] == b"AVI "
    )


@dataclass
class Clip:
    """An open video.

    Attributes:
        rate: frames per second that are looked at, and count: how many these will be, where the
            video's frames come at even times; count is 0 where the video does not say it.
        every: least seconds between frames that are looked at. stride: that in frames.
        frames: how many there are by the video's own count; lasts: seconds, where it has no
            count; 0 where it does not say.
        read: frames that could be read so far, those that are not looked at as well. time: of the
            last one, seconds from the start.
    """

    capture: Any
    rate: float
    count: int
    every: float
    stride: int
    frames: int = 0
    lasts: float = 0.0
    read: int = 0
    time: float = 0.0

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """(seconds from its start, RGB [H, W, 3] uint8) of each frame that is looked at."""
        import cv2

        number = since = 0  # since: number of the last one looked at, at the time `before`
        before = -math.inf
        while there := self.capture.grab():
            at = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3  # 0 of one that has none
            self.time = max(self.time, at)
            timeless = at <= 0 and number - since >= self.stride
            if timeless or self.time - before >= self.every - ROUNDED:
                before, since = self.time, number
                there, bgr = self.capture.retrieve()
                if there:
                    yield self.time, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            number += 1
            self.read += there

    @property
    def lacking(self) -> str:
        """When all was read: what is said of a video that has less than it says; or ""."""
        if self.read < self.frames:
            said = f"{self.read} of the {self.frames} frames that it counts could be read"
        elif self.time < self.lasts - max(1.0, SLACK * self.lasts):
            said = f"its frames end after {self.time:.1f} s"
            said += f", and it says that it has {self.lasts:.1f} s"
        else:
            return ""
        return f"{said}: is it cut off, or damaged?"


@contextlib.contextmanager
def opened(path: str, what: str, every: float = 0.0) -> Iterator[Clip]:
    """A video to read. every: least seconds between frames. what: its name for people.

    Raises:
        BadImage: it can't be read as a video.
    """
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # FFmpeg has a line, or thousands, for each damaged frame; read with the process's first video
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", QUIET)
    with overheard(CHATTER):
        capture = cv2.VideoCapture(path)
    try:
        frames = int(max(0, capture.get(cv2.CAP_PROP_FRAME_COUNT))) if capture.isOpened() else 0
        rate = capture.get(cv2.CAP_PROP_FPS)
        if not capture.isOpened():
            raise BadImage(f"{what} is no readable video")
        rate = rate if 0 < rate < 1e4 else USUAL_RATE
        stride = max(1, math.ceil(every * rate - 1e-6))
        told = (frames, 0.0) if counts_frames(_head(path)) else (0, frames / rate)
        yield Clip(capture, rate / stride, -(-frames // stride), every, stride, *told)
    finally:
        capture.release()


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def frame_count(path: str, every: float = 0.0) -> int:
    """How many frames of a file are looked at; 1 where nobody can say."""
    try:
        with opened(path, path, every) as clip:
            return max(1, clip.count)
    except BadImage:
        return 1


@contextlib.contextmanager
def from_stdin() -> Iterator[str]:
    """A file with what standard input holds, as long as the block lasts: videos are read there
    and back.
    """
    with tempfile.NamedTemporaryFile(prefix="sphinx_video_") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield file.name


class VideoFile:
    """A video that is being written, out of sight until :meth:`close` puts it in place.

    rate: frames per second. All frames get the size of the first one.

    Raises:
        BadRequest: it can't be written.
    """

    def __init__(self, path: Path, rate: float):
        self.path, self._rate = path, rate
        self._folder = tempfile.TemporaryDirectory(prefix="sphinx_video_")
        self._made = Path(self._folder.name) / f"video{path.suffix.lower()}"
        self._writer: Any = None
        self._size, self._count = (0, 0), 0

    def add(self, rgb: np.ndarray) -> None:
        """One more frame, [H, W, 3] uint8."""
        import cv2

        if self._writer is None:
            self._size = (rgb.shape[1] + rgb.shape[1] % 2, rgb.shape[0] + rgb.shape[0] % 2)
            codec = cv2.VideoWriter_fourcc(*WRITTEN[self.path.suffix.lower()])  # type: ignore[attr-defined]
            with overheard(CHATTER):
                self._writer = cv2.VideoWriter(str(self._made), codec, self._rate, self._size)
        self._writer.write(on_canvas(rgb, self._size)[:, :, ::-1])
        self._count += 1

    def close(self) -> None:
        """Put it in place. Raises BadRequest: it can't be written; an older file is unharmed."""
        if self._writer is not None:
            self._writer.release()
        name = file_name(self.path)
        try:
            if self._count != self._frames_there():  # OpenCV tells nobody that a disk is full
                size = f"{self._size[0]}x{self._size[1]}"
                raise BadRequest(
                    f"{name}: {self._count} frames of {size} could not be written as "
                    f"{self.path.suffix} in {tempfile.gettempdir()}: is there room?"
                )
            with self._made.open("rb") as made, replaced(self.path) as target:
                shutil.copyfileobj(made, target)
        except OSError as error:
            raise BadRequest(f"{name} can't be written: {error.strerror or error}") from error
        finally:
            self._folder.cleanup()

    def drop(self) -> None:
        """Leave nothing of it."""
        if self._writer is not None:
            self._writer.release()
        self._folder.cleanup()

    def _frames_there(self) -> int:
        if not self._made.exists() or not os.path.getsize(self._made):
            return 0
        try:
            with opened(str(self._made), "the video") as clip:
                return sum(1 for _ in clip)
        except BadImage:
            return 0


def on_canvas(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture in one corner of width x height pixels, made smaller where it is too large.

    rgb: [H, W, 3] uint8, as what is returned.
    """
    import cv2
    import numpy as np

    (width, height), shape = size, rgb.shape
    scale = min(width / shape[1], height / shape[0], 1.0)
    if scale < 1:
        small = max(1, int(shape[1] * scale)), max(1, int(shape[0] * scale))
        rgb = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: rgb.shape[0], : rgb.shape[1]] = rgb
    return canvas
