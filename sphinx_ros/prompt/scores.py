"""Token probabilities to the score of a box or point in the text. Knows no picture, no model.

A score is the geometric mean of the probabilities of the first two decimals of the numbers in a
span, or of the digits before the point of percentages: how sure the model was of where, to a
hundredth of the picture. The third decimal is finer than what a picture of a few hundred pixels
shows and would only add noise.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

from sphinx_ros.prompt.parse import NUMBER

LEAST = 1e-12
"""What a probability of 0 counts as, so that one token does not hide all others."""


def geometric_mean(values: Sequence[float]) -> float:
    """Of probabilities, 0..1; NaN for none, or where one of them is unknown (NaN)."""
    if not values or any(math.isnan(value) for value in values):
        return math.nan
    return math.exp(sum(math.log(max(value, LEAST)) for value in values) / len(values))


def span_scorer(
    ids: Sequence[int], probabilities: Sequence[float], decode: Callable[[list[int]], str]
) -> Callable[[tuple[int, int]], float]:
    """A function from a span of characters of ``decode(ids)`` to 0..1, NaN where unknown."""
    ids = list(ids)
    text = decode(ids)
    ends = [len(decode(ids[: i + 1])) for i in range(len(ids))]

    def score(span: tuple[int, int]) -> float:
        """Geometric mean of the probabilities of the hundredths in the span."""
        used = []
        for match in NUMBER.finditer(text, *span):
            start, end = match.span("whole" if match["percent"] else "decimals")
            for place in range(start, end)[: None if match["percent"] else 2]:
                token = bisect.bisect_right(ends, place)
                if token < len(probabilities):
                    used.append(probabilities[token])
        return geometric_mean(used)

    return score
