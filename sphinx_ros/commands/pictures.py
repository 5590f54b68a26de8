"""The word IMAGE of a command line -> pictures, one after another; and pictures -> files.

A file, all pictures in a folder, or frames of a webcam. Knows no model.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx_ros.errors import BadImage, BadRequest, SphinxError

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""What counts as a picture in a folder, and what --save can write."""

WARM_UP = 5  # frames a webcam gets to adjust its exposure


@dataclass(frozen=True)
class Picture:
    """One picture, or why it can't be used. name: for people, a path or "camera 0"."""

    name: str
    rgb: np.ndarray | None = None  # [H, W, 3] uint8
    error: SphinxError | None = None


@dataclass(frozen=True)
class Source:
    """Where pictures come from: ``files``, or the webcam of number ``camera``."""

    files: tuple[Path, ...] = ()
    folder: Path | None = None
    camera: int | None = None
    watch: bool = False

    @classmethod
    def of(cls, word: str, watch: bool = False) -> Source:
        """Read the word. Raises BadRequest: nothing there, or a folder without pictures."""
        path = Path(word)
        if word.isdecimal() and not path.exists():
            return cls(camera=int(word), watch=watch)
        if watch:
            raise BadRequest(f"--watch needs the number of a webcam, not {word!r}")
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not files:
                raise BadRequest(f"the folder {word} holds no picture ({' '.join(SUFFIXES)})")
            return cls(tuple(files), path)
        if not path.exists():
            raise BadRequest(
                f"there is no file or folder {word!r}; give a picture, a folder of pictures, or "
                "the number of a webcam as 0"
            )
        return cls((path,))

    def __iter__(self) -> Iterator[Picture]:
        if self.camera is not None:
            yield from webcam(self.camera, self.watch)
        for path in self.files:
            try:
                yield Picture(str(path), read_picture(path))
            except SphinxError as error:
                yield Picture(str(path), error=error)

    def __len__(self) -> int:
        return max(1, len(self.files))


def read_picture(path: Path) -> np.ndarray:
    """[H, W, 3] uint8 RGB, turned upright as its EXIF orientation says, as viewers show it.

    Raises:
        BadImage: not readable as a picture; the message names the file.
    """
    from sphinx_ros.image.decode import decode_compressed

    try:
        data = path.read_bytes()
        camera_format = data.startswith((b"\xff\xd8", b"\x89PNG"))
        return upright(decode_compressed(data) if camera_format else decode_other(data), data)
    except OSError as error:
        raise BadImage(f"{path} can't be read: {error.strerror or error}") from error
    except BadImage as error:
        raise BadImage(f"{path} is no readable picture: {error}") from error


def decode_other(data: bytes) -> np.ndarray:
    """What cameras do not send: BMP, WebP, TIFF, PNM. Raises BadImage."""
    import cv2
    import numpy as np
    from PIL import Image

    from sphinx_ros.image.decode import MAX_PIXELS

    if not data:
        raise BadImage("it is empty")
    try:
        width, height = Image.open(io.BytesIO(data)).size  # reads the header only
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadImage(f"its {len(data)} bytes are of no known format") from error
    if width * height > MAX_PIXELS:
        raise BadImage(f"it has {width}x{height} pixels, at most {MAX_PIXELS} are read; shrink it")
    mode = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if bgr is None:
        raise BadImage(f"its {len(data)} bytes can't be decoded")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def upright(rgb: np.ndarray, data: bytes) -> np.ndarray:
    """Turn or mirror a picture as the EXIF orientation in its file says."""
    import numpy as np
    from PIL import Image

    try:
        orientation = Image.open(io.BytesIO(data)).getexif().get(0x0112, 1)
    except (OSError, ValueError, SyntaxError):  # Pillow does not know the format: no EXIF
        return rgb
    quarter = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)  # counter-clockwise
    turned = np.rot90(rgb, quarter)
    return np.ascontiguousarray(turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned)


def webcam(number: int, watch: bool) -> Iterator[Picture]:
    """One frame of a webcam, or frame after frame. Raises BadImage if there is no such camera."""
    import cv2

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
            yield Picture(f"camera {number}", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            if not watch:
                return
            capture.grab()  # the frame that was waiting while the last one was looked at
    finally:
        capture.release()


class Saver:
    """Where --save puts drawn pictures. Everything that can be checked beforehand is.

    Raises:
        BadRequest: the target can't be written, is no picture, or would overwrite the source.
    """

    def __init__(self, target: str, source: Source):
        self.target, self.many = Path(target), source.folder is not None
        if self.many:
            if self.target.resolve() == source.folder.resolve():
                raise BadRequest(f"--save {target} would overwrite the pictures; name another")
            try:
                self.target.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadRequest(
                    f"--save {target} can't be made a folder ({error.strerror}); pictures from a "
                    "folder are saved into a folder"
                ) from error
        elif self.target.is_dir() or self.target.suffix.lower() not in SUFFIXES:
            raise BadRequest(f"--save {target} must be a file with one of {' '.join(SUFFIXES)}")
        elif any(self.target.resolve() == path.resolve() for path in source.files):
            raise BadRequest(f"--save {target} would overwrite the picture itself; name another")
        folder = self.target if self.many else self.target.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            what = "can't be written to" if folder.is_dir() else "does not exist"
            raise BadRequest(f"--save {target}: the folder {folder} {what}")

    def save(self, name: str, rgb: np.ndarray) -> Path:
        """Write one drawn picture; from a folder under its own name."""
        path = self.target / Path(name).name if self.many else self.target
        return write_picture(path, rgb)


def write_picture(path: Path, rgb: np.ndarray) -> Path:
    """Write [H, W, 3] uint8 RGB in the format of the suffix. Raises BadRequest."""
    import cv2

    try:
        done, data = cv2.imencode(path.suffix.lower(), rgb[:, :, ::-1])
    except cv2.error:
        done = False
    if not done:
        raise BadRequest(f"{path}: pictures can't be written as {path.suffix!r}; use .png or .jpg")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise BadRequest(f"{path} can't be written: {error.strerror or error}") from error
    return path
