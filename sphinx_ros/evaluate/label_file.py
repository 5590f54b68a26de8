"""A file of labels: pictures, expressions and their boxes, one JSON object a line (JSON Lines).

    {"image": "desk.jpg", "text": "the red mug", "box": [214, 80, 305, 190]}
    {"image": "desk.jpg", "text": "the green mug", "box": null}

image: a path, relative to the file's folder. box: x0, y0, x1, y1 in pixels of the picture as it is
shown (turned upright); null: there is no such thing in it. Imports no torch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import checked_box, checked_text
from sphinx_ros.types import Box

KEYS = {"image", "text", "box"}
MOST_BYTES = 1 << 28
"""Of a file of labels: a million lines and more."""


@dataclass(frozen=True)
class Labelled:
    """One line. box: x0, y0, x1, y1 in source pixels; None: there is no such thing."""

    line: int
    image: Path
    text: str
    box: Box | None


def read_labels(file: str | Path) -> list[Labelled]:
    """All lines of a file of labels; empty ones are skipped.

    Raises:
        BadRequest: no file, or one without lines; a line that can't be used, by its number.
    """
    path = Path(file)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadRequest(f"{path} has more than {MOST_BYTES >> 20} MiB; give a smaller part")
        # not splitlines(): texts may hold characters that it takes for line ends. An editor's
        # byte order mark is no part of the first line.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadRequest(f"{path} can't be read as a file of labels: {said}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(labelled_line(number, line, path.parent))
            except BadRequest as error:
                raise BadRequest(f"{path}, line {number}: {error}") from None
    if not found:
        raise BadRequest(
            f"{path} has no line; one is such as "
            '{"image": "desk.jpg", "text": "the red mug", "box": [214, 80, 305, 190]}'
        )
    return found


def labelled_line(number: int, line: str, folder: Path) -> Labelled:
    """One line. folder: what its picture is relative to. Raises BadRequest."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest(f"{quoted(line)} is no JSON object") from None
    if not isinstance(row, dict) or set(row) != KEYS or not isinstance(row["image"], str):
        raise BadRequest(
            f"{quoted(line)} has not the keys image, text and box (null: no such thing)"
        )
    image = folder / row["image"]
    if not os.path.isfile(image):  # Path.is_file raises for a name that is too long
        raise BadRequest(f"there is no file {quoted(row['image'])} beside the labels")
    box = None if row["box"] is None else checked_box(row["box"])
    return Labelled(number, image, checked_text(row["text"]), box)
