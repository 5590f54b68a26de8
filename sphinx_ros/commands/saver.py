"""The word behind --save -> where drawn pictures go, checked before a model is loaded."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx_ros.commands.pictures import STDIN, SUFFIXES, Picture, Source, write_picture
from sphinx_ros.commands.videos import WRITTEN, VideoFile, is_video
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.printable import file_name

if TYPE_CHECKING:
    import numpy as np


class Saver:
    """Where --save puts drawn pictures. Everything that can be checked beforehand is.

    Used as a statement: videos are put in place when the next one begins, and when the block ends
    without an error.

    Raises:
        BadRequest: the target can't be written, is no picture, or would overwrite a source.
    """

    def __init__(self, target: str, source: Source):
        self.target, self.many = Path(target), source.many
        self._video: VideoFile | None = None
        name, suffixes = file_name(target), self._suffixes(source)
        if not target.strip():
            raise BadRequest("--save is empty: name a file, or a folder for several pictures")
        if self.many:
            self._check_folder(name, source)
        elif self.target.is_dir() or self.target.suffix.lower() not in suffixes:
            raise BadRequest(f"--save {name} must be a file with one of {' '.join(suffixes)}")
        elif any(self.target.resolve() == Path(path).resolve() for path in source.files):
            raise BadRequest(f"--save {name} would overwrite the picture itself; name another")
        folder = self.target if self.many else self.target.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            what = "can't be written to" if folder.is_dir() else "does not exist"
            raise BadRequest(f"--save {name}: the folder {file_name(folder)} {what}")

    def _suffixes(self, source: Source) -> tuple[str, ...]:
        """What a single target may be; nobody knows yet what standard input brings."""
        if source.files == (STDIN,):
            return (*SUFFIXES, *WRITTEN)
        return tuple(WRITTEN) if source.moving else SUFFIXES

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

    def save(self, picture: Picture, rgb: np.ndarray) -> None:
        """Write one picture with what was drawn into it; of several under its own name."""
        moves = picture.time is not None
        name = _saved_name(picture.file, moves)
        target = self.target / name if self.many else self.target
        if self._video is not None and self._video.path != target:
            self._put()
        if not moves:
            write_picture(target, rgb)
            return
        if target.suffix.lower() not in WRITTEN:
            raise BadRequest(
                f"--save {file_name(target)}: {picture.name} is a video; name a file with one of "
                f"{' '.join(WRITTEN)}"
            )
        if self._video is None:
            self._video = VideoFile(target, picture.rate)
        self._video.add(rgb)

    def _put(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._put()
        elif self._video is not None:
            self._video.drop()


def _saved_name(file: str, moves: bool | None = None) -> str:
    """The name of a picture in the folder of results. moves: whether it is a video."""
    moves = is_video(file) if moves is None else moves
    suffixes, usual = (tuple(WRITTEN), ".mp4") if moves else (SUFFIXES, ".png")
    name = "stdin" if file == STDIN else os.path.basename(file)
    return name if name.lower().endswith(suffixes) else f"{name}{usual}"
