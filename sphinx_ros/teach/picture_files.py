"""Picture files of a user's data: read once each, and known by what is in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image.formats import decode_file


def read_picture(image: Path) -> np.ndarray:
    """[H, W, 3] uint8 RGB as the picture is shown. Raises BadImage: it can't be read."""
    return _decoded(image, _bytes(image))


def is_file(path: Path) -> bool:
    """Whether there is such a file; no name is too odd to be asked for."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """The same of a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


class Pictures:
    """The pictures of a user's data, each decoded once, so that a run meets no broken one.

    A picture that lies there twice, under whatever names, is the first of these files: otherwise
    it could be learnt and held out.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Path, tuple[int, int]] | str] = {}
        self._first: dict[bytes, Path] = {}

    def of(self, image: Path) -> tuple[Path, tuple[int, int]]:
        """The first file with this picture, and its width and height as it is shown.

        Raises:
            BadImage: it can't be read.
        """
        found = self._known.get(image)
        if found is None:
            try:
                data = _bytes(image)
                height, width = _decoded(image, data).shape[:2]
                first = self._first.setdefault(hashlib.sha256(data).digest(), image)
                found = first, (width, height)
            except BadImage as error:
                found = str(error)
            self._known[image] = found
        if isinstance(found, str):
            raise BadImage(found)
        return found


def _bytes(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "its name can't be used"
        raise BadImage(f"{image} can't be read: {said}; put it there or remove the row") from None


def _decoded(image: Path, data: bytes) -> np.ndarray:
    try:
        return decode_file(data)
    except BadImage as error:
        raise BadImage(f"{image}: {error}; replace the picture or remove it") from None
