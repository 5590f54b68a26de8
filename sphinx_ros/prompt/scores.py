"""Token probabilities to the score of a box or point in the text. Knows no picture, no model.

A score is the geometric mean of the probabilities of the first two decimals of the numbers in a
span: how sure the model was of where, to a hundredth of the picture. The third decimal is finer
than what a picture of a few hundred pixels shows and would only add noise.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Sequence

_DECIMALS = re.compile(r"\.(\d{1,2})")


def span_scorer(
    ids: Sequence[int], probabilities: Sequence[float], decode: Callable[[list[int]], str]
) -> Callable[[tuple[int, int]], float]:
    """A function from a span of characters of ``decode(ids)`` to 0..1, NaN where unknown."""
    ids = list(ids)
    text = decode(ids)
    ends = [len(decode(ids[: i + 1])) for i in range(len(ids))]

    def score(span: tuple[int, int]) -> float:
        """Geometric mean of the probabilities of the first two decimals in the span."""
        used = []
        for match in _DECIMALS.finditer(text, *span):
            for place in range(match.start(1), match.end(1)):
                token = bisect.bisect_right(ends, place)
                if token < len(probabilities):
                    used.append(probabilities[token])
        if not used or any(math.isnan(p) for p in used):
            return math.nan
        return math.exp(sum(math.log(max(p, 1e-12)) for p in used) / len(used))

    return score
