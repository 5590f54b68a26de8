"""Values that belong to pictures -> the 95 % interval of their mean.

Questions about one picture are right or wrong together, so whole pictures are drawn: the
bootstrap, clustered by picture. Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

DRAWS = 1000
SEED = 0
"""Of the draws: the same values give the same interval."""


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
    rng, means = np.random.default_rng(SEED), np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = rng.integers(count, size=count)
        means[draw] = total[chosen].sum() / number[chosen].sum()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
