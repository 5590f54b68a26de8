"""Values that belong to pictures -> the 95 % interval of their mean, or of a ratio of sums.

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


Numbers = Sequence[float] | np.ndarray


def interval95(
    values: Numbers, pictures: Sequence[str], over: Numbers | None = None
) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of the mean over redrawn pictures; NaN where there is no value.

    pictures: which picture each value belongs to. over: what the sum of the values is divided by
    the sum of, as F1's; None: their number.
    """
    return between(drawn_means(values, pictures, over)) if len(values) else (math.nan, math.nan)


def between(drawn: np.ndarray) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of what was drawn, NaN aside; NaN where there is nothing else."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def drawn_means(
    values: Numbers,
    pictures: Sequence[str],
    over: Numbers | None = None,
    seed: int = SEED,
) -> np.ndarray:
    """[DRAWS]: what :func:`interval95` takes the percentiles of. seed: of the draws."""
    places: dict[str, int] = {}  # in the order of the questions, whatever pictures are called
    owner = np.array([places.setdefault(name, len(places)) for name in pictures])
    count = len(places)
    total = np.bincount(owner, np.asarray(values, float), count)
    number = np.bincount(owner, None if over is None else np.asarray(over, float), count)
    drawn, means = drawn_times(count, seed), np.empty(DRAWS)
    for first in range(0, DRAWS, AT_ONCE):
        times = drawn[first : first + AT_ONCE].astype(float)
        with np.errstate(invalid="ignore"):  # 0 / 0: nothing of that kind was drawn
            means[first : first + AT_ONCE] = (times @ total) / (times @ number)
    return means


@functools.lru_cache(maxsize=2)
def drawn_times(count: int, seed: int = SEED) -> np.ndarray:
    """[DRAWS, count] uint8: how often each picture is drawn; most scores have the same number."""
    rng, times = np.random.default_rng(seed), np.empty((DRAWS, count), np.uint8)
    for draw in range(DRAWS):
        often = np.bincount(rng.integers(count, size=count), minlength=count)
        times[draw] = np.minimum(often, 255)
    return times
