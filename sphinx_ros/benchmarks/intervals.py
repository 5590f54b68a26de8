"""Values that belong to pictures -> the 95 % interval of their mean.

Questions about one picture are right or wrong together, so whole pictures are drawn: the
bootstrap, clustered by picture. Knows no model.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

DRAWS = 1000
SEED = 0
"""Of the draws: the same values give the same interval."""

AT_ONCE = 100
"""Draws that are summed at once."""


def interval95(values: Sequence[float], pictures: Sequence[str]) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of the mean over redrawn pictures; NaN where there is no value.

    pictures: which picture each value belongs to.
    """
    if not len(values):
        return math.nan, math.nan
    places: dict[str, int] = {}  # in the order of the questions, whatever pictures are called
    owner = np.array([places.setdefault(name, len(places)) for name in pictures])
    count = len(places)
    total = np.bincount(owner, np.asarray(values, float), count)
    number = np.bincount(owner, minlength=count)
    drawn, means = _drawn(count), np.empty(DRAWS)
    for first in range(0, DRAWS, AT_ONCE):
        times = drawn[first : first + AT_ONCE].astype(float)
        means[first : first + AT_ONCE] = (times @ total) / (times @ number)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


@functools.lru_cache(maxsize=2)
def _drawn(count: int) -> np.ndarray:
    """[DRAWS, count] uint8: how often each picture is drawn; most scores have the same number."""
    rng, times = np.random.default_rng(SEED), np.empty((DRAWS, count), np.uint8)
    for draw in range(DRAWS):
        often = np.bincount(rng.integers(count, size=count), minlength=count)
        times[draw] = np.minimum(often, 255)
    return times
