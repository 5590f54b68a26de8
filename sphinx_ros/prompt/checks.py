"""What people ask with -> checked values, for every door: Python, command line and node.

Each check raises :class:`BadRequest` with the value, the limit and the remedy in one sentence. The
limit of a text is in tokens, which only a tokenizer can count: see :meth:`Sphinx.check`. Pictures
have theirs in :mod:`sphinx_ros.image.picture_size`. Knows no token, no picture and no ROS.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable
from itertools import islice
from numbers import Real
from typing import Any

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.tasks import Task
from sphinx_ros.types import Box

MAX_TOKENS = 4096
"""Largest limit of new tokens that may be asked for."""

LEAST_SECONDS, MAX_SECONDS = 0.001, 86_400.0
"""Shortest and longest time limit. No answer comes within a millisecond; the longest is a day,
because clocks and locks take no arbitrary number."""

MAX_SEED = 2**63 - 1
"""Largest seed: torch's generators take 64 bits with a sign."""

MAX_CHARACTERS = 200_000
"""Characters of a text: many times what fits into a sequence. Counting the tokens of more takes
seconds, in which others wait."""

MAX_STANDING = 32
"""Standing queries at a time."""

MAX_STOPS, MAX_STOP = 16, 100
"""Texts that may end an answer, and characters of each."""

BOX_FORM = "give x0,y0,x1,y1 in pixels, as 10,20,110,220"


def checked_text(text: object) -> str:
    """The words, stripped."""
    if not isinstance(text, str):
        raise BadRequest(f"the text is {quoted(text)}, of type {type(text).__name__}; give words")
    words = checked_unicode(text).strip()
    if not words:
        raise BadRequest("the text is empty: say what to look for or what to answer")
    if "\x00" in words:
        raise BadRequest("the text holds a NUL character: remove it")
    return words


def checked_task(task: object) -> Task:
    """A task, also by its name."""
    try:
        return Task(task)
    except ValueError:
        raise BadRequest(
            f"the task is {quoted(task)}: use one of {', '.join(one.value for one in Task)}"
        ) from None


def checked_list(values: Any, name: str, what: str) -> list:
    """The items of any sequence or iterator but a text. what: they are, in words."""
    try:
        if not isinstance(values, (str, bytes)):
            return list(values)
    except TypeError:
        pass
    raise BadRequest(f"{name} is {quoted(values)}: give a list of {what}")


def checked_prompts(prompts: object) -> list[str]:
    """Whole prompts, at least one."""
    texts = [] if isinstance(prompts, str) else _parts(prompts)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest(
            f"generate needs a list of prompts, at least one, each a text, and got"
            f" {quoted(prompts)}"
        )
    return texts


def checked_unicode(text: str) -> str:
    """A text of bounded length without halves of characters, which no tokenizer has bytes for."""
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(
            f"the text has {len(text)} characters; the limit is {MAX_CHARACTERS}: shorten it"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(
            f"the text {quoted(text)} is not valid Unicode: write it in UTF-8"
        ) from None
    return text


def checked_box(box: Any, size: tuple[int, int] | None = None) -> Box:
    """Four numbers x0, y0, x1, y1 in source pixels. size: (width, height) of the picture, px."""
    if box is None:
        raise BadRequest(f"a box is needed: {BOX_FORM}")
    values = [_finite(value) for value in _parts(box, 5)]
    if len(values) != 4 or any(map(math.isnan, values)):
        raise BadRequest(f"the box {quoted(box)} is not four finite numbers: {BOX_FORM}")
    x0, y0, x1, y1 = values
    if x0 >= x1 or y0 >= y1:
        raise BadRequest(f"the box {written_box(values)} is empty: it must be x0 < x1 and y0 < y1")
    if size is not None and not (x0 < size[0] and y0 < size[1] and x1 > 0 and y1 > 0):
        raise BadRequest(
            f"the box {written_box(values)} lies outside the picture of {size[0]}x{size[1]} "
            "pixels: give a box inside it"
        )
    return x0, y0, x1, y1


def read_box(text: str) -> Box:
    """ "10,20,110,220" in pixels -> the box; commas, semicolons or spaces, brackets allowed."""
    words = text.strip().strip("[](){} ").replace(",", " ").replace(";", " ").split()
    try:
        values = [float(word) for word in words[:5]]
    except ValueError:
        values = []
    return checked_box(values if len(values) == 4 else text)


def written_box(box: Iterable[float]) -> str:
    """A box as :func:`read_box` reads it, digit for digit: 10,20.5,110,220."""
    return ",".join(repr(float(value)).removesuffix(".0") for value in box)


def checked_seconds(seconds: object, name: str = "timeout") -> float:
    """A time limit."""
    what = f"a number of seconds, at least {LEAST_SECONDS:g} and at most {MAX_SECONDS:g}"
    return float(_within(name, seconds, _number(seconds), LEAST_SECONDS, MAX_SECONDS, what))


def checked_tokens(tokens: object) -> int:
    """A limit of new tokens; 0 leaves it to the task."""
    what = f"a whole number in 0..{MAX_TOKENS} (0: usual)"
    return _within("max_new_tokens", tokens, _whole(tokens), 0, MAX_TOKENS, what)


def checked_temperature(temperature: object) -> float:
    """The temperature of a draw; 0 takes the most probable token."""
    what = "a finite number, 0 (always the best token) or above"
    number = _number(temperature)
    return float(_within("temperature", temperature, number, 0, sys.float_info.max, what))


def checked_top_p(top_p: object) -> float:
    """The share of the probability that a draw is made from."""
    return float(_within("top_p", top_p, _number(top_p), 0, 1, "a number in 0..1"))


def checked_seed(seed: object) -> int | None:
    """The seed of draws; None leaves them to chance."""
    if seed is None:
        return None
    what = f"a whole number in 0..{MAX_SEED}, or None"
    return _within("seed", seed, _whole(seed), 0, MAX_SEED, what)


def checked_stop(stop: object) -> tuple[str, ...]:
    """Texts that end an answer: one, or several."""
    if isinstance(stop, str):
        stop = [stop]
    texts = [] if stop is None else checked_list(stop, "stop", "texts, or one text")
    if len(texts) > MAX_STOPS:
        raise BadRequest(f"stop has {len(texts)} texts; the limit is {MAX_STOPS}")
    for text in texts:
        if not isinstance(text, str) or not 0 < len(text) <= MAX_STOP:
            raise BadRequest(
                f"stop has {quoted(text)}; it must be texts of 1 to {MAX_STOP} characters"
            )
    return tuple(checked_unicode(text) for text in texts)


def checked_ids(ids: Any, vocabulary: int, name: str = "token_ids") -> list[int]:
    """Token ids, at least one. vocabulary: the number of tokens that the network knows."""
    parts = _parts(ids)
    if not parts:
        raise BadRequest(f"{name} is {quoted(ids)}; it must be a list of at least one token id")
    what = f"a whole number in 0..{vocabulary - 1}, as the checkpoint's tokenizer makes them"
    return [
        _within(f"{name}[{place}]", one, _whole(one), 0, vocabulary - 1, what)
        for place, one in enumerate(parts)
    ]


def _within(name: str, given: object, number: Any, low: float, high: float, what: str) -> Any:
    """``number``, read from what was given, if it is in low..high. what: that range in words."""
    if number is None or not low <= number <= high:  # NaN is in no range
        raise BadRequest(f"{name} is {quoted(given)}; it must be {what}")
    return number


def _parts(values: Any, most: int | None = None) -> list:
    """The first items of a sequence of whatever library; none where it is no sequence."""
    try:
        return list(islice(values, most))
    except TypeError:
        return []


def _number(value: object) -> Any:
    """A number of Python, numpy or torch as Python's own; None for all else, booleans too."""
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()
        except (TypeError, ValueError, RuntimeError):  # several numbers
            return None
    return value if isinstance(value, Real) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    """A whole number of whatever library; None for all else."""
    try:
        return operator.index(_number(value))
    except TypeError:
        return None


def _finite(value: object) -> float:
    """A finite number as floating point; NaN for all else."""
    number = _number(value)
    return math.nan if number is None or not abs(number) <= sys.float_info.max else float(number)
