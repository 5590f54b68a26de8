"""An expression -> the same in words that a user may choose. Knows no picture and no prompt."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from sphinx_ros.world.nouns import pick
from sphinx_ros.world.truth import COLOURS, KINDS

_COLOURED = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(KINDS)}|object)")


def _that_is(words: str) -> str:
    """ "red mug" -> "mug that is red"; other expressions stay as they are."""
    return _COLOURED.sub(r"\2 that is \1", words) if _COLOURED.fullmatch(words) else words


WAYS: tuple[Callable[[str], str], ...] = (
    lambda words: f"find the {words}",
    lambda words: f"Find the {words}",
    lambda words: f"find {words}",
    _that_is,
    lambda words: f"the {_that_is(words)}",
    str.title,
    lambda words: f"the {words}".title(),
    str.upper,
    lambda words: f"the {words}".upper(),
    str.capitalize,
    lambda words: f"The {words}",
)
"""Functions of the plain words, without an article."""


def freely(words: str, rng: np.random.Generator) -> str:
    """ "red mug" -> "find the red mug", "mug that is red", "The Red Mug", "RED MUG", ..."""
    return pick(rng, WAYS)(words)
