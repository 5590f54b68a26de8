"""What people ask with -> checked values, for every door: Python, command line and node.

Each check raises :class:`BadRequest` with the value, the limit and the remedy in one sentence. The
limit of a text is in tokens, which only a tokenizer can count: see :meth:`Sphinx.check`. Pictures
have theirs in :mod:`sphinx_ros.image.picture_size`. Knows no token, no picture and no ROS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sphinx_ros.errors import BadRequest
from sphinx_ros.types import Box

MAX_TOKENS = 4096
"""Largest limit of new tokens that may be asked for."""

MAX_SECONDS = 86_400.0
"""Longest time limit, a day: clocks and locks take no arbitrary number."""

MAX_STANDING = 32
"""Standing queries at a time."""


def checked_text(text: str) -> str:
    """The words, stripped."""
    if not isinstance(text, str):
        raise BadRequest(f"the text is {type(text).__name__}; give words")
    words = text.strip()
    if not words:
        raise BadRequest("the text is empty: say what to look for or what to answer")
    if "\x00" in words:
        raise BadRequest("the text holds a NUL character: remove it")
    try:
        words.encode()
    except UnicodeEncodeError:
        raise BadRequest(
            f"the text {_short(words)} is not valid Unicode: write it in UTF-8"
        ) from None
    return words


def checked_box(box: Sequence[float], size: tuple[int, int] | None = None) -> Box:
    """Four numbers x0, y0, x1, y1 in source pixels. size: (width, height) of the picture, px."""
    try:
        values = tuple(float(value) for value in box)
    except (TypeError, ValueError):
        values = ()
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise BadRequest(
            f"the box {_short(box)} is not four finite numbers: give x0,y0,x1,y1 in pixels, as "
            "10,20,110,220"
        )
    x0, y0, x1, y1 = values
    if x0 >= x1 or y0 >= y1:
        raise BadRequest(f"the box {_words(values)} is empty: it must be x0 < x1 and y0 < y1")
    if size is not None and not (x0 < size[0] and y0 < size[1] and x1 > 0 and y1 > 0):
        raise BadRequest(
            f"the box {_words(values)} lies outside the picture of {size[0]}x{size[1]} pixels: "
            "give a box inside it"
        )
    return x0, y0, x1, y1


def read_box(text: str) -> Box:
    """ "10,20,110,220" in pixels -> the box; commas, semicolons or spaces, brackets allowed."""
    words = text.strip().strip("[](){} ").replace(",", " ").replace(";", " ").split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 4:
        raise BadRequest(
            f"the box {_short(text)} is not four finite numbers: give x0,y0,x1,y1 in pixels, as "
            "10,20,110,220"
        )
    return checked_box(values)


def checked_seconds(seconds: float, name: str = "timeout") -> float:
    """A time limit that must be above 0."""
    if not 0 < seconds <= MAX_SECONDS:  # false for NaN too
        raise BadRequest(
            f"{name} is {seconds:g} s; it must be above 0 and at most {MAX_SECONDS:g}"
        )
    return float(seconds)


def checked_tokens(tokens: int) -> int:
    """A limit of new tokens; 0 leaves it to the task."""
    if tokens != int(tokens) or not 0 <= tokens <= MAX_TOKENS:
        raise BadRequest(f"max_new_tokens is {tokens}; it must be 0..{MAX_TOKENS} (0: usual)")
    return int(tokens)


def _words(box: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in box)


def _short(value: object) -> str:
    """A value as it is quoted in a message: at most 80 characters of it, printable."""
    words = ascii(value) if not isinstance(value, str) else repr(value)
    words = words.encode("utf-8", "backslashreplace").decode()
    return words if len(words) <= 80 else words[:77] + "..."
