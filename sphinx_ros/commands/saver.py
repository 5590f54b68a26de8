"""The word behind --save -> where drawn pictures go, checked before a model is loaded."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx_ros.commands.pictures import STDIN, SUFFIXES, Source, write_picture
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.printable import file_name

if TYPE_CHECKING:
    import numpy as np


class Saver:
    """Where --save puts drawn pictures. Everything that can be checked beforehand is.

    Raises:
        BadRequest: the target can't be written, is no picture, or would overwrite a source.
    """

    def __init__(self, target: str, source: Source):
        self.target, self.many = Path(target), source.many
        name = file_name(target)
        if not target.strip():
            raise BadRequest("--save is empty: name a file, or a folder for several pictures")
        if self.many:
            self._check_folder(name, source)
        elif self.target.is_dir() or self.target.suffix.lower() not in SUFFIXES:
            raise BadRequest(f"--save {name} must be a file with one of {' '.join(SUFFIXES)}")
        elif any(self.target.resolve() == Path(path).resolve() for path in source.files):
            raise BadRequest(f"--save {name} would overwrite the picture itself; name another")
        folder = self.target if self.many else self.target.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            what = "can't be written to" if folder.is_dir() else "does not exist"
            raise BadRequest(f"--save {name}: the folder {file_name(folder)} {what}")

    def _check_folder(self, name: str, source: Source) -> None:
        """Make the folder; raises BadRequest where pictures would overwrite something."""
        there = self.target.resolve()
        if any(Path(path).parent.resolve() == there for path in source.files if path != STDIN):
            raise BadRequest(f"--save {name} would overwrite the pictures; name another folder")
        same = [n for n, count in Counter(map(_saved_name, source.files)).items() if count > 1]
        if same:
            raise BadRequest(f"--save {name}: several pictures are named {file_name(same[0])}")
        try:
            self.target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadRequest(
                f"--save {name} can't be made a folder ({error.strerror}); several pictures are "
                "saved into a folder"
            ) from error

    def save(self, file: str, rgb: np.ndarray) -> None:
        """Write one drawn picture; of several under its own name."""
        write_picture(self.target / _saved_name(file) if self.many else self.target, rgb)


def _saved_name(file: str) -> str:
    """The name of a picture in the folder of results."""
    name = "stdin.png" if file == STDIN else os.path.basename(file)
    return name if name.lower().endswith(SUFFIXES) else f"{name}.png"
