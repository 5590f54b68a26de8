"""Labelled pictures -> rows of answers, from which a calibration is made. Knows no command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.evaluate.label_file import Labelled
from sphinx_ros.evaluate.trust import refer_row
from sphinx_ros.image.formats import decode_file
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.checks import checked_box
from sphinx_ros.prompt.queries import Query
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.tasks import Task
from sphinx_ros.types import Box

SLACK = 1.0
"""Pixels by which a true box may reach beyond its picture: who labels rounds."""

TOGETHER = 64
"""Questions of one batch at most: each has its room in the picture's cache."""


def labelled_rows(sphinx: Sphinx, labels: Sequence[Labelled]) -> list[dict[str, Any]]:
    """A row of :func:`~sphinx_ros.evaluate.trust.refer_row` for each label, with a progress bar.

    The questions about one picture are answered as one batch.

    Raises:
        SphinxError: a picture or a question that failed; the label's line is named.
    """
    pictures: dict[Path, list[Labelled]] = {}
    for one in labels:
        pictures.setdefault(one.image, []).append(one)
    rows = []
    with Progress(len(labels), "asking", "question") as bar:
        for image, asked in pictures.items():
            for first in range(0, len(asked), TOGETHER):
                part = asked[first : first + TOGETHER]
                rows += _rows_of(sphinx, image, part)
                bar.advance(len(part))
    return rows


def _rows_of(sphinx: Sphinx, image: Path, asked: Sequence[Labelled]) -> list[dict[str, Any]]:
    line = asked[0].line
    try:
        rgb: np.ndarray = decode_file(image.read_bytes())
        height, width = rgb.shape[:2]
        for one in asked:
            line = one.line
            if one.box is not None:
                _check_inside(one.box, width, height)
        queries = [Query(Task.GROUND, one.text) for one in asked]
        found = sphinx.look(rgb).answer(queries, return_errors=True)
        for one, came in zip(asked, found, strict=True):
            line = one.line
            if isinstance(came, Exception):
                raise came
    except OSError as error:
        raise BadRequest(f"line {line}: {image} can't be read: {error.strerror}") from None
    except SphinxError as error:
        error.args = (f"line {line}, {image.name}: {error}",)
        raise
    place = Letterbox.of(width, height)
    return [refer_row(one, it.box, place) for one, it in zip(found, asked, strict=True)]


def _check_inside(box: Box, width: int, height: int) -> None:
    """Refuse a box that is not in its picture: numbers of another picture, or no pixels."""
    x0, y0, x1, y1 = checked_box(box, (width, height))
    if min(x0, y0) < -SLACK or x1 > width + SLACK or y1 > height + SLACK:
        raise BadRequest(
            f"the box {x0:g},{y0:g},{x1:g},{y1:g} reaches beyond the picture of {width}x{height} "
            "pixels: give it in pixels of this picture"
        )
