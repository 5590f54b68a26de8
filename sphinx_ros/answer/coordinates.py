"""Probabilities of digits -> where a number lies, and how far it may be off. Knows no picture.

A number is written digit by digit, and each digit's ten probabilities are known along the digits
that were written. Another digit than the written one leaves the rest open; next to it the rest is
taken to lie at the near end, so that the spread across a decade border (0.299 | 0.300) counts
as the small one that it is.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sphinx_ros.prompt.parse import NUMBER

NEAR, FAR = 0.1, 0.5
"""Where the rest of a number is taken to lie behind a digit that was not written, counted from
the written number: behind a neighbouring digit, behind any other."""

NEAR_VARIANCE, FAR_VARIANCE = 0.01, 1 / 12


class Spread(NamedTuple):
    """A number's expected value and standard deviation, in its own unit, and what was written;
    NaN where unknown.
    """

    mean: float
    deviation: float
    written: float = math.nan


UNKNOWN = Spread(math.nan, math.nan)


def spread(digits: Sequence[int], shares: Sequence[Sequence[float]], whole: int = 0) -> Spread:
    """Of the number ``whole`` + 0.ddd. shares: for each digit the probabilities of 0 to 9."""
    if not digits or any(len(ten) != 10 or sum(ten) <= 0 for ten in shares):
        return UNKNOWN
    mean, variance = 0.0, 1 / 12  # of what lies behind the last digit: it was rounded
    for written, ten in zip(reversed(digits), reversed(shares), strict=True):
        total = sum(ten)
        parts = []
        for digit, share in enumerate(ten):
            if digit == written:
                rest = (mean, variance)
            elif abs(digit - written) == 1:
                rest = (NEAR if digit > written else 1 - NEAR, NEAR_VARIANCE)
            else:
                rest = (FAR, FAR_VARIANCE)
            parts.append((share / total, (digit + rest[0]) / 10, rest[1] / 100))
        mean = sum(share * at for share, at, _ in parts)
        variance = sum(share * (wide + (at - mean) ** 2) for share, at, wide in parts)
    return Spread(whole + mean, math.sqrt(variance))


def span_spreads(
    ids: Sequence[int],
    shares: Sequence[Sequence[float]],
    decode: Callable[[list[int]], str],
) -> Callable[[tuple[int, int]], list[Spread]]:
    """A function from a span of characters of ``decode(ids)`` to the spreads of its numbers."""
    ids = list(ids)
    text = decode(ids)
    ends = [len(decode(ids[: i + 1])) for i in range(len(ids))]

    def spreads(span: tuple[int, int]) -> list[Spread]:
        """Of each number with decimals in the span."""
        found = []
        for match in NUMBER.finditer(text, *span):
            if not match["decimals"]:
                continue
            # Of a percentage, or of "12.5", digits before the point may be wrong as well.
            if match["percent"] or match["whole"] not in ("", "0", "1"):
                found.append(UNKNOWN)
                continue
            tokens = [bisect.bisect_right(ends, place) for place in range(*match.span("decimals"))]
            known = [shares[token] if token < len(shares) else () for token in tokens]
            digits = [int(digit) for digit in match["decimals"]]
            mean, deviation, _ = spread(digits, known, int(match["whole"] or 0))
            sign = -1.0 if match["sign"] == "-" else 1.0
            found.append(Spread(sign * mean, deviation, float(match[0])))
        return found

    return spreads
