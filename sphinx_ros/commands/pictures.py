"""The words IMAGE of a command line -> pictures, one after another; and a picture -> a file.

A file, standard input, all pictures in a folder, frames of a video, several of these, or frames of
a webcam. Knows no model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sphinx_ros.commands.videos import begins_video, frame_count, from_stdin, is_video, opened
from sphinx_ros.errors import BadImage, BadRequest, SphinxError, quoted, shortened
from sphinx_ros.image.picture_size import MAX_PIXELS
from sphinx_ros.runtime.files import write_bytes
from sphinx_ros.runtime.printable import file_name

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""What counts as a picture in a folder, and what --save can write."""

STDIN = "-"
"""The word for standard input."""

MAX_BYTES = 8 * MAX_PIXELS
"""Largest file that is read: four channels of 16 bits for each pixel."""

WARM_UP = 5  # frames a webcam gets to adjust its exposure


@dataclass(frozen=True)
class Picture:
    """One picture, or why it can't be used.

    name: for people, a path or "camera 0". file: the path itself, which may be no Unicode. time:
    of a frame, seconds from its video's start; None of what is no video. rate: frames per second
    of its video that are looked at.
    """

    name: str
    file: str = ""
    rgb: np.ndarray | None = None  # [H, W, 3] uint8
    error: SphinxError | None = None
    time: float | None = None
    rate: float = 0.0


@dataclass(frozen=True)
class Source:
    """Where pictures come from: ``files``, or the webcam of number ``camera``.

    many: results are saved into a folder, because a folder or several pictures were given.
    folders: those that were given. every: least seconds between frames of a video.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    many: bool = False
    camera: int | None = None
    watch: bool = False
    every: float = 0.0

    @classmethod
    def of(cls, words: Sequence[str], watch: bool = False, every: float = 0.0) -> Source:
        """Read the words. Raises BadRequest: nothing there, a folder without pictures, or a number
        that no webcam has.
        """
        first = words[0]
        if len(words) == 1 and first.isdecimal() and not os.path.exists(first):
            return cls(camera=camera_number(first), watch=watch)
        if watch:
            raise BadRequest(f"--watch needs the number of a webcam, not '{file_name(first)}'")
        if words.count(STDIN) > 1:
            raise BadRequest("'-' stands for standard input, which has one picture: give it once")
        files = tuple(name for word in words for name in _files(word))
        folders = tuple(word for word in words if os.path.isdir(word))
        return cls(files, folders, len(words) > 1 or bool(folders), every=every)

    def __iter__(self) -> Iterator[Picture]:
        if self.camera is not None:
            yield from webcam(self.camera, self.watch)
        for name in self.files:
            try:
                if name == STDIN and _video_is_coming():
                    with from_stdin() as path:
                        yield from self._frames(path, name)
                elif is_video(name):
                    yield from self._frames(name, name)
                else:
                    yield Picture(file_name(name), name, read_picture(name))
            except SphinxError as error:
                yield Picture(file_name(name), name, error=error)

    def _frames(self, path: str, name: str) -> Iterator[Picture]:
        """The frames of a video; a line on standard error where it ends before its end.

        Raises BadImage: it has none.
        """
        said, last = file_name(name), -1.0
        with opened(path, said, self.every) as clip:
            for last, rgb in clip:
                yield Picture(said, name, rgb, time=last, rate=clip.rate)
            lacking = clip.lacking
        if last < 0:
            raise BadImage(f"{said} is no readable video: it has no frame")
        if lacking:
            print(f"sphinx-ros: {said}: {lacking}", file=sys.stderr)

    @property
    def moving(self) -> bool:
        """Whether there is a video, as far as names say."""
        return any(map(is_video, self.files))

    def __len__(self) -> int:
        """How many pictures will come, as far as files say."""
        counts = (frame_count(one, self.every) if is_video(one) else 1 for one in self.files)
        return max(1, sum(counts))


def camera_number(word: str) -> int:
    """The number of a webcam. Raises BadRequest: it has more digits than a webcam's can have."""
    if len(word) > 9:  # of thousands of digits Python makes no number
        raise BadRequest(f"webcam {shortened(word)} can't be opened; cameras are numbered from 0")
    return int(word)


def is_picture_word(word: str) -> bool:
    """Whether a word behind IMAGE is one more picture, and not text: its form says so."""
    folder = word.endswith(("/", os.sep)) and os.path.isdir(word)
    return word == STDIN or folder or word.lower().endswith(SUFFIXES) or is_video(word)


def picture_below(root: str, word: object) -> Picture:
    """The picture of a path below a folder, or a frame of the webcam of a number.

    Raises:
        BadRequest: it is no file, or lies elsewhere, maybe by a link.
        BadImage: the webcam can't be used.
    """
    top = Path(root).resolve()
    named = isinstance(word, str) and "\0" not in word
    try:
        path = (top / str(word)).resolve() if named else top
        there = path.is_file()
    except OSError as error:  # its name is too long, or a folder must not be read
        raise BadRequest(f"the picture {quoted(word)} can't be read: {error.strerror}") from None
    if there:
        if not path.is_relative_to(top):
            raise BadRequest(f"{quoted(word)} does not lie below {top}, as pictures must")
        picture = next(iter(Source((str(path),))))
        return replace(picture, name=file_name(str(word)))
    if isinstance(word, str) and word.isdecimal():
        return next(iter(Source(camera=camera_number(word))))
    raise BadRequest(f"there is no picture {quoted(word)} in {top}: give its path")


def as_jpeg(rgb: np.ndarray) -> bytes:
    """The JPEG file of [H, W, 3] uint8 RGB."""
    import cv2

    return cv2.imencode(".jpg", rgb[:, :, ::-1])[1].tobytes()


def _files(word: str) -> list[str]:
    """The files that a word stands for."""
    if not word.strip():
        raise BadRequest("IMAGE is empty (a variable that is not set?): give a picture")
    if os.path.isdir(word):
        try:
            names = sorted(name for name in os.listdir(word) if name.lower().endswith(SUFFIXES))
        except OSError as error:
            raise BadRequest(
                f"the folder {file_name(word)} can't be read: {error.strerror}"
            ) from None
        if not names:
            raise BadRequest(
                f"the folder {file_name(word)} holds no picture ({' '.join(SUFFIXES)})"
            )
        return [os.path.join(word, name) for name in names]
    if word != STDIN and not os.path.exists(word):
        raise BadRequest(
            f"there is no file or folder '{file_name(word)}'; give a picture, a video, a "
            "folder of pictures, - for standard input, or the number of a webcam as 0"
        )
    return [word]


def _video_is_coming() -> bool:
    """Whether standard input begins as a video does."""
    peek = getattr(getattr(sys.stdin, "buffer", None), "peek", None)
    return peek is not None and not sys.stdin.isatty() and begins_video(peek(16))


def read_picture(name: str | Path) -> np.ndarray:
    """[H, W, 3] uint8 RGB, turned upright as its orientation says, as viewers show it.

    name: a path, or - for standard input.

    Raises:
        BadImage: not readable as a picture; the message names the file.
    """
    from sphinx_ros.image.formats import decode_file

    what = "standard input" if name == STDIN else file_name(name)
    try:
        return decode_file(_content(name))
    except OSError as error:
        raise BadImage(f"{what} can't be read: {error.strerror or error}") from error
    except BadImage as error:
        raise BadImage(f"{what} is no readable picture: {error}") from error


def _content(name: str | Path) -> bytes:
    """All bytes of a file. Raises OSError, or BadImage: there are too many."""
    if name == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            raise BadImage("it is a terminal; write < photo.jpg behind the command")
        return _bounded(sys.stdin.buffer)
    with open(name, "rb") as file:
        return _bounded(file)


def _bounded(file: BinaryIO) -> bytes:
    """All of a file, piece by piece: some, such as /dev/zero, never end."""
    pieces: list[bytes] = []
    while piece := file.read(1 << 20):
        pieces.append(piece)
        if len(pieces) > MAX_BYTES >> 20:
            raise BadImage(f"it has more than {MAX_BYTES} bytes; pictures that are read have less")
    return b"".join(pieces)


def webcam(number: int, watch: bool) -> Iterator[Picture]:
    """One frame of a webcam, or frame after frame. Raises BadImage if there is no such camera."""
    import cv2

    if number > 999:  # OpenCV reads hundreds as the kind of driver, and fails on huge numbers
        raise BadImage(f"webcam {number} can't be opened; cameras are numbered from 0")
    # OpenCV's own warnings would stand between our lines
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise BadImage(
                f"webcam {number} can't be opened; is it plugged in, and may you read /dev/video*?"
            )
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # else an answer is about a picture long past
        for _ in range(WARM_UP):
            capture.grab()
        while True:
            there, bgr = capture.read()
            if not there or bgr is None:
                raise BadImage(f"webcam {number} gave no frame; is another program using it?")
            yield Picture(f"camera {number}", rgb=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            if not watch:
                return
            capture.grab()  # the frame that was waiting while the last one was looked at
    finally:
        capture.release()


def write_picture(path: Path, rgb: np.ndarray) -> Path:
    """Write [H, W, 3] uint8 RGB in the format of the suffix, whole or not at all.

    Raises:
        BadRequest: the format or the place can't be written; an older file is unharmed.
    """
    import cv2

    try:
        done, data = cv2.imencode(path.suffix.lower(), rgb[:, :, ::-1])
    except cv2.error:
        done = False
    if not done:
        raise BadRequest(
            f"{file_name(path)}: {rgb.shape[1]}x{rgb.shape[0]} pixels can't be written as "
            f"{path.suffix!r}; use .png"
        )
    try:
        write_bytes(path, data.tobytes())
    except OSError as error:
        raise BadRequest(
            f"{file_name(path)} can't be written: {error.strerror or error}"
        ) from error
    return path
